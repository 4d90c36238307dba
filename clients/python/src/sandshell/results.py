"""What calls return."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

Seconds = float | int | datetime.timedelta


def _time(stamp: Any) -> datetime.datetime:
    time: datetime.datetime = stamp.ToDatetime(tzinfo=datetime.timezone.utc)
    return time


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
class File:
    """What is known of a file in a sandbox."""

    path: str
    type: str
    """`file`, `directory`, `symlink` or `other`."""
    size: int
    mode: int
    owner: str
    group: str
    modified: datetime.datetime
    etag: str
    link_target: str = ""

    @classmethod
    def _of(cls, file: Any) -> File:
        kind = type(file).Type.Name(file.type).removeprefix("TYPE_").lower()
        return cls(
            path=file.path,
            type=kind,
            size=file.size_bytes,
            mode=file.mode,
            owner=file.owner,
            group=file.group,
            modified=_time(file.modify_time),
            etag=file.etag,
            link_target=file.link_target,
        )


@dataclass(frozen=True)
class Match:
    """A line that a search has found."""

    path: str
    line: int
    text: str
    column: int


@dataclass(frozen=True)
class FileEvent:
    """Something that has happened in a directory that is watched."""

    kind: str
    """`created`, `modified`, `removed`, `renamed`, or `overflow`: then changes were lost, and `list` tells what is there now."""
    path: str = ""
    old_path: str = ""
    """Of what was renamed: the path before."""
    is_directory: bool = False


@dataclass(frozen=True)
class FileChange:
    """A difference between a sandbox and its image."""

    kind: str
    """`added`, `modified` or `removed`."""
    path: str


@dataclass(frozen=True)
class Progress:
    """How far an upload is. The totals were counted before it began."""

    files: int
    bytes: int
    total_files: int
    total_bytes: int


@dataclass(frozen=True)
class Uploaded:
    """What an upload has brought into a sandbox."""

    files: int
    bytes: int
    directories: int
    symlinks: int
    finished: datetime.datetime
    """When it was done, by the clock of the sandbox. `download` with this as `changed_since` takes out what has changed since."""


@dataclass(frozen=True)
class Downloaded:
    """What a download has brought here."""

    files: int
    bytes: int
    left_out: tuple[tuple[str, str], ...] = ()
    """What was not made here, each with the reason: what is called `.git`, symbolic links that lead out of the directory, FIFOs,
    sockets and devices, and their like."""


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


@dataclass(frozen=True)
class Info:
    """A sandbox as the server describes it."""

    sandbox_id: str
    state: str
    image: str
    runtime: str
    labels: dict[str, str]
    cwd: str
    created: datetime.datetime
    expires: datetime.datetime | None
    idle_timeout: float | None
    warnings: tuple[str, ...] = ()
    end_reason: str = ""
    sample: str = ""
    """`DATASET/ID` of the sample that it was made from."""
    volumes: dict[str, str] = field(default_factory=dict)
    """Its volumes, by path: the name, with `:ro` behind it if it can only read."""

    @classmethod
    def _of(cls, box: Any) -> Info:
        return cls(
            sandbox_id=box.sandbox_id,
            state=type(box).State.Name(box.state).removeprefix("STATE_").lower(),
            image=box.image,
            runtime=box.runtime,
            labels=dict(box.labels),
            cwd=box.working_directory,
            created=_time(box.create_time),
            expires=_time(box.expire_time) if box.HasField("expire_time") else None,
            idle_timeout=box.idle_timeout.seconds + box.idle_timeout.nanos / 1e9 if box.HasField("idle_timeout") else None,
            warnings=tuple(box.warnings),
            end_reason=type(box).EndReason.Name(box.end_reason).removeprefix("END_REASON_").lower() if box.end_reason else "",
            sample=f"{box.sample.dataset}/{box.sample.sample_id}" if box.HasField("sample") else "",
            volumes={mount.path: mount.volume + (":ro" if mount.read_only else "") for mount in box.volumes},
        )


@dataclass(frozen=True)
class VolumeUse:
    """A sandbox that has a volume."""

    sandbox_id: str
    path: str
    read_only: bool

    @classmethod
    def _of(cls, used: Any) -> VolumeUse:
        return cls(used.sandbox_id, used.path, used.read_only)


@dataclass(frozen=True)
class Page:
    """A part of a list of sandboxes."""

    sandboxes: tuple[Info, ...]
    total: int
    """How many there are in all, on all pages."""
    next_token: str | None
    """What `list(page_token=…)` takes to go on from here; None on the last page."""


@dataclass(frozen=True)
class Stats:
    """What a sandbox uses. None is what the host cannot tell."""

    cpu_seconds: float
    memory_bytes: int | None
    memory_peak_bytes: int | None
    processes: int | None
    disk_bytes: int | None
    sessions: int
    running_commands: int
    commands: int


@dataclass(frozen=True)
class Image:
    """What a sandbox can be made from."""

    name: str
    """What `Sandbox.create` takes as `image`."""
    description: str
    """What the operator says of it; may be empty."""
    kind: str
    """"HOST", "DIRECTORY" or "REFERENCE"."""
    is_default: bool
    """Whether sandboxes have it that name none."""
    size_bytes: int | None
    """Bytes of its files; None where nobody counts them."""

    @classmethod
    def _of(cls, image: Any) -> Image:
        kind = type(image).Kind.Name(image.kind).removeprefix("KIND_")
        size = image.size_bytes if image.HasField("size_bytes") else None
        return cls(image.name, image.description, kind, image.is_default, size)


@dataclass(frozen=True)
class Dataset:
    """A set of samples."""

    name: str
    title: str
    description: str
    sample_count: int
    languages: dict[str, int]
    """How many samples there are in each programming language."""

    @classmethod
    def _of(cls, dataset: Any) -> Dataset:
        return cls(dataset.name, dataset.title, dataset.description, dataset.sample_count, dict(dataset.languages))


@dataclass(frozen=True)
class Sample:
    """A code base and a task."""

    dataset: str
    sample_id: str
    title: str
    language: str
    tags: tuple[str, ...]
    image: str
    version: str
    description: str
    """The task, as Markdown. Empty in lists."""
    setup: tuple[str, ...]
    """Shell commands that prepare the code base."""
    verification_timeout: float
    """How long its verification may take, in seconds."""
    protected_paths: tuple[str, ...]
    """Paths whose changes do not count in a verification, in patterns as a `.gitignore` has them."""
    fingerprint: str
    """Changes whenever a file of the sample does."""

    @classmethod
    def _of(cls, sample: Any) -> Sample:
        return cls(
            dataset=sample.dataset,
            sample_id=sample.sample_id,
            title=sample.title,
            language=sample.language,
            tags=tuple(sample.tags),
            image=sample.image,
            version=sample.version,
            description=sample.description,
            setup=tuple(sample.setup),
            verification_timeout=sample.verification_timeout.seconds + sample.verification_timeout.nanos / 1e9,
            protected_paths=tuple(sample.protected_paths),
            fingerprint=sample.fingerprint,
        )


@dataclass(frozen=True)
class VerifiedTest:
    """One test of a verification."""

    name: str
    outcome: str
    """`passed`, `failed` or `skipped`."""
    duration: float | None
    message: str


@dataclass(frozen=True)
class VerificationResult:
    """What came of a verification."""

    is_success: bool
    """Whether all tests passed that have to."""
    passed: int
    failed: int
    skipped: int
    total: int
    tests: tuple[VerifiedTest, ...]
    reason: str
    """Why it was no success: `TESTS_FAILED`, `TESTS_MISSING`, `NO_REPORT`, `TIMED_OUT`, …; empty for a success."""
    message: str
    """The same in words."""
    exit_code: int | None
    duration: float
    stdout: str
    stderr: str
    changes: tuple[str, ...]
    """What differed from the sample: `A path`, `M path` or `D path`."""

    @classmethod
    def _of(cls, result: Any) -> VerificationResult:
        tests = [
            VerifiedTest(
                test.name,
                type(test).Outcome.Name(test.outcome).removeprefix("OUTCOME_").lower(),
                test.duration.seconds + test.duration.nanos / 1e9 if test.HasField("duration") else None,
                test.message,
            )
            for test in result.tests
        ]
        return cls(
            is_success=result.is_success,
            passed=result.passed,
            failed=result.failed,
            skipped=result.skipped,
            total=result.total,
            tests=tuple(tests),
            reason=type(result).Reason.Name(result.reason).removeprefix("REASON_") if result.reason else "",
            message=result.message,
            exit_code=result.exit_code if result.HasField("exit_code") else None,
            duration=result.duration.seconds + result.duration.nanos / 1e9,
            stdout=result.stdout,
            stderr=result.stderr,
            changes=tuple(result.changes),
        )


@dataclass(frozen=True)
class VerificationStatus:
    """Where a verification is, and what came of it."""

    verification_id: str
    sandbox_id: str
    state: str
    """`pending`, `starting`, `running`, `completed`, `error` or `cancelled`; the last three are final."""
    result: VerificationResult | None
    """What came of it, once it is `completed`."""
    error: str
    """Why it could not be carried out, for programs: `SANDBOX_GONE`, `SETUP_FAILED`, …; empty unless it is in `error`."""
    message: str
    """The same in words."""
    attempt: int
    """How often it was begun. More than 1: its server was ended meanwhile."""
    dataset: str
    sample_id: str

    @property
    def is_over(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in ("completed", "error", "cancelled")

    @classmethod
    def _of(cls, told: Any) -> VerificationStatus:
        return cls(
            verification_id=told.verification_id,
            sandbox_id=told.sandbox_id,
            state=type(told).State.Name(told.state).removeprefix("STATE_").lower(),
            result=VerificationResult._of(told.result) if told.HasField("result") else None,
            error=type(told.error).Reason.Name(told.error.reason).removeprefix("REASON_") if told.HasField("error") else "",
            message=told.error.message if told.HasField("error") else "",
            attempt=told.attempt,
            dataset=told.dataset,
            sample_id=told.sample_id,
        )
