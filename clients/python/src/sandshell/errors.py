"""What can go wrong, as exceptions. Each has the server's stable `reason` and the id of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from .results import Result


class SandshellError(Exception):
    """A call that failed.

    `reason` is stable (`SANDBOX_NOT_FOUND`, …), `message` is for people, `request_id` finds the call in the server's log,
    `violations` are pairs of field and description, `retry_after` is a number of seconds or None.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        request_id: str = "",
        violations: list[tuple[str, str]] | None = None,
        retry_after: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.request_id = request_id
        self.violations = violations or []
        self.retry_after = retry_after
        self.metadata = metadata or {}

    def __str__(self) -> str:
        more = [part for part in (self.reason, self.request_id and f"request {self.request_id}") if part]
        return f"{self.message} ({', '.join(more)})" if more else self.message


class InvalidArgument(SandshellError):
    """A field of the request is wrong: see `violations`."""


class NotFound(SandshellError):
    """There is no such thing, or it belongs to somebody else."""


class AlreadyExists(SandshellError):
    """It is there already."""


class FailedPrecondition(SandshellError):
    """It is in a state in which this cannot be done."""


class PermissionDenied(SandshellError):
    """The user of the sandbox may not do that."""


class Unauthenticated(SandshellError):
    """The server wants a key, and this is none that it knows."""


class ResourceExhausted(SandshellError):
    """There is no room for it; `retry_after` says when there may be."""


class Unavailable(SandshellError):
    """The server or the sandbox cannot be reached now."""


class DeadlineExceeded(SandshellError):
    """The answer did not come in time."""


class Cancelled(SandshellError):
    """The call was cancelled."""


class CommandFailed(SandshellError):
    """A command with `check=True` did not succeed; `result` is what came of it."""

    def __init__(self, result: Result) -> None:
        said = result.stderr.strip().splitlines()
        super().__init__(f"the command {result.how}" + (f": {said[-1]}" if said else ""), reason="COMMAND_FAILED")
        self.result = result


_KINDS: dict[Any, type[SandshellError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
}


def from_rpc(error: Any) -> SandshellError:
    """The exception for a failed call of gRPC's."""
    metadata: dict[str, Any] = {}
    for part in (error.initial_metadata(), error.trailing_metadata()):
        metadata.update({key: value for key, value in part or ()})
    reason, violations, retry_after, about = "", [], None, {}
    status = status_pb2.Status()
    status.ParseFromString(metadata.get("grpc-status-details-bin", b""))
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        fields = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, about = info.reason, dict(info.metadata)
        elif detail.Unpack(fields):
            violations = [(violation.field, violation.description) for violation in fields.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    code = error.code()
    if code is grpc.StatusCode.INTERNAL and not status.details:
        # The library's own: a connection that broke while something was written to it. A server gives each of its errors details.
        code = grpc.StatusCode.UNAVAILABLE
    kind = _KINDS.get(code, SandshellError)
    remedy = " [in Python: key= or SANDSHELL_KEY]" if code is grpc.StatusCode.UNAUTHENTICATED else _in_python(violations)
    return kind(
        (error.details() or str(code)) + remedy,
        reason=reason or code.name,
        request_id=str(metadata.get("x-request-id", "")),
        violations=violations,
        retry_after=retry_after,
        metadata=about,
    )


# What fields of requests are called as parameters, where that is another word.
_PARAMETERS = {
    "start.working_directory": "cwd",
    "start.argv": "command",
    "start.pty": "pty",
    "start.pty.size.rows": "pty",
    "start.pty.size.columns": "pty",
    "size_bytes": "size",
    "resources.memory_bytes": "memory",
    "resources.cpu_millis": "cpus",
    "resources.max_processes": "processes",
    "resources.disk_bytes": "disk",
    "network.mode": "host_network",
    "exclude": "ignore",
    "context_id": "context",
}


def _in_python(violations: list[tuple[str, str]]) -> str:
    """Names the parameters of the client that the fields of a request stand for."""
    names = []
    for path, _ in violations:
        # Without what is behind the field, and without the message that it is in if the word is the same.
        field = path.split("[")[0]
        first, _, last = field.partition(".")
        name = _PARAMETERS.get(field) or (last if first in ("start", "lifetime", "resources") and "." not in last else "")
        if name and name not in names:
            names.append(name)
    return f" [in Python: {', '.join(names)}]" if names else ""
