"""Volumes: named data that outlives sandboxes."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from .. import _arguments
from .._checked import checked
from ..errors import InvalidArgument
from ..results import VolumeUse
from ..v1 import sandbox_pb2 as box
from ..v1 import volume_pb2 as pb
from ..v1.volume_pb2_grpc import VolumeServiceStub
from .client import AsyncClient, new_request_id
from .listing import texts
from .shared import client_of


@checked
class AsyncVolume:
    """A named directory that outlives sandboxes. `Sandbox.create(volumes={"/data": volume})` mounts it.

    Its fields are what the server said last: `volume_id`, `name`, `labels`, `size` and `used` (bytes; None is not limited, not
    counted), `shared`, `host_directory`, `created`, and `used_by`, the sandboxes that have it. `refresh` asks anew.
    """

    def __init__(self, client: AsyncClient, volume: Any) -> None:
        self._client = client
        self._take(volume)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} ({self.volume_id}) on {self._client.address}>"

    def _take(self, volume: Any) -> None:
        self.volume_id: str = volume.volume_id
        self.name: str = volume.name
        self.labels: dict[str, str] = dict(volume.labels)
        self.size: int | None = volume.size_bytes if volume.HasField("size_bytes") else None
        self.used: int | None = volume.used_bytes if volume.HasField("used_bytes") else None
        self.shared: bool = volume.shared
        self.host_directory: str = volume.host_directory
        self.created: datetime.datetime = volume.create_time.ToDatetime(tzinfo=datetime.timezone.utc)
        self.used_by: tuple[VolumeUse, ...] = tuple(map(VolumeUse._of, volume.used_by))

    @classmethod
    async def create(
        cls,
        name: str,
        *,
        size: int | str | None = None,
        shared: bool = False,
        host_directory: str = "",
        labels: Mapping[str, str] | None = None,
        server: str | None = None,
        key: str | None = None,
        client: AsyncClient | None = None,
    ) -> AsyncVolume:
        """Makes an empty volume. AlreadyExists if there is one of this name.

        `size` is how many bytes its files may take, also as `"2G"`. A `shared` one may have several sandboxes that write. With
        `host_directory` it is a directory of the server's host, where the operator allows it.
        """
        request = pb.CreateVolumeRequest(
            name=name,
            labels=texts("labels", labels),
            size_bytes=_arguments.size("size", size),
            shared=shared,
            host_directory=host_directory,
            request_id=new_request_id(),
        )
        client = client_of(client, server, key)
        return cls(client, await client._call(VolumeServiceStub, "CreateVolume", request))

    @classmethod
    async def get(
        cls, name: str, *, server: str | None = None, key: str | None = None, client: AsyncClient | None = None
    ) -> AsyncVolume:
        """A volume that is there, by its name or id; NotFound if it is not."""
        client = client_of(client, server, key)
        return cls(client, await client._call(VolumeServiceStub, "GetVolume", pb.GetVolumeRequest(volume=name)))

    @classmethod
    async def list(
        cls, *, server: str | None = None, key: str | None = None, client: AsyncClient | None = None
    ) -> AsyncIterator[AsyncVolume]:
        """All volumes, oldest first."""
        client = client_of(client, server, key)
        request = pb.ListVolumesRequest()
        while True:
            page = await client._call(VolumeServiceStub, "ListVolumes", request)
            for volume in page.volumes:
                yield cls(client, volume)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def refresh(self) -> AsyncVolume:
        """Asks the server what it is now, and returns it."""
        request = pb.GetVolumeRequest(volume=self.volume_id)
        self._take(await self._client._call(VolumeServiceStub, "GetVolume", request))
        return self

    async def delete(self) -> None:
        """Deletes it with all that is in it. FailedPrecondition while a sandbox has it."""
        request = pb.DeleteVolumeRequest(volume=self.volume_id)
        await self._client._call(VolumeServiceStub, "DeleteVolume", request, gone_is_done=True)


def mounts(volumes: Mapping[str, str | AsyncVolume] | Iterable[str]) -> Iterable[box.VolumeMount]:
    """Volumes of a new sandbox: by path, or as `NAME:PATH`. With `:ro` at the end it can only read."""
    if isinstance(volumes, Mapping):
        for path, volume in volumes.items():
            if not isinstance(volume, (str, AsyncVolume)):
                raise TypeError(f"volumes[{path!r}] must be a volume or its name, not {type(volume).__name__}")
            if isinstance(volume, AsyncVolume):
                yield box.VolumeMount(volume=volume.volume_id, path=path)
            else:
                yield box.VolumeMount(volume=volume.removesuffix(":ro"), path=path, read_only=volume.endswith(":ro"))
        return
    for number, text in enumerate(_arguments.patterns("volumes", volumes)):
        volume, separator, path = text.removesuffix(":ro").partition(":")
        if not separator:
            wrong = [(f"volumes[{number}]", f"{text!r} is not NAME:PATH or NAME:PATH:ro")]
            raise InvalidArgument(f"{wrong[0][0]}: {wrong[0][1]}", reason="INVALID_ARGUMENT", violations=wrong)
        yield box.VolumeMount(volume=volume, path=path, read_only=text.endswith(":ro"))
