"""What callers give: checked here, so that an error names the parameter and says what to write instead."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from .errors import InvalidArgument
from .results import Seconds

# The longest time that a duration of the API can be, in seconds.
_LONGEST = 315_576_000_000

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

# Signals have other numbers on other systems, and sandboxes run on Linux.
_SIGNALS = {
    name: number
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ"
        " VTALRM PROF WINCH IO PWR SYS".split(),
        1,
    )
}


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def patterns(parameter: str, value: str | Iterable[str] | None) -> list[str]:
    """Some texts, or one: a text alone is never taken letter by letter."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, (bytes, bytearray, memoryview, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{parameter} must be a text or a list of texts, not {_kind(value)}")
    found = list(value)
    for at, item in enumerate(found):
        if not isinstance(item, str):
            raise TypeError(f"{parameter}[{at}] must be a text, not {_kind(item)}")
    return found


def content(parameter: str, value: object, remedy: str = "") -> bytes:
    """Text or bytes, as bytes."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    remedy = remedy or "str(…) makes text of it"
    raise TypeError(f"{parameter} must be text or bytes, not {_kind(value)}: {remedy}")


def command(value: object) -> str | list[str]:
    """A text for a shell, or a program with its arguments."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"command must be a text for a shell, or a list of a program and its arguments, not {_kind(value)}")
    words = list(value)
    for at, word in enumerate(words):
        if not isinstance(word, str):
            raise TypeError(f"command[{at}] must be a text, not {_kind(word)}: write str({word!r})")
    if not words:
        wrong = [("command", "an empty list names no program")]
        raise InvalidArgument("command: an empty list names no program", reason="INVALID_ARGUMENT", violations=wrong)
    return words


def pairs(parameter: str, value: object) -> dict[Any, Any]:
    """Names and their values."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{parameter} must be a dict of names and values, such as {{'name': 'value'}}, not {_kind(value)}")
    return dict(value)


def size(parameter: str, value: object) -> int | None:
    """A number of bytes, also as a text with a unit: `"512M"`, `"1.5G"`, in powers of 1024."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    wrong = f"{parameter} must be a number of bytes, or a text such as '512M' or '2G' (powers of 1024), not {value!r}"
    if not isinstance(value, str):
        raise TypeError(wrong)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?", value.strip().lower())
    if found is None:
        raise ValueError(wrong)
    number, unit = found.groups()
    return int(number) << 10 * _UNITS[unit] if number.isdigit() else round(float(number) * 1024.0 ** _UNITS[unit])


def number(parameter: str, value: object) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{parameter} must be a number, not {_kind(value)}")
    if not math.isfinite(value):
        raise ValueError(f"{parameter} must be a finite number, not {value!r}")
    return float(value)


def seconds(parameter: str, value: Seconds) -> float:
    """A time as a number of seconds."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{parameter} must be a number of seconds or a timedelta, not {_kind(value)}")
    if not math.isfinite(value):
        raise ValueError(f"{parameter} must be a finite number of seconds, not {value!r}: leave it out for no limit")
    return float(value)


def duration(parameter: str, value: Seconds | None) -> Duration | None:
    """A time as the API has it."""
    if value is None:
        return None
    length = seconds(parameter, value)
    if abs(length) > _LONGEST:
        raise ValueError(f"{parameter} must be at most {_LONGEST} seconds, not {value!r}")
    result = Duration()
    result.FromNanoseconds(round(length * 1e9))
    return result


def choice(parameter: str, value: object, known: Mapping[str, Any]) -> Any:
    """What one of some words stands for."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{parameter} must be one of {', '.join(map(repr, known))}, not {value!r}")
    return known[value]


def flag(parameter: str, value: object, remedy: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{parameter} must be True or False, not {_kind(value)}: {remedy}")
    return value


def terminal(value: object) -> tuple[int, int] | None:
    """Rows and columns, or None for no terminal."""
    if value is False or value is None:
        return None
    if value is True:
        return 24, 80
    if isinstance(value, Sequence) and len(value) == 2 and all(type(number) is int for number in value):
        return value[0], value[1]
    raise TypeError(f"pty must be True, False or a pair (rows, columns), not {value!r}")


def signal_number(value: object) -> int:
    """A signal by its number, its name (`"INT"`, `"SIGINT"`), or as one of `signal.Signals`."""
    name = value if isinstance(value, str) else getattr(value, "name", None)
    if name is not None:
        known = _SIGNALS.get(str(name).upper().removeprefix("SIG"))
        if known is None:
            raise ValueError(f"{name!r} is no signal of Linux: write a name such as 'INT', or a number")
        return known
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"number must be the number or the name of a signal, not {_kind(value)}")
    if value == 0:
        raise ValueError("0 is no signal: cancel() ends a command")
    return value
