"""Sandboxes, and sessions in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc

from ..errors import from_rpc
from ..results import Info, Result, Seconds, Stats
from ..v1 import sandbox_pb2 as box
from ..v1 import session_pb2 as pb
from ..v1.sandbox_pb2_grpc import SandboxServiceStub
from ..v1.session_pb2_grpc import SessionServiceStub
from .client import AsyncClient, new_request_id
from .code import AsyncCode
from .files import AsyncFiles
from .running import AsyncRuns, duration

_shared: AsyncClient | None = None


def _client(client: AsyncClient | None, server: str | None, key: str | None) -> AsyncClient:
    """The client that is given, one for the server that is named, or the one that all others share."""
    global _shared
    if client is not None:
        return client
    if server is not None or key is not None:
        return AsyncClient(server, key=key)
    if _shared is None:
        _shared = AsyncClient()
    return _shared


class AsyncSession(AsyncRuns):
    """A shell that stays: directory, variables, functions, aliases and background programs are kept from command to command."""

    def __init__(self, client: AsyncClient, session: Any) -> None:
        self._client = client
        self.session_id: str = session.session_id
        self.sandbox_id: str = session.sandbox_id
        self.shell: str = session.shell
        self._target = {"session_id": self.session_id}

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
        stdin: str | bytes = b"",
        timeout: Seconds | None = None,
        check: bool = False,
    ) -> Result:
        """Runs a command and returns what came of it. A text is shell text; a list is one program and its arguments.

        `env` and `cwd` are for this command alone. A command that runs into its `timeout` is ended and the session goes on, with
        `result.timed_out`. `check=True` raises CommandFailed for all but exit code 0.
        """
        return await self._run(command, env=env, cwd=cwd, user=user, stdin=stdin, timeout=timeout, check=check)

    async def info(self) -> Any:
        """The session as the server describes it."""
        return await self._client._call(SessionServiceStub, "GetSession", pb.GetSessionRequest(session_id=self.session_id))

    async def processes(self) -> list[Any]:
        """The processes that its commands have started and that still run."""
        request, found = pb.ListProcessesRequest(session_id=self.session_id), []
        while True:
            page = await self._client._call(SessionServiceStub, "ListProcesses", request)
            found.extend(page.processes)
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def close(self) -> None:
        """Ends the shell and all that it has started."""
        request = pb.CloseSessionRequest(session_id=self.session_id)
        await self._client._call(SessionServiceStub, "CloseSession", request, gone_is_done=True)


class AsyncSandbox(AsyncRuns):
    """A sandbox. As a context manager it is deleted at the end."""

    def __init__(self, client: AsyncClient, sandbox: Any) -> None:
        self._client = client
        self.sandbox_id: str = sandbox.sandbox_id
        self._target = {"sandbox_id": self.sandbox_id}
        self.files = AsyncFiles(client, self.sandbox_id)
        self.code = AsyncCode(client, self.sandbox_id)

    async def __aenter__(self) -> AsyncSandbox:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.delete()

    @classmethod
    async def create(
        cls,
        image: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        user: str = "",
        memory: int | None = None,
        cpus: float | None = None,
        processes: int | None = None,
        disk: int | None = None,
        ttl: Seconds | None = None,
        idle_timeout: Seconds | None = None,
        host_network: bool = False,
        server: str | None = None,
        key: str | None = None,
        client: AsyncClient | None = None,
    ) -> AsyncSandbox:
        """Makes a sandbox. `memory` and `disk` are bytes; `ttl` and `idle_timeout` seconds or timedelta."""
        limits = {
            "memory_bytes": memory,
            "cpu_millis": None if cpus is None else round(cpus * 1000),
            "max_processes": processes,
            "disk_bytes": disk,
        }
        request = box.CreateSandboxRequest(
            image=image,
            labels=_texts("labels", labels),
            env=_texts("env", env),
            user=user,
            resources=box.Resources(**{name: value for name, value in limits.items() if value is not None}),
            lifetime=box.Lifetime(ttl=duration(ttl), idle_timeout=duration(idle_timeout)),
            request_id=new_request_id(),
        )
        if host_network:
            request.network.mode = box.Network.MODE_HOST
        client = _client(client, server, key)
        return cls(client, await client._call(SandboxServiceStub, "CreateSandbox", request))

    @classmethod
    async def get(
        cls, sandbox_id: str, *, server: str | None = None, key: str | None = None, client: AsyncClient | None = None
    ) -> AsyncSandbox:
        """A sandbox that is there; NotFound if it is not."""
        client = _client(client, server, key)
        return cls(client, await client._call(SandboxServiceStub, "GetSandbox", box.GetSandboxRequest(sandbox_id=sandbox_id)))

    @classmethod
    async def list(
        cls,
        labels: Mapping[str, str] | None = None,
        *,
        page_size: int = 0,
        server: str | None = None,
        key: str | None = None,
        client: AsyncClient | None = None,
    ) -> AsyncIterator[Info]:
        """All sandboxes that have all of these labels, page by page as they are asked for."""
        client = _client(client, server, key)
        request = box.ListSandboxesRequest(labels=_texts("labels", labels), page_size=page_size)
        while True:
            page = await client._call(SandboxServiceStub, "ListSandboxes", request)
            for sandbox in page.sandboxes:
                yield Info._of(sandbox)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    @classmethod
    async def count(
        cls,
        labels: Mapping[str, str] | None = None,
        *,
        server: str | None = None,
        key: str | None = None,
        client: AsyncClient | None = None,
    ) -> int:
        """How many sandboxes have all of these labels."""
        request = box.ListSandboxesRequest(labels=_texts("labels", labels), page_size=1)
        return int((await _client(client, server, key)._call(SandboxServiceStub, "ListSandboxes", request)).total_size)

    async def run(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
        stdin: str | bytes = b"",
        timeout: Seconds | None = None,
        shell: str = "",
        check: bool = False,
    ) -> Result:
        """Runs a command without a session: nothing of it stays. A text is run by a shell; a list is a program and its arguments,
        exactly as given. `check=True` raises CommandFailed for all but exit code 0."""
        return await self._run(command, env=env, cwd=cwd, user=user, stdin=stdin, timeout=timeout, shell=shell, check=check)

    async def session(
        self,
        shell: str = "",
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
        login: bool = False,
        close_on_exit: bool = False,
    ) -> AsyncSession:
        """Opens a shell that stays. `shell` is a path (default: the sandbox's); `login` reads the user's start-up files."""
        request = pb.CreateSessionRequest(
            sandbox_id=self.sandbox_id,
            shell=shell,
            env=_texts("env", env),
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
        return await self._update(["labels"], labels=_texts("labels", labels))

    async def extend(self, ttl: Seconds) -> Info:
        """Lets it live for this long from now on."""
        return await self._update(["lifetime.ttl"], lifetime=box.Lifetime(ttl=duration(ttl)))

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
        stream = await self._client._open(
            SandboxServiceStub, "WatchSandbox", box.WatchSandboxRequest(sandbox_id=self.sandbox_id)
        )
        try:
            async for message in stream:
                if message.HasField("sandbox"):
                    yield Info._of(message.sandbox)
        except grpc.RpcError as error:
            raise from_rpc(error) from None

    async def delete(self) -> None:
        """Deletes it with all that runs in it. One that is gone already is deleted."""
        request = box.DeleteSandboxRequest(sandbox_id=self.sandbox_id)
        await self._client._call(SandboxServiceStub, "DeleteSandbox", request, gone_is_done=True)


def _texts(field: str, values: Mapping[str, str] | None) -> dict[str, str]:
    for name, value in (values or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"{field}[{name!r}] is {value!r}: names and values are texts")
    return dict(values or {})
