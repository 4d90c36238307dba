"""A connection to a server, and how calls are made on it."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import uuid
from typing import Any
from urllib.parse import SplitResult, urlsplit

import grpc

from .. import _arguments, _server, _unreached
from .._checked import checked
from ..errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    SandshellError,
    Unavailable,
    from_rpc,
)
from ..results import Seconds
from . import _io

# Answers may be as long as the server makes them.
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # This is how long an attempt may take at the least, not how long it is waited before the next.
    ("grpc.min_reconnect_backoff_ms", 2_000),
]

# How long a call is tried again while a server cannot be reached that was reached before.
PATIENCE = 60.0

# The same for a server that was never reached: what is wrong then is mostly its address.
CONNECT_TIMEOUT = 5.0

# A call that fails after this time was under way.
UNDER_WAY = 3.0


def new_request_id() -> str:
    return str(uuid.uuid4())


class Deadline:
    """When a call has to be over."""

    def __init__(self, within: float | None) -> None:
        self._at = None if within is None else time.monotonic() + within

    def left(self) -> float | None:
        return None if self._at is None else max(self._at - time.monotonic(), 0.001)

    def is_over(self) -> bool:
        return self._at is not None and time.monotonic() >= self._at


class Pause:
    """How long to wait before a call is tried again."""

    def __init__(self) -> None:
        self._next = 0.05

    def next(self, asked: float | None, deadline: Deadline) -> float:
        wait = max(self._next * random.uniform(0.5, 1.0), min(asked or 0.0, 5.0))
        self._next = min(self._next * 2, 2.0)
        left = deadline.left()
        return wait if left is None else min(wait, left)


@checked
class AsyncClient:
    """A connection to a server; safe for any number of calls at once.

    `server` is `http://HOST:PORT` or `https://HOST:PORT`; without it the environment variable `SANDSHELL_SERVER` counts, and
    without that a private server is started, which ends with this process and takes its sandboxes along. `key` and `ca` (a
    file of certificates) are for servers that want them (`SANDSHELL_KEY`, `SANDSHELL_CA`); a private server gets no key.

    A server that was never reached is given up after `connect_timeout`, with an `Unavailable` that says what is wrong. Once it
    was reached, calls that may be made again wait for it for a minute.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        key: str | None = None,
        ca: str | None = None,
        connect_timeout: Seconds = CONNECT_TIMEOUT,
    ) -> None:
        self._server = server or os.environ.get("SANDSHELL_SERVER") or None
        if key and not self._server:
            told = "key is for a server that is named: name it with server= or SANDSHELL_SERVER, or leave the key out"
            raise InvalidArgument(told, reason="INVALID_ARGUMENT", violations=[("key", "is given without a server")])
        self._key = (key or os.environ.get("SANDSHELL_KEY") or None) if self._server else None
        self._connect_timeout = _arguments.seconds("connect_timeout", connect_timeout)
        self._is_reached = False
        self._ca = ca or os.environ.get("SANDSHELL_CA") or None
        self._lock = threading.Lock()
        self._channel: Any = None
        self._made: tuple[int, Any] | None = None
        self._stubs: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.address}>"

    @property
    def address(self) -> str:
        """The server's address; in words when it is a private one."""
        return self._server or "a private server"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection. Sandboxes of a server that was named stay."""
        with self._lock:
            channel, self._channel, self._stubs = self._channel, None, {}
        if channel is not None and self._made is not None and self._made[0] == os.getpid():
            await channel.close()

    async def _connected(self) -> Any:
        here = (os.getpid(), _io.where())
        if self._channel is not None and self._made == here:
            return self._channel
        if self._channel is not None and self._made is not None and self._made[0] != here[0]:
            raise SandshellError(
                "this client was used before the process was forked; make another one in the child", reason="FORKED"
            )
        server = self._server or await _io.in_thread(_server.private)
        parts = _parts(server)
        credentials = None
        if parts.scheme == "https":
            roots = None
            if self._ca:
                with open(self._ca, "rb") as file:
                    roots = file.read()
            credentials = grpc.ssl_channel_credentials(roots)
        with self._lock:
            if self._channel is None or self._made != here:
                self._channel, self._stubs = _io.open_channel(parts.netloc, credentials, _OPTIONS), {}
                self._made = here
            return self._channel

    async def _stub(self, kind: Any) -> Any:
        channel = await self._connected()
        stub = self._stubs.get(kind)
        if stub is None:
            stub = self._stubs[kind] = kind(channel)
        return stub

    def _patience(self) -> float:
        """How long to wait for a server that cannot be reached."""
        return PATIENCE if self._is_reached else self._connect_timeout

    def _failed(self, error: Any) -> SandshellError:
        """The exception for a failed call."""
        failure = from_rpc(error)
        if failure.request_id:
            # A server has given it.
            self._is_reached = True
        return failure

    async def _explained(self, failure: SandshellError) -> SandshellError:
        """Says what is wrong with a server that was never reached."""
        if self._is_reached or self._server is None or not isinstance(failure, Unavailable):
            return failure
        parts = _parts(self._server)
        why = await _io.in_thread(_unreached.why, parts.scheme, parts.netloc, self._ca) or failure.message
        told = f"the server {self._server} was not reached within {self._connect_timeout:g} s: {why}"
        return Unavailable(told, reason=failure.reason)

    def _metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self._key}")] if self._key else []

    async def _again(self, attempt: Any, *, gone_is_done: bool = False, once: bool = False) -> Any:
        """What comes of a call that may be made again: it changes nothing, or it has a request id.

        The call itself may take for ever. A server that is away is waited for: for a minute, or as long as `connect_timeout`
        says if it was never reached. `gone_is_done` is for removals:
        what is not there any more was removed by an earlier try.
        """
        patience, pause = Deadline(self._patience()), Pause()
        tried = False
        while True:
            begun = time.monotonic()
            try:
                answer = await attempt()
                self._is_reached = True
                return answer
            except grpc.RpcError as error:
                failure = self._failed(error)
            if isinstance(failure, NotFound) and tried and gone_is_done:
                return None
            if time.monotonic() - begun > UNDER_WAY and self._is_reached:
                # The server had it, and is away only since now.
                patience, pause = Deadline(PATIENCE), Pause()
            if once or not is_passing(failure) or patience.is_over():
                raise await self._explained(failure) from None
            tried = True
            await _io.sleep(pause.next(failure.retry_after, patience))

    async def _call(self, kind: Any, method: str, request: Any, **how: bool) -> Any:
        """The answer to a request."""

        async def attempt() -> Any:
            stub = await self._stub(kind)
            return await getattr(stub, method)(request, metadata=self._metadata())

        return await self._again(attempt, **how)

    async def _collect(self, kind: Any, method: str, request: Any) -> list[Any]:
        """All answers to a request. When they break off, they are asked for again from the beginning."""

        async def attempt() -> list[Any]:
            return [answer async for answer in await self._open(kind, method, request)]

        found: list[Any] = await self._again(attempt)
        return found

    async def _send(self, kind: Any, method: str, requests: Any, *, once: bool) -> Any:
        """The answer to a stream of requests, which `requests` makes from the beginning each time.

        What cannot be read here ends the call, so that the server never takes a part for the whole, and is raised.
        """
        broken: list[BaseException] = []

        async def watched() -> Any:
            try:
                async for request in requests():
                    yield request
            except (GeneratorExit, asyncio.CancelledError):
                raise
            except BaseException as error:
                broken.append(error)
                if isinstance(error, Exception):
                    raise
                # Anything else, such as an interrupt, would not end the call.
                raise RuntimeError("what is to be sent could not be read") from error

        async def attempt() -> Any:
            try:
                return await (await self._open(kind, method, watched()))
            except _io.CALL_ENDS:
                if broken:
                    raise broken[0] from None
                raise

        return await self._again(attempt, once=once)

    async def _open(self, kind: Any, method: str, request: Any, timeout: float | None = None) -> Any:
        """A stream of answers, or of both. Its failures are those of gRPC."""
        stub = await self._stub(kind)
        return getattr(stub, method)(request, metadata=self._metadata(), timeout=timeout)


def _parts(server: str) -> SplitResult:
    """The parts of a server's address."""
    parts = urlsplit(server if "://" in server else "http://" + server)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise SandshellError(f"{server!r} is no address of a server: write http://HOST:PORT", reason="INVALID_ADDRESS")
    return parts


def is_passing(failure: SandshellError) -> bool:
    """Whether the same may succeed a moment later."""
    if isinstance(failure, (DeadlineExceeded, Cancelled)):
        return False
    return isinstance(failure, Unavailable) or failure.reason in ("TOO_MANY_REQUESTS",)
