"""What the server says of sandboxes, volumes and images."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

from ._time import _time


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
