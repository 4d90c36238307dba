"""What there is in a sandbox, and what comes of moving it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from ._time import _time


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
    before: tuple[str, ...] = ()
    """The lines before it, as many as `context_lines` asked for."""
    after: tuple[str, ...] = ()


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
    """When it was done, by the clock of the sandbox. `download` with this as `changed_since` takes out what has changed since,
    and perhaps more: see there."""


@dataclass(frozen=True)
class Downloaded:
    """What a download has brought here."""

    files: int
    bytes: int
    left_out: tuple[tuple[str, str], ...] = ()
    """What was not made here, each with the reason: what is called `.git`, symbolic links that lead out of the directory, FIFOs,
    sockets and devices, and their like."""
