"""What commands, sessions and pieces of code come to."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from ._time import _time


@dataclass(frozen=True)
class Result:
    """What came of a command. The texts have U+FFFD for what is not UTF-8; the bytes are as they were."""

    command_id: str
    stdout_bytes: bytes
    stderr_bytes: bytes
    terminal_bytes: bytes
    exit_code: int
    signal: int
    reason: str
    """`EXITED`, `SIGNALED`, `TIMED_OUT`, `CANCELLED`, `OUT_OF_MEMORY`, `SHELL_EXITED` or `SANDBOX_STOPPED`."""
    duration: float
    cwd: str
    shell_exited: bool
    """Whether the session's shell ended; the next command finds a new one, with its state."""
    pipe_status: tuple[int, ...] = ()
    not_restored: tuple[str, ...] = ()
    """What of the state of a shell that ended could not be given to the new one."""
    stdout_truncated: bool = False
    stderr_truncated: bool = False

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def terminal(self) -> str:
        return self.terminal_bytes.decode("utf-8", "replace")

    @property
    def timed_out(self) -> bool:
        return self.reason == "TIMED_OUT"

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, with exit code 0."""
        return self.exit_code == 0 and self.reason == "EXITED"

    @property
    def how(self) -> str:
        """How it ended, in words."""
        words = {
            "TIMED_OUT": "ran into its time-out",
            "CANCELLED": "was cancelled",
            "OUT_OF_MEMORY": "was ended because the sandbox's memory is used up",
            "SANDBOX_STOPPED": "ended with its sandbox",
        }
        return words.get(self.reason, f"ended with exit code {self.exit_code}")

    @classmethod
    def _of(cls, command_id: str, exited: Any, outputs: dict[str, bytes], **more: Any) -> Result:
        reason = type(exited).Reason.Name(exited.reason)
        return cls(
            command_id=command_id,
            stdout_bytes=outputs.get("stdout", b""),
            stderr_bytes=outputs.get("stderr", b""),
            terminal_bytes=outputs.get("terminal", b""),
            exit_code=exited.exit_code,
            signal=exited.signal,
            reason=reason.removeprefix("REASON_"),
            duration=exited.duration.seconds + exited.duration.nanos / 1e9,
            cwd=exited.working_directory,
            shell_exited=exited.shell_exited,
            pipe_status=tuple(exited.pipe_status),
            not_restored=tuple(exited.not_restored),
            **more,
        )


@dataclass(frozen=True)
class SessionInfo:
    """A session as the server describes it."""

    session_id: str
    sandbox_id: str
    shell: str
    state: str
    """`idle`, `busy` or `closed`."""
    generation: int
    """1 for the first shell; goes up by one each time the shell ended and a new one took its place."""
    cwd: str
    """Where the next command runs."""
    created: datetime.datetime
    close_on_exit: bool
    shell_pid: int
    """The shell's process id in the sandbox; 0 when it has none."""
    queued_commands: int
    """Commands that wait for their turn."""
    running_command_id: str
    """The command that runs; empty when none does."""
    not_restored: tuple[str, ...] = ()
    """What of the state of the shell before it could not be given to this one."""

    @classmethod
    def _of(cls, session: Any) -> SessionInfo:
        return cls(
            session_id=session.session_id,
            sandbox_id=session.sandbox_id,
            shell=session.shell,
            state=type(session).State.Name(session.state).removeprefix("STATE_").lower(),
            generation=session.generation,
            cwd=session.working_directory,
            created=_time(session.create_time),
            close_on_exit=session.on_shell_exit == 2,
            shell_pid=session.shell_pid,
            queued_commands=session.queued_commands,
            running_command_id=session.running_command_id,
            not_restored=tuple(session.not_restored),
        )


@dataclass(frozen=True)
class Process:
    """A process that the commands of a session have started."""

    pid: int
    """Its id in the sandbox."""
    parent_pid: int
    command: str
    """Its arguments with spaces between them."""
    command_id: str
    """The command that started it, where that is known; else empty."""
    state: str
    """`running`, `sleeping`, `stopped`, `zombie` or `exited`."""
    started: datetime.datetime
    exit_code: int | None
    """When it is over and that is known."""
    signal: int
    """The signal that ended it, when that is known; else 0."""
    foreground: bool
    """Whether it is in the foreground of the session's terminal while a command runs."""

    @classmethod
    def _of(cls, process: Any) -> Process:
        return cls(
            pid=process.pid,
            parent_pid=process.parent_pid,
            command=process.command,
            command_id=process.command_id,
            state=type(process).State.Name(process.state).removeprefix("STATE_").lower(),
            started=_time(process.start_time),
            exit_code=process.exit_code if process.HasField("exit_code") else None,
            signal=process.signal,
            foreground=process.foreground,
        )


@dataclass(frozen=True)
class Output:
    """A piece of what a command has printed."""

    stream: str
    """`stdout`, `stderr` or `terminal`."""
    data: bytes
    text: str
    """The same as text. A character that comes in two pieces is in the second one."""


@dataclass(frozen=True)
class CodeError:
    """What went wrong in code."""

    name: str
    message: str
    traceback: str


@dataclass(frozen=True)
class CodeResult:
    """What came of a piece of code."""

    stdout: str
    stderr: str
    value: str | None
    """The last expression's value, as the language shows it; None when there is none."""
    results: tuple[dict[str, Any], ...] = ()
    """All values that were shown: `text`, and other forms by MIME type, as bytes."""
    error: CodeError | None = None
    exit_code: int = 0
    timed_out: bool = False
    duration: float = 0.0
    generation: int = 1
    """Goes up when a context's interpreter had ended and a new one took its place."""
    interpreter_ended: CodeError | None = None
    """How the interpreter before this one ended, when it did while no code ran. Its variables are lost."""
