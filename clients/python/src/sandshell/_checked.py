"""Refuses arguments of a wrong type before a server is asked for anything, with the name of the parameter. What a parameter may
be is what its annotation says; those that take more than plain values have checks of their own."""

from __future__ import annotations

import datetime
import functools
import inspect
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)

_NAMES = {"str": "a text", "int": "a whole number", "datetime.datetime": "a datetime"}


def checked(cls: _Class) -> _Class:
    """Has the public methods of a class check what they are given."""
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, (classmethod, staticmethod)):
            setattr(cls, name, type(member)(_checking(member.__func__)))
        elif inspect.isfunction(member):
            setattr(cls, name, _checking(member))
    return cls


def _checking(function: Callable[..., Any]) -> Callable[..., Any]:
    checks = list(_checks(function))
    if not checks:
        return function

    @functools.wraps(function)
    def method(*args: Any, **options: Any) -> Any:
        for at, name, kinds in checks:
            if name in options:
                _check(name, options[name], kinds)
            elif at < len(args):
                _check(name, args[at], kinds)
        return function(*args, **options)

    return method


def _checks(function: Callable[..., Any]) -> Iterator[tuple[int, str, list[str]]]:
    """Where a parameter stands, its name, and what it may be."""
    for at, parameter in enumerate(inspect.signature(function).parameters.values()):
        kinds = str(parameter.annotation).split(" | ")
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and set(kinds) <= {*_NAMES, "None"}:
            yield (at if parameter.kind is not parameter.KEYWORD_ONLY else sys.maxsize), parameter.name, kinds


def _check(name: str, value: object, kinds: list[str]) -> None:
    if value is None and "None" in kinds or isinstance(value, str) and "str" in kinds:
        return
    if isinstance(value, datetime.datetime) and "datetime.datetime" in kinds:
        if value.tzinfo is None:
            raise ValueError(f"{name} must have a time zone: datetime.now(timezone.utc), for example")
        return
    if "int" in kinds:
        try:
            operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            return
    wanted = " or ".join(_NAMES[kind] for kind in kinds if kind != "None")
    raise TypeError(f"{name} must be {wanted}, not {'None' if value is None else type(value).__name__}")
