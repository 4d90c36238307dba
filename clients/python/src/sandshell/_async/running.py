"""How commands are started, in a session or without one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .. import _arguments
from .._arguments import duration
from .._checked import checked
from ..errors import CommandFailed
from ..results import Result, Seconds
from ..v1 import session_pb2 as pb
from ..v1.session_pb2_grpc import SessionServiceStub
from .client import AsyncClient, new_request_id
from .command import AsyncCommand
from .listing import texts

# Input that is sent with the start of a command. What is longer follows in pieces, as the command reads it.
_AT_ONCE = 16 << 20

_IF_BUSY = {"queue": pb.IF_BUSY_UNSPECIFIED, "refuse": pb.IF_BUSY_REFUSE}


@checked
class AsyncRuns:
    """Runs commands: a session, or a sandbox without one."""

    _client: AsyncClient
    _target: dict[str, Any]

    def _exec_start(self, command: str | Sequence[str], if_busy: str, **options: Any) -> Any:
        text_or_words = _arguments.command(command)
        options["if_busy"] = _arguments.choice("if_busy", if_busy, _IF_BUSY)
        if isinstance(text_or_words, str):
            what: dict[str, Any] = {"command": text_or_words}
        elif "session_id" in self._target:
            what = {"command": shlex.join(text_or_words)}
        else:
            what = {"argv": text_or_words}
        return pb.ExecStart(**self._target, **what, request_id=new_request_id(), **options)

    async def _execute(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        stdin: str | bytes | None = None,
        timeout: Seconds | None = None,
        if_busy: Literal["queue", "refuse"] = "queue",
        shell: str | None = None,
        merge_stderr: bool = False,
        check: bool = False,
    ) -> Result:
        """Runs a command and returns what came of it.

        A text is shell text. In a session its shell runs it; without one a fresh shell does (`shell`, default `/bin/sh`), of
        which nothing stays. A list is one program and its arguments, exactly as given. `env` and `cwd` are for this command
        alone, and so is `user`, a name or a number. `stdin` is all that it can read. A command that runs into its `timeout`
        (seconds or timedelta) is ended, the session goes on, and `timed_out` of the result says so. A session runs one command
        at a time: another one waits for its turn, without a limit, and its `timeout` begins with its turn. With
        `if_busy="refuse"` it does not wait, and FailedPrecondition (SESSION_BUSY) says so. With `merge_stderr` both
        outputs come as `stdout`, in the order in which they were written. An exit code other than 0 is a result as any, and
        raises CommandFailed only with `check=True`.
        """
        remedy = "give all that the command can read; start(…, stdin=True) is for input while it runs"
        data = b"" if stdin is None else _arguments.content("stdin", stdin, remedy)
        start = self._exec_start(
            command,
            if_busy,
            stdin=len(data) > _AT_ONCE,
            env=texts("env", env),
            working_directory=cwd,
            user=user,
            timeout=duration("timeout", timeout),
            shell=shell,
            merge_stderr=merge_stderr,
        )
        if start.stdin:
            return await (await AsyncCommand(self._client, start)._begin())._wait_with(data, check)
        answer = await self._client._call(SessionServiceStub, "Run", pb.RunRequest(start=start, stdin=data))
        if answer.stdout_truncated or answer.stderr_truncated or answer.terminal_truncated:
            # There was more than an answer has room for: all of it is in the command's log.
            live = AsyncCommand(self._client, None)
            live.command_id = answer.command_id
            live._task = live._spawned()
            result = await live.wait()
        else:
            outputs = {"stdout": answer.stdout, "stderr": answer.stderr, "terminal": answer.terminal}
            result = Result._of(answer.command_id, answer.exited, outputs)
        if check and not result.ok:
            raise CommandFailed(result)
        return result

    async def start(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        stdin: bool = False,
        pty: tuple[int, int] | bool = False,
        term: str = "xterm-256color",
        timeout: Seconds | None = None,
        if_busy: Literal["queue", "refuse"] = "queue",
        merge_stderr: bool = False,
        max_log_bytes: int = 0,
    ) -> AsyncCommand:
        """Starts a command and returns it while it runs.

        `stdin=True` leaves its input open. `pty` gives it a terminal of so many rows and columns (True: 24 and 80), of the kind
        `term`, where its input is open too. `max_log_bytes` is how much of its output is kept for a reader that lags or was cut
        off (default 32 MiB). The other options are those of a command that is waited for; `start` itself returns at once, also
        when the session is busy, and the command waits for its turn.
        """
        has_input = _arguments.flag("stdin", stdin, "input is sent with send() once the command runs")
        terminal, size = None, _arguments.terminal(pty)
        if size is not None:
            terminal = pb.Pty(size=pb.TerminalSize(rows=size[0], columns=size[1]), term=term)
        start = self._exec_start(
            command,
            if_busy,
            env=texts("env", env),
            working_directory=cwd,
            user=user,
            stdin=has_input and not terminal,
            pty=terminal,
            timeout=duration("timeout", timeout),
            merge_stderr=merge_stderr,
            max_log_bytes=max_log_bytes,
        )
        return await AsyncCommand(self._client, start)._begin()
