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
from ._async.images import AsyncImages
from ._async.listing import AsyncListing
from ._async.samples import AsyncSamples
from ._async.sandbox import AsyncSandbox
from ._async.session import AsyncSession
from ._async.verification import AsyncVerification
from ._async.volumes import AsyncVolume
from ._async.watch import AsyncWatch
from ._sync.client import Client
from ._sync.code import Code
from ._sync.command import Command
from ._sync.files import Files
from ._sync.images import Images
from ._sync.listing import Listing
from ._sync.samples import Samples
from ._sync.sandbox import Sandbox
from ._sync.session import Session
from ._sync.verification import Verification
from ._sync.volumes import Volume
from ._sync.watch import Watch
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
from .results import (
    CodeError,
    CodeResult,
    Dataset,
    Downloaded,
    File,
    FileChange,
    FileEvent,
    Image,
    Info,
    Match,
    Output,
    Page,
    Process,
    Progress,
    Result,
    Sample,
    SessionInfo,
    Stats,
    Uploaded,
    VerificationResult,
    VerificationStatus,
    VerifiedTest,
    VolumeUse,
)

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "AsyncCode",
    "AsyncCommand",
    "AsyncFiles",
    "AsyncImages",
    "AsyncListing",
    "AsyncSamples",
    "AsyncSandbox",
    "AsyncSession",
    "AsyncVerification",
    "AsyncVolume",
    "AsyncWatch",
    "Cancelled",
    "Client",
    "Code",
    "CodeError",
    "CodeResult",
    "Command",
    "CommandFailed",
    "Dataset",
    "DeadlineExceeded",
    "Downloaded",
    "FailedPrecondition",
    "File",
    "FileChange",
    "FileEvent",
    "Files",
    "Image",
    "Images",
    "Info",
    "InvalidArgument",
    "Listing",
    "Match",
    "NotFound",
    "Output",
    "Page",
    "PermissionDenied",
    "Process",
    "Progress",
    "ResourceExhausted",
    "Result",
    "Sample",
    "Samples",
    "Sandbox",
    "SandshellError",
    "Session",
    "SessionInfo",
    "Stats",
    "Unauthenticated",
    "Unavailable",
    "Uploaded",
    "Verification",
    "VerificationResult",
    "VerificationStatus",
    "VerifiedTest",
    "Volume",
    "VolumeUse",
    "Watch",
]
