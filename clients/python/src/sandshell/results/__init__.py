"""What calls return."""

from ._time import Seconds, _time
from .commands import CodeError, CodeResult, Output, Process, Result, SessionInfo
from .files import Downloaded, File, FileChange, FileEvent, Match, Progress, Uploaded
from .sandboxes import Image, Info, Page, Stats, VolumeUse
from .verification import Dataset, Sample, VerificationResult, VerificationStatus, VerifiedTest

__all__ = [
    "CodeError",
    "CodeResult",
    "Dataset",
    "Downloaded",
    "File",
    "FileChange",
    "FileEvent",
    "Image",
    "Info",
    "Match",
    "Output",
    "Page",
    "Process",
    "Progress",
    "Result",
    "Sample",
    "Seconds",
    "SessionInfo",
    "Stats",
    "Uploaded",
    "VerificationResult",
    "VerificationStatus",
    "VerifiedTest",
    "VolumeUse",
    "_time",
]
