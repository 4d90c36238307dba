"""A shell that stays."""

from __future__ import annotations

from typing import Any

from ..v1 import session_pb2 as pb
from ..v1.session_pb2_grpc import SessionServiceStub
from .client import AsyncClient
from .running import AsyncRuns


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

    exec = AsyncRuns._execute

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
