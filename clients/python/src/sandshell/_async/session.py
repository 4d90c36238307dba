"""A shell that stays."""

from __future__ import annotations

from typing import Any

from .._checked import checked
from ..errors import NotFound
from ..results import Process, SessionInfo
from ..v1 import session_pb2 as pb
from ..v1.session_pb2_grpc import SessionServiceStub
from .client import AsyncClient
from .running import AsyncRuns


@checked
class AsyncSession(AsyncRuns):
    """A shell that stays: directory, variables, functions, aliases and background programs are kept from command to command."""

    session_id: str
    """Its id."""
    sandbox_id: str
    """The sandbox that it is in."""
    shell: str
    """The path of its shell."""

    def __init__(self, client: AsyncClient, session: Any) -> None:
        self._client = client
        self.session_id = session.session_id
        self.sandbox_id = session.sandbox_id
        self.shell = session.shell
        self._target = {"session_id": self.session_id}
        self._is_closed = False

    def __repr__(self) -> str:
        state = "closed, " if self._is_closed else ""
        return f"<{type(self).__name__} {self.session_id} ({state}{self.shell}) on {self._client.address}>"

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    exec = AsyncRuns._execute

    async def info(self) -> SessionInfo:
        """What the server says of it."""
        request = pb.GetSessionRequest(session_id=self.session_id)
        return SessionInfo._of(await self._client._call(SessionServiceStub, "GetSession", request))

    async def processes(self) -> list[Process]:
        """The processes that its commands have started: those that run, and those that were listed before and are over."""
        request = pb.ListProcessesRequest(session_id=self.session_id)
        found: list[Process] = []
        while True:
            page = await self._client._call(SessionServiceStub, "ListProcesses", request)
            found.extend(map(Process._of, page.processes))
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def close(self) -> None:
        """Ends the shell and all that it has started. One that is gone already is closed."""
        request = pb.CloseSessionRequest(session_id=self.session_id)
        try:
            await self._client._call(SessionServiceStub, "CloseSession", request)
        except NotFound as error:
            if error.reason not in ("SESSION_NOT_FOUND", "SANDBOX_NOT_FOUND"):
                raise
        self._is_closed = True
