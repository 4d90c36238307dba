"""A command that runs."""

from __future__ import annotations

import codecs
import re
from typing import Any

import grpc

from ..errors import Cancelled, CommandFailed, SandshellError, Unavailable, from_rpc
from ..results import Output, Result, Seconds, _Collected, seconds
from ..v1 import session_pb2 as pb
from ..v1.session_pb2_grpc import SessionServiceStub
from . import _io
from .client import PATIENCE, AsyncClient, Deadline, Pause, is_passing
from .sending import AsyncSending, input_lost

_STREAMS = {1: "stdout", 2: "stderr", 3: "terminal"}

# Messages that wait here for who reads.
_WAITING = 64
_PIECE = 256 << 10

# A start that was sent before cannot be sent again: its sandbox is of an earlier version, or has forgotten it.
_CANNOT_GO_ON = ("SANDBOX_TOO_OLD", "COMMAND_NOT_FOUND")


class AsyncCommand:
    """A command that runs, with its output as it comes and a way to its input.

    Iterate it for pieces of output. A connection that breaks, and a server that is started again, are survived: each byte of
    output comes once, and the command gets each byte of input once. `close()` ends the watching, not the command.
    """

    def __init__(self, client: AsyncClient, start: Any) -> None:
        self._client = client
        self._start = start
        self.command_id = ""
        self.result: Result | None = None
        self._inbox: Any = _io.Queue(_WAITING)
        self._sending = AsyncSending()
        self._attaches = start is None
        self._stream: Any = None
        self._is_closed = False
        self._is_over = False
        self._failure: Exception | None = None
        self._offsets = {"stdout": 0, "stderr": 0, "terminal": 0}
        self._cut: set[str] = set()
        self._unread = _Collected()
        self._text = ""
        self._decoders: dict[str, Any] = {}

    async def __aenter__(self) -> AsyncCommand:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops watching it. The command goes on."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.cancel()
        try:
            # For who reads at this moment.
            self._inbox.put_nowait(("failed", self._unwatched()))
        except Exception:  # It is full, so nobody waits for it.
            pass

    @staticmethod
    def _unwatched() -> Cancelled:
        return Cancelled("the command is watched no more", reason="CLOSED")

    async def _begin(self) -> AsyncCommand:
        self._task = self._spawned()
        try:
            kind, value = await _io.get(self._inbox, None)
        except BaseException:
            # Nobody would ever close it.
            await self.close()
            raise
        if kind == "failed":
            raise value
        return self

    def _spawned(self) -> Any:
        return _io.spawn(self._pump)

    # --- the way of the output ---

    async def _messages(self) -> Any:
        offsets: dict[str, Any] = {f"{stream}_offset": offset for stream, offset in self._offsets.items()}
        if self._attaches:
            request = pb.AttachRequest(command_id=self.command_id, **offsets)
            return await self._client._open(SessionServiceStub, "Attach", request)
        start, again = self._start, bool(self.command_id)
        if again:
            start = pb.ExecStart()
            start.CopyFrom(self._start)
            start.resume_from.CopyFrom(pb.OutputOffsets(**offsets))
        return await self._client._open(SessionServiceStub, "Exec", self._sending.connect(start, again=again))

    async def _pump(self) -> None:
        try:
            await self._follow()
        except Exception as error:
            await self._give("failed", error)
        finally:
            self._is_over = True

    async def _follow(self) -> None:
        patience, pause = Deadline(PATIENCE), Pause()
        while not self._is_closed:
            try:
                self._stream = await self._messages()
                async for message in self._stream:
                    patience, pause = Deadline(PATIENCE), Pause()
                    if await self._take(message):
                        return
                failure: SandshellError = Unavailable("the stream ended before the command did")
            except grpc.RpcError as error:
                failure = from_rpc(error)
            finally:
                self._sending.disconnect()
            if self._is_closed:
                return
            if self.command_id and not self._attaches and failure.reason in _CANNOT_GO_ON:
                if not self._sending.nothing_was_given():
                    raise input_lost(str(failure))
                # Its output is there all the same.
                self._attaches = True
                continue
            if not is_passing(failure) or patience.is_over():
                raise failure
            await _io.sleep(pause.next(failure.retry_after, patience))

    async def _take(self, message: Any) -> bool:
        which = message.WhichOneof("response")
        if which == "started":
            if not self.command_id:
                self.command_id = message.started.command_id
                await self._give("started", None)
            else:
                self._sending.goes_on(message.started.stdin_offset)
        elif which == "output":
            stream = _STREAMS.get(message.output.stream, "stdout")
            self._offsets[stream] = message.output.offset + len(message.output.data)
            await self._give("output", (stream, message.output.data))
        elif which == "gap":
            stream = _STREAMS.get(message.gap.stream, "stdout")
            self._offsets[stream] = message.gap.to
            self._cut.add(stream)
        elif which == "exited":
            await self._give("exited", message.exited)
            return True
        return False

    async def _give(self, kind: str, value: Any) -> None:
        await _io.put(self._inbox, (kind, value), lambda: not self._is_closed)

    # --- for who reads ---

    async def _next(self, within: float | None) -> Output | None:
        if self.result is not None:
            return None
        if self._failure is None and self._is_closed and self._inbox.empty():
            self._failure = self._unwatched()
        if self._failure is not None:
            # Nothing comes after it.
            raise self._failure
        kind, value = await _io.get(self._inbox, within)
        if kind == "failed":
            self._failure = value
            raise value
        if kind == "exited":
            self.result = Result._of(
                self.command_id,
                value,
                {},
                stdout_truncated="stdout" in self._cut,
                stderr_truncated="stderr" in self._cut,
            )
            return None
        stream, data = value
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        return Output(stream, data, decoder.decode(data))

    def __aiter__(self) -> AsyncCommand:
        return self

    async def __anext__(self) -> Output:
        output = await self._next(None)
        if output is None:
            raise StopAsyncIteration
        return output

    async def read_until(self, pattern: str | re.Pattern[str], timeout: Seconds | None = None) -> str:
        """Reads standard output and the terminal until a text or a regular expression has come; returns all up to its end.

        TimeoutError when it does not come in time; EOFError when the command ends before. Nothing is lost then: the next call
        sees the same text again.
        """
        expression = re.compile(re.escape(pattern)) if isinstance(pattern, str) else pattern
        deadline = Deadline(None if timeout is None else seconds(timeout))
        while True:
            found = expression.search(self._text)
            if found:
                text, self._text = self._text[: found.end()], self._text[found.end() :]
                return text
            try:
                output = await self._next(deadline.left())
            except TimeoutError:
                raise TimeoutError(f"{expression.pattern!r} did not come; {self._text[-200:]!r} did") from None
            if output is None:
                raise EOFError(f"the command ended before {expression.pattern!r} came; {self._text[-200:]!r} did")
            if output.stream == "stderr":
                self._unread.add("stderr", output.data)
            else:
                self._text += output.text

    async def wait(self, timeout: Seconds | None = None, *, check: bool = False) -> Result:
        """Waits for its end. The result has the output that nobody has read before. TimeoutError when it goes on for longer."""
        deadline = Deadline(None if timeout is None else seconds(timeout))
        if self._text:
            self._unread.add("stdout" if self._offsets["terminal"] == 0 else "terminal", self._text.encode())
            self._text = ""
        while self.result is None:
            output = await self._next(deadline.left())
            if output is not None:
                self._unread.add(output.stream, output.data)
        outputs = self._unread.all()
        result = Result(
            **{
                **self.result.__dict__,
                "stdout_bytes": outputs.get("stdout", b""),
                "stderr_bytes": outputs.get("stderr", b""),
                "terminal_bytes": outputs.get("terminal", b""),
            }
        )
        self.result = result
        self._unread = _Collected()
        if check and not result.ok:
            raise CommandFailed(result)
        return result

    # --- for who writes ---

    async def _say(self, request: Any) -> None:
        if self._attaches:
            raise input_lost("this sandbox cannot take it up again")
        if not await self._sending.give(request, lambda: not (self._is_over or self._is_closed)):
            raise SandshellError("the command takes no input any more", reason="INPUT_LOST")

    async def send(self, data: str | bytes) -> None:
        """Sends input."""
        data = data.encode() if isinstance(data, str) else data
        for start in range(0, len(data), _PIECE):
            await self._say(pb.ExecRequest(input_at=pb.InputAt(data=data[start : start + _PIECE])))

    async def send_line(self, line: str = "") -> None:
        """Sends a line of input."""
        await self.send(line + "\n")

    async def close_stdin(self) -> None:
        """Ends the input."""
        await self._say(pb.ExecRequest(input_at=pb.InputAt(end=True)))

    async def resize(self, rows: int, columns: int) -> None:
        """Gives its terminal another size."""
        await self._say(pb.ExecRequest(resize=pb.TerminalSize(rows=rows, columns=columns)))

    async def signal(self, number: int) -> None:
        """Sends a signal to it and all that it has started."""
        request = pb.SignalCommandRequest(command_id=self.command_id, signal=int(number))
        await self._client._call(SessionServiceStub, "SignalCommand", request, once=True)

    async def cancel(self) -> None:
        """Ends it: an interrupt first, and what does not end by that is killed."""
        request = pb.SignalCommandRequest(command_id=self.command_id)
        await self._client._call(SessionServiceStub, "SignalCommand", request)
