"""What happens in a directory."""

from __future__ import annotations

from typing import Any

import grpc

from .._checked import checked
from ..errors import from_rpc
from ..results import FileEvent
from . import _io


@checked
class AsyncWatch:
    """Changes of a directory as they happen, from the moment that it was returned. It ends with the directory.

    Iterate it, and close it or use it as a context manager. A connection that breaks ends it with an error, because changes would
    be missing.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._messages = aiter(stream)
        self._is_closed = False

    async def __aenter__(self) -> AsyncWatch:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the watching. Whoever reads at this moment finds the end."""
        self._is_closed = True
        self._stream.cancel()

    async def _armed(self) -> AsyncWatch:
        try:
            await self._next()
        except BaseException:
            await self.close()
            raise
        return self

    async def _next(self) -> Any:
        try:
            return await anext(self._messages)
        except _io.CALL_ENDS as error:
            if self._is_closed:
                raise StopAsyncIteration from None
            if isinstance(error, grpc.RpcError):
                raise from_rpc(error) from None
            raise

    def __aiter__(self) -> AsyncWatch:
        return self

    async def __anext__(self) -> FileEvent:
        message = await self._next()
        if message.WhichOneof("event") != "change":
            return FileEvent("overflow")
        change = message.change
        kind = type(change).Kind.Name(change.kind).removeprefix("KIND_").lower()
        return FileEvent(kind, change.path, change.old_path, change.is_directory)
