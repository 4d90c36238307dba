"""A command that runs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import grpc

from .. import _arguments
from .._checked import checked
from .._held import Held
from ..errors import Cancelled, CommandFailed, FailedPrecondition, SandshellError, Unavailable
from ..results import Output, Result, Seconds
from ..v1 import session_pb2 as pb
from ..v1.session_pb2_grpc import SessionServiceStub
from . import _io
from .client import AsyncClient, Deadline, Pause, is_passing
from .sending import AsyncSending, input_lost

_STREAMS = {1: "stdout", 2: "stderr", 3: "terminal"}

# Messages that wait here for who reads.
_WAITING = 64
_PIECE = 256 << 10

# How long close() waits for the end of input to have its effect, and how long that may take behind it.
_ENDING = 1.0
_ENDING_BEHIND = 5.0

# A start that was sent before cannot be sent again: its sandbox is of an earlier version, or has forgotten it.
_CANNOT_GO_ON = ("SANDBOX_TOO_OLD", "COMMAND_NOT_FOUND")


@checked
class AsyncCommand:
    """A command that runs, with its output as it comes and a way to its input.

    Iterate it for pieces of output. A connection that breaks, and a server that is started again, are survived: each byte of
    output comes once, and the command gets each byte of input once. `close()`, or leaving its `with` block, ends its input and
    the watching; the command goes on until it ends by itself.
    """

    command_id: str
    """Its id."""
    result: Result | None
    """What came of it, once its end was read; `wait` adds the output that nobody has read before."""

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
        self._is_ending = False
        self._is_over = False
        # Why it is over: its end has come, or it can be followed no further.
        self._has_exited = False
        self._broke: Exception | None = None
        self._failure: Exception | None = None
        self._offsets = {"stdout": 0, "stderr": 0, "terminal": 0}
        self._cut: set[str] = set()
        self._held = Held()
        self._over: Any = _io.Queue(1)
        self._has_terminal = start is not None and start.HasField("pty")
        self._takes_input = self._has_terminal or (start is not None and start.stdin)
        self._has_ended_input = False

    def __repr__(self) -> str:
        if self.result is not None:
            state = self.result.how
        elif self._is_closed:
            state = "is watched no more"
        else:
            state = "was started"
        return f"<{type(self).__name__} {self.command_id} {state} on {self._client.address}>"

    async def __aenter__(self) -> AsyncCommand:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends its input, if that is open, and stops watching it. The command goes on until it ends by itself."""
        if self._is_closed:
            return
        try:
            if self._takes_input and self.command_id and not (self._is_over or self._attaches):
                await self._let_input_end()
        finally:
            self._is_closed = True
            if self._stream is not None and not self._is_ending:
                self._stream.cancel()
            try:
                # For who reads at this moment.
                self._inbox.put_nowait(("failed", self._unwatched()))
            except Exception:  # It is full, so nobody waits for it.
                pass

    async def _let_input_end(self) -> None:
        """Says that the input is over, and leaves the call open until that has come to the command."""
        deadline = Deadline(_ENDING)
        if not self._has_ended_input:
            self._has_ended_input = True
            end = pb.ExecRequest(input_at=pb.InputAt(end=True))
            if not await self._sending.give(end, lambda: not (self._is_over or deadline.is_over())):
                return
        # Nobody reads any more, so nothing that is printed may hold the call up.
        self._is_closed = self._is_ending = True
        self._ending = _io.spawn(self._end_behind)
        try:
            await _io.get(self._over, deadline.left())
        except TimeoutError:
            pass

    async def _end_behind(self) -> None:
        deadline = Deadline(_ENDING + _ENDING_BEHIND)
        while not (self._is_over or deadline.is_over()):
            await _io.sleep(0.05)
        if self._stream is not None:
            self._stream.cancel()

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
            self._broke = error
            await self._give("failed", error)
        finally:
            self._is_over = True
            try:
                self._over.put_nowait(None)
            except Exception:  # It was said already.
                pass

    async def _follow(self) -> None:
        patience, pause = Deadline(self._client._patience()), Pause()
        while not self._is_closed:
            try:
                self._stream = await self._messages()
                async for message in self._stream:
                    self._client._is_reached = True
                    patience, pause = Deadline(self._client._patience()), Pause()
                    if await self._take(message):
                        return
                failure: SandshellError = Unavailable("the stream ended before the command did")
            except grpc.RpcError as error:
                failure = self._client._failed(error)
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
                raise await self._client._explained(failure)
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
            self._has_exited = True
            await self._give("exited", message.exited)
            return True
        return False

    async def _give(self, kind: str, value: Any) -> None:
        await _io.put(self._inbox, (kind, value), lambda: not self._is_closed)

    # --- for who reads ---

    async def _next(self, within: float | None) -> Any:
        """The next piece of output, as `Held` has it; None at the end."""
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
        return self._held.output(*value)

    def __aiter__(self) -> AsyncCommand:
        return self

    async def __anext__(self) -> Output:
        # What `read_until` and `wait` have seen and not returned comes first.
        held = self._held.first()
        if held is not None:
            return held
        piece = await self._next(None)
        if piece is None:
            raise StopAsyncIteration
        output: Output = piece[0]
        return output

    async def read_until(self, pattern: str | re.Pattern[str], timeout: Seconds | None = None) -> str:
        """Reads standard output and the terminal until a text or a regular expression has come; returns all up to its end.

        TimeoutError when it does not come in time; EOFError when the command ends before. Nothing is lost then: the next call
        sees the same text again, and so does who iterates the command.
        """
        if not isinstance(pattern, (str, re.Pattern)):
            raise TypeError(f"pattern must be a text or a regular expression of texts, not {type(pattern).__name__}")
        expression, shown = (re.compile(re.escape(pattern)), pattern) if isinstance(pattern, str) else (pattern, pattern.pattern)
        deadline = Deadline(None if timeout is None else _arguments.seconds("timeout", timeout))
        while True:
            found = self._held.take_until(expression)
            if found is not None:
                return found
            try:
                piece = await self._next(deadline.left())
            except TimeoutError:
                raise TimeoutError(f"{shown!r} did not come in {timeout} s; {self._held.text[-200:]!r} did") from None
            if piece is None:
                raise EOFError(f"the command ended before {shown!r} came; {self._held.text[-200:]!r} did")
            self._held.add(piece)

    async def wait(self, timeout: Seconds | None = None, *, check: bool = False) -> Result:
        """Waits for its end. The result has the output that nobody has read before. TimeoutError when it goes on for longer."""
        deadline = Deadline(None if timeout is None else _arguments.seconds("timeout", timeout))
        while self.result is None:
            try:
                piece = await self._next(deadline.left())
            except TimeoutError:
                told = f"the command {self.command_id} has not ended within {timeout} s, and goes on; cancel() ends it"
                raise TimeoutError(told) from None
            if piece is not None:
                self._held.add(piece)
        outputs = self._held.all()
        if outputs:
            self.result = replace(
                self.result,
                stdout_bytes=outputs.get("stdout", b""),
                stderr_bytes=outputs.get("stderr", b""),
                terminal_bytes=outputs.get("terminal", b""),
            )
        if check and not self.result.ok:
            raise CommandFailed(self.result)
        return self.result

    async def _wait_with(self, data: bytes, check: bool) -> Result:
        """Sends all of its input while its output is read."""

        async def feed() -> None:
            try:
                await self.send(data)
                await self.close_stdin()
            except Exception as error:
                # A command may end without having read everything. Any other would wait for the rest for ever.
                if not self._has_exited:
                    await self._give("failed", error)

        self._feeding = _io.spawn(feed)
        try:
            return await self.wait(check=check)
        except BaseException:
            if not self._has_exited and not self._has_ended_input:
                # It must not take what it has got of its input for all of it.
                await self.cancel()
            raise
        finally:
            await self.close()

    # --- for who writes ---

    async def _say(self, request: Any) -> None:
        if self._attaches:
            raise input_lost("this sandbox cannot take it up again")
        if not await self._sending.give(request, self._takes_more):
            raise self._takes_no_input()

    def _takes_more(self) -> bool:
        return not (self._has_exited or self._is_over or self._is_closed)

    def _takes_no_input(self) -> Exception:
        if self._has_exited:
            return FailedPrecondition("the command has ended, and takes no input any more", reason="COMMAND_EXITED")
        return self._broke if self._broke is not None else self._unwatched()

    def _has_input(self) -> None:
        if not (self._takes_input or self._attaches):
            told = "the command was started without input: start it with stdin=True, or with pty=True for a terminal"
            raise FailedPrecondition(told, reason="NO_INPUT")

    async def send(self, data: str | bytes) -> None:
        """Sends input, to a command that was started with `stdin=True` or with a terminal."""
        data = _arguments.content("data", data)
        self._has_input()
        if self._has_ended_input:
            raise FailedPrecondition("the command's input has ended: close_stdin() was called", reason="NO_INPUT")
        for start in range(0, len(data), _PIECE):
            await self._say(pb.ExecRequest(input_at=pb.InputAt(data=data[start : start + _PIECE])))

    async def send_line(self, line: str | bytes = "") -> None:
        """Sends a line of input."""
        await self.send(_arguments.content("line", line) + b"\n")

    async def close_stdin(self) -> None:
        """Ends the input. It may be said again."""
        self._has_input()
        if not self._has_ended_input:
            await self._say(pb.ExecRequest(input_at=pb.InputAt(end=True)))
            self._has_ended_input = True

    async def resize(self, rows: int, columns: int) -> None:
        """Gives its terminal another size."""
        if not (self._has_terminal or self._attaches):
            raise FailedPrecondition("the command has no terminal: start it with pty=True", reason="NO_TERMINAL")
        await self._say(pb.ExecRequest(resize=pb.TerminalSize(rows=rows, columns=columns)))

    async def signal(self, number: int | str) -> None:
        """Sends a signal to it and all that it has started: a number, a name (`"INT"`), or one of `signal.Signals`."""
        request = pb.SignalCommandRequest(command_id=self.command_id, signal=_arguments.signal_number(number))
        await self._client._call(SessionServiceStub, "SignalCommand", request, once=True)

    async def cancel(self) -> None:
        """Ends it: an interrupt first, and what does not end by that is killed. One that has ended already stays as it is."""
        request = pb.SignalCommandRequest(command_id=self.command_id)
        try:
            await self._client._call(SessionServiceStub, "SignalCommand", request)
        except FailedPrecondition as error:
            if error.reason != "COMMAND_EXITED":
                raise
