"""The images of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator

from .._checked import checked
from ..results import Image
from ..v1 import image_pb2 as pb
from ..v1.image_pb2_grpc import ImageServiceStub
from .client import AsyncClient
from .shared import client_of


@checked
class AsyncImages:
    """What sandboxes can be made from. `server`, `key` and `client` say which server, as of `Sandbox.create`."""

    def __init__(self, server: str | None = None, *, key: str | None = None, client: AsyncClient | None = None) -> None:
        self._client = client_of(client, server, key)

    async def list(self) -> AsyncIterator[Image]:
        """The images that are there, by name. Others may be had as well: some are pulled when asked for."""
        request = pb.ListImagesRequest()
        while True:
            page = await self._client._call(ImageServiceStub, "ListImages", request)
            for image in page.images:
                yield Image._of(image)
            request.page_token = page.next_page_token
            if not request.page_token:
                return
