"""Sandboxes with shells that stay.

>>> from sandshell import Sandbox
>>> with Sandbox.create() as sandbox:
...     session = sandbox.session()
...     _ = session.exec("cd /usr; greeting=hello")
...     session.exec('echo "$greeting from $PWD"').stdout
'hello from /usr\\n'

Each class has an asynchronous twin with the same methods: `AsyncSandbox`, `AsyncSession`, …
"""

from ._async.client import AsyncClient
from ._async.code import AsyncCode
from ._async.command import AsyncCommand
from ._async.files import AsyncFiles
from ._async.sandbox import AsyncSandbox, AsyncSession
from ._sync.client import Client
from ._sync.code import Code
from ._sync.command import Command
from ._sync.files import Files
from ._sync.sandbox import Sandbox, Session
from .errors import (
    AlreadyExists,
    Cancelled,
    CommandFailed,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SandshellError,
    Unauthenticated,
    Unavailable,
)
from .results import CodeError, CodeResult, File, Info, Match, Output, Result, Stats

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "AsyncCode",
    "AsyncCommand",
    "AsyncFiles",
    "AsyncSandbox",
    "AsyncSession",
    "Cancelled",
    "Client",
    "Code",
    "CodeError",
    "CodeResult",
    "Command",
    "CommandFailed",
    "DeadlineExceeded",
    "FailedPrecondition",
    "File",
    "Files",
    "Info",
    "InvalidArgument",
    "Match",
    "NotFound",
    "Output",
    "PermissionDenied",
    "ResourceExhausted",
    "Result",
    "Sandbox",
    "SandshellError",
    "Session",
    "Stats",
    "Unauthenticated",
    "Unavailable",
]
