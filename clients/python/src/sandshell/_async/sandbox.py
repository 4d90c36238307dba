"""Sandboxes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from .. import _arguments
from .._arguments import duration
from .._checked import checked
from ..errors import NotFound, SandshellError
from ..results import Info, Progress, Seconds, Stats, Uploaded, VerificationStatus
from ..v1 import sandbox_pb2 as box
from ..v1 import session_pb2 as pb
from ..v1.sandbox_pb2_grpc import SandboxServiceStub
from ..v1.session_pb2_grpc import SessionServiceStub
from ..v1.verification_pb2 import StartVerificationRequest
from .client import AsyncClient, new_request_id
from .code import AsyncCode
from .files import AsyncFiles
from .listing import AsyncListing, texts
from .running import AsyncRuns
from .session import AsyncSession
from .shared import client_of
from .verification import AsyncVerification
from .volumes import AsyncVolume, mounts


@checked
class AsyncSandbox(AsyncRuns):
    """A sandbox. As a context manager it is deleted at the end. `with Sandbox() as sandbox` makes one, as `create` does; a
    private server is started for it where none is named."""

    sandbox_id: str
    """Its id."""
    files: AsyncFiles
    """Its files."""
    code: AsyncCode
    """Runs code in it."""
    uploaded: Uploaded | None
    """What `from_local` has brought into it."""

    def __init__(self, image: str | None = None, **options: Any) -> None:
        """A sandbox that is made, with all that `create` takes, when it is entered: `async with AsyncSandbox() as sandbox`."""
        self._to_make: dict[str, Any] | None = {"image": image, **options}

    @classmethod
    def _of(cls, client: AsyncClient, sandbox: Any) -> AsyncSandbox:
        self = cls()
        self._fill(client, sandbox)
        return self

    def _fill(self, client: AsyncClient, sandbox: Any) -> None:
        self._to_make = None
        self._client = client
        self.sandbox_id = sandbox.sandbox_id
        self._target = {"sandbox_id": self.sandbox_id}
        self.uploaded = None
        self._is_deleted = False
        self._default_session_id: str = sandbox.default_session_id
        self.files = AsyncFiles(client, self.sandbox_id)
        self.code = AsyncCode(client, self.sandbox_id)

    def __repr__(self) -> str:
        if self._to_make is not None:
            return f"<{type(self).__name__}, not made yet>"
        state = " (deleted)" if self._is_deleted else ""
        return f"<{type(self).__name__} {self.sandbox_id}{state} on {self._client.address}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Only for what is not there.
            if not name.startswith("__") and self.__dict__.get("_to_make") is not None:
                raise SandshellError("it is not made yet: enter it by `with`, or write Sandbox.create()", reason="NOT_MADE")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    async def __aenter__(self) -> AsyncSandbox:
        if self._to_make is not None:
            self.__dict__.update((await self.create(**self._to_make)).__dict__)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.delete()

    @classmethod
    async def create(
        cls,
        image: str | None = None,
        *,
        sample: str | None = None,
        past: bool = True,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        memory: int | str | None = None,
        cpus: float | None = None,
        processes: int | None = None,
        disk: int | str | None = None,
        ttl: Seconds | None = None,
        idle_timeout: Seconds | None = None,
        host_network: bool = False,
        working_directory: str | None = None,
        volumes: Mapping[str, str | AsyncVolume] | Iterable[str] = (),
        server: str | None = None,
        key: str | None = None,
        client: AsyncClient | None = None,
    ) -> AsyncSandbox:
        """Makes a sandbox, and returns when commands can run in it.

        `image` is where its files come from; what there is depends on the server, and so does the default. `labels` are pairs
        to find it by, `env` is the environment of all that runs in it, and `user` is as whom that runs. `memory` and `disk`
        are bytes, or texts such as `"512M"` and `"2G"`, `cpus` a number of processors, `processes` how many there may be at one
        time. It is released `ttl` after now, and after it has been idle for `idle_timeout`: seconds or timedelta, and 0 for
        never. `host_network=True` gives it the network of the server's host, which wants a server that allows it
        (`serve --allow-host-network`); without it a sandbox has its own loopback and nothing else. `working_directory` is an
        absolute path, where sessions, commands and relative paths of files begin; it is made, as `user`'s, if it is not there.

        `sample` is the id of a sample of the server, `ID` or `DATASET/ID`: the sandbox then has its image and its code base, as
        it was prepared for the task, and a session, which `default_session` returns. With `past=False` the repository there has
        one commit instead of those before the task.

        `volumes` are data that outlives sandboxes ([volumes.md](volumes.md)): `{"/data": "name"}` or `["name:/data"]`, with `:ro`
        behind either to only read.

        It is made by the server that is named (`server` as in Client, with `key`), by that of `client`, or else by the one
        of the environment or a private one, which all sandboxes of this process share.
        """
        limits = {
            "memory_bytes": _arguments.size("memory", memory),
            "cpu_millis": None if cpus is None else round(_arguments.number("cpus", cpus) * 1000),
            "max_processes": processes,
            "disk_bytes": _arguments.size("disk", disk),
        }
        request = box.CreateSandboxRequest(
            image=image,
            labels=texts("labels", labels),
            env=texts("env", env),
            user=user,
            resources=box.Resources(**{name: value for name, value in limits.items() if value is not None}),
            lifetime=box.Lifetime(ttl=duration("ttl", ttl), idle_timeout=duration("idle_timeout", idle_timeout)),
            working_directory=working_directory,
            volumes=mounts(volumes),
            request_id=new_request_id(),
        )
        if host_network:
            request.network.mode = box.Network.MODE_HOST
        if sample:
            dataset, _, sample_id = sample.rpartition("/")
            history = box.SampleSource.HISTORY_PAST if past else box.SampleSource.HISTORY_NONE
            request.sample.CopyFrom(box.SampleSource(dataset=dataset, sample_id=sample_id, history=history))
        client = client_of(client, server, key)
        return cls._of(client, await client._call(SandboxServiceStub, "CreateSandbox", request))

    @classmethod
    async def from_local(
        cls,
        directory: str | os.PathLike[str],
        *,
        path: str = ".",
        ignore: str | Iterable[str] = (),
        gitignore: bool = True,
        progress: Callable[[Progress], object] | None = None,
        **options: Any,
    ) -> AsyncSandbox:
        """Makes a sandbox, with all that `create` takes, and copies a directory into its working directory (or to `path`).

        What the `.gitignore` files of the directory name stays here, unless `gitignore` is False, and so does what the patterns
        of `ignore` name. `sandbox.uploaded` says what was copied, and `sandbox.files.download` takes it out again.
        """
        ignore = _arguments.patterns("ignore", ignore)
        sandbox = await cls.create(**options)
        try:
            sandbox.uploaded = await sandbox.files.upload(directory, path, ignore=ignore, gitignore=gitignore, progress=progress)
        except BaseException:
            await sandbox.delete()
            raise
        return sandbox

    @classmethod
    async def get(
        cls, sandbox_id: str, *, server: str | None = None, key: str | None = None, client: AsyncClient | None = None
    ) -> AsyncSandbox:
        """A sandbox that is there; NotFound if it is not."""
        client = client_of(client, server, key)
        return cls._of(client, await client._call(SandboxServiceStub, "GetSandbox", box.GetSandboxRequest(sandbox_id=sandbox_id)))

    @classmethod
    def list(
        cls,
        labels: Mapping[str, str] | None = None,
        *,
        page_size: int = 0,
        page_token: str = "",
        server: str | None = None,
        key: str | None = None,
        client: AsyncClient | None = None,
    ) -> AsyncListing:
        """The active sandboxes that have all of these labels, oldest first. Iterate what is returned, or ask it for `total()` or
        for a `page(number)`; nothing is asked before. `page_size` is 1 to 1000, 100 if none is given."""
        return AsyncListing(client_of(client, server, key), texts("labels", labels), page_size, page_token)

    run = AsyncRuns._execute

    async def session(
        self,
        shell: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        login: bool = False,
        close_on_exit: bool = False,
    ) -> AsyncSession:
        """Opens a shell that stays.

        `shell` is the path or name of a POSIX shell in the sandbox (default `/bin/sh`), `env` is added to the environment of the
        sandbox, and `cwd` is where it begins. `login` reads the user's start-up files. When the shell ends, by `exit` say,
        another one takes its place with its state; with `close_on_exit` the session ends with it.
        """
        request = pb.CreateSessionRequest(
            sandbox_id=self.sandbox_id,
            shell=shell,
            env=texts("env", env),
            working_directory=cwd,
            user=user,
            login=login,
            on_shell_exit=pb.ON_SHELL_EXIT_CLOSE if close_on_exit else pb.ON_SHELL_EXIT_UNSPECIFIED,
            request_id=new_request_id(),
        )
        return AsyncSession(self._client, await self._client._call(SessionServiceStub, "CreateSession", request))

    async def get_session(self, session_id: str) -> AsyncSession:
        """A session that is there: another process may have opened it."""
        request = pb.GetSessionRequest(session_id=session_id)
        return AsyncSession(self._client, await self._client._call(SessionServiceStub, "GetSession", request))

    async def default_session(self) -> AsyncSession:
        """The session that was opened in it when it was made from a sample."""
        if not self._default_session_id:
            raise NotFound("the sandbox was made from no sample, so it was made without a session", reason="SESSION_NOT_FOUND")
        return await self.get_session(self._default_session_id)

    async def sessions(self) -> Sequence[AsyncSession]:
        """Its open sessions."""
        request = pb.ListSessionsRequest(sandbox_id=self.sandbox_id)
        found: Sequence[AsyncSession] = ()
        while True:
            page = await self._client._call(SessionServiceStub, "ListSessions", request)
            found = [*found, *(AsyncSession(self._client, session) for session in page.sessions)]
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def info(self) -> Info:
        """What the server says of it."""
        request = box.GetSandboxRequest(sandbox_id=self.sandbox_id)
        return Info._of(await self._client._call(SandboxServiceStub, "GetSandbox", request))

    async def labels(self) -> dict[str, str]:
        """Its labels."""
        return (await self.info()).labels

    async def set_labels(self, labels: Mapping[str, str]) -> Info:
        """Gives it these labels in the place of all that it has."""
        return await self._update(["labels"], labels=texts("labels", labels))

    async def extend(self, ttl: Seconds) -> Info:
        """Lets it live for this long from now on; 0 is no limit."""
        return await self._update(["lifetime.ttl"], lifetime=box.Lifetime(ttl=duration("ttl", ttl)))

    async def _update(self, paths: Sequence[str], **fields: Any) -> Info:
        request = box.UpdateSandboxRequest(sandbox=box.Sandbox(sandbox_id=self.sandbox_id, **fields))
        request.update_mask.paths.extend(paths)
        return Info._of(await self._client._call(SandboxServiceStub, "UpdateSandbox", request))

    async def stats(self) -> Stats:
        """What it uses."""
        request = box.GetSandboxStatsRequest(sandbox_id=self.sandbox_id)
        told = await self._client._call(SandboxServiceStub, "GetSandboxStats", request)

        def known(name: str) -> int | None:
            return getattr(told, name) if told.HasField(name) else None

        return Stats(
            cpu_seconds=told.cpu_time.seconds + told.cpu_time.nanos / 1e9,
            memory_bytes=known("memory_bytes"),
            memory_peak_bytes=known("memory_peak_bytes"),
            processes=known("processes"),
            disk_bytes=known("disk_bytes"),
            sessions=told.sessions,
            running_commands=told.running_commands,
            commands=told.commands,
        )

    async def watch(self) -> AsyncIterator[Info]:
        """Each change of it, from what it is now to its end."""
        stream = await self._client._open(SandboxServiceStub, "WatchSandbox", box.WatchSandboxRequest(sandbox_id=self.sandbox_id))
        try:
            async for message in stream:
                if message.HasField("sandbox"):
                    yield Info._of(message.sandbox)
        except grpc.RpcError as error:
            raise self._client._failed(error) from None
        finally:
            stream.cancel()

    async def start_verification(self) -> AsyncVerification:
        """Asks for a verification of what was done in it. It was made from a sample, and must stay until its files are taken."""
        return await AsyncVerification._started(self._client, StartVerificationRequest(sandbox_id=self.sandbox_id))

    async def verify(self, timeout: Seconds | None = None) -> VerificationStatus:
        """Verifies what was done in it, and waits for what comes of that. TimeoutError when it does not come in time."""
        return await (await self.start_verification()).wait(timeout)

    async def delete(self) -> None:
        """Deletes it with all that runs in it. One that is gone already is deleted."""
        request = box.DeleteSandboxRequest(sandbox_id=self.sandbox_id)
        await self._client._call(SandboxServiceStub, "DeleteSandbox", request, gone_is_done=True)
        self._is_deleted = True
