"""What is sent to a command, kept for as long as a lost connection may have lost it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from ..errors import SandshellError
from ..v1 import session_pb2 as pb
from . import _io

# Requests that wait for a connection to take them.
_WAITING = 64

# Bytes that are kept although a connection has taken them: more than can be on their way between here and the command, which is
# a window of 1 MiB to the server, another one from there to the sandbox, and a piece in each.
_KEPT = 8 << 20

# What a request counts beside its bytes, so that many small ones are bounded too.
_COST = 64


class AsyncSending:
    """The requests of a command after its start, in order. Each connection takes them in turn, and the next one goes on where the
    command says that it has all before."""

    def __init__(self) -> None:
        self._waiting: Any = _io.Queue(_WAITING)
        self._lock = threading.Lock()
        # Each with the position in the input that is behind it, and whether it has bytes.
        self._kept: deque[tuple[Any, int, bool]] = deque()
        self._kept_bytes = 0
        self._first = 0
        self._end = 0
        self._connection = 0
        self._goes_on: Any = None

    async def give(self, request: Any, wanted: Any) -> bool:
        """Waits for room, as long as somebody wants the request."""
        return await _io.put(self._waiting, request, wanted)

    def disconnect(self) -> None:
        """Whoever takes requests at this moment has lost its connection, or is not needed any more."""
        with self._lock:
            self._connection += 1
            goes_on, self._goes_on = self._goes_on, None
        for queue in (self._waiting, goes_on):
            if queue is not None:
                _wake(queue)

    def connect(self, start: Any, *, again: bool) -> Any:
        """What a new connection is to send. `again` waits for `goes_on` after the start."""
        self.disconnect()
        with self._lock:
            goes_on = self._goes_on = _io.Queue(2) if again else None
            return self._requests(start, self._connection, goes_on)

    def goes_on(self, taken: int) -> None:
        """So many bytes of input the command has. INPUT_LOST if those behind them are not all here any more."""
        with self._lock:
            goes_on = self._goes_on
            if goes_on is None:
                return
            number = self._first
            for _, end, has_bytes in self._kept:
                if end > taken or (end == taken and not has_bytes):
                    break
                number += 1
            begins = self._kept[0][1] - len(self._kept[0][0].input_at.data) if self._kept else self._end
            if begins > taken:
                raise input_lost(f"the command has taken {taken} bytes of it, and those up to {begins} are not kept any more")
        try:
            goes_on.put_nowait(number)
        except Exception:  # Its connection is lost again.
            pass

    def nothing_was_given(self) -> bool:
        """Whether there is no input that could have been lost."""
        return self._end == 0 and bool(self._waiting.empty())

    async def _requests(self, start: Any, mine: int, goes_on: Any) -> Any:
        yield pb.ExecRequest(start=start)
        number = 0
        if goes_on is not None:
            number = await goes_on.get()
            if number is None:
                return
        while True:
            with self._lock:
                if mine != self._connection:
                    return
                request = self._numbered(number)
            if request is not None:
                number += 1
                yield request
                continue
            request = await self._waiting.get()
            with self._lock:
                if request is not None:
                    self._keep(request)
                is_over = mine != self._connection
            if is_over:
                # Whoever has the connection now may wait for just this one.
                _wake(self._waiting)
                return

    def _numbered(self, number: int) -> Any:
        while self._kept_bytes > _KEPT and self._first < number:
            request, _, _ = self._kept.popleft()
            self._kept_bytes -= len(request.input_at.data) + _COST
            self._first += 1
        at = number - self._first
        return self._kept[at][0] if at < len(self._kept) else None

    def _keep(self, request: Any) -> None:
        has_bytes = False
        if request.WhichOneof("request") == "input_at":
            request.input_at.offset = self._end
            self._end += len(request.input_at.data)
            has_bytes = len(request.input_at.data) > 0
        self._kept.append((request, self._end, has_bytes))
        self._kept_bytes += len(request.input_at.data) + _COST


def _wake(queue: Any) -> None:
    try:
        queue.put_nowait(None)
    except Exception:  # It is full, so nobody waits for it.
        pass


def input_lost(why: str) -> SandshellError:
    """The connection was lost, and the input cannot go on."""
    return SandshellError(f"the connection was lost that the command's input went by: {why}; start it again", reason="INPUT_LOST")
