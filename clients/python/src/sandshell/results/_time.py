"""Times as calls take them and as they come back."""

from __future__ import annotations

import datetime
from typing import Any

Seconds = float | int | datetime.timedelta


def _time(stamp: Any) -> datetime.datetime:
    time: datetime.datetime = stamp.ToDatetime(tzinfo=datetime.timezone.utc)
    return time
