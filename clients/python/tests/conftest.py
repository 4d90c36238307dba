"""What the tests share: servers, and a network that breaks."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Generous: it only ends a hang.
LIMIT = 120

# An authority (`ca`) that has signed `server` and `elsewhere`, and another one (`other`): each as PEM, with keys.
CERTIFICATES = Path(os.environ["SANDSHELL_TEST_CERTIFICATES"])

DATASETS = Path(__file__).resolve().parent.parent.parent.parent / "examples/datasets"


def scenario(body: Any) -> Any:
    """A test, which may be asynchronous."""
    if not inspect.iscoroutinefunction(body):
        return body

    @functools.wraps(body)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(body(*arguments, **named), LIMIT))

    return run


@pytest.fixture(scope="session")
def server() -> str:
    """The server that most tests share."""
    return os.environ["SANDSHELL_TEST_SERVER"]


class Server:
    """A server for one test, which may ill-treat it."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory, self.options = directory, options
        self.port = 0
        self.start()

    def start(self) -> None:
        arguments = ["serve", "--listen", f"127.0.0.1:{self.port}", "--data-dir", str(self.directory), *self.options]
        self.process = subprocess.Popen(
            [os.environ["SANDSHELL_PROGRAM"], *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said.append(line.decode())
            found = re.search(r"listening on \S+:(\d+)", said[-1])
            if found:
                self.port = int(found.group(1))
                threading.Thread(target=list, args=(self.process.stdout,), daemon=True).start()
                return
        raise AssertionError("".join(said))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(LIMIT)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has the samples of `examples/datasets`."""
    server = Server(tmp_path_factory.mktemp("catalogue") / "data", "--catalog", str(DATASETS), "--ephemeral")
    yield server.address
    server.stop()


def _with_certificate(name: str, directory: Path) -> Iterator[int]:
    certificate, key = (str(CERTIFICATES / f"{name}.{kind}") for kind in ("pem", "key"))
    server = Server(directory / "data", "--ephemeral", "--tls-cert", certificate, "--tls-key", key)
    yield server.port
    server.stop()


@pytest.fixture
def with_tls(tmp_path: Path) -> Iterator[int]:
    """The port of a server with a certificate for localhost and 127.0.0.1."""
    yield from _with_certificate("server", tmp_path)


@pytest.fixture
def with_another_name(tmp_path: Path) -> Iterator[int]:
    """The port of a server with a certificate for another name."""
    yield from _with_certificate("elsewhere", tmp_path)


@pytest.fixture
def only_tls() -> Iterator[int]:
    """The port of somebody who speaks TLS and does not say so to those who do not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.pem", CERTIFICATES / "server.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def agree() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                near.settimeout(LIMIT)
                context.wrap_socket(near, server_side=True).close()
            except OSError:
                near.close()

    threading.Thread(target=agree, daemon=True).start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def mute() -> Iterator[int]:
    """The port of somebody who says something else to everybody."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            with near:
                near.sendall(b"220 mail\r\n")

    threading.Thread(target=answer, daemon=True).start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


class Proxy:
    """A way to a server that breaks again and again: each connection, after so many bytes have come back by it, or gone by it
    (`gone`)."""

    def __init__(self, server: str, after: int, times: int, gone: int = 1 << 60) -> None:
        host, port = server.rsplit("/", 1)[-1].split(":")
        self.target, self.after, self.gone, self.left = (host, int(port)), after, gone, times
        self.cuts = 0
        self.sides: list[socket.socket] = []
        self.come(0)
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def come(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def go(self) -> None:
        """Is away, with all connections."""
        # Closing it alone would leave the thread waiting that is in accept.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for side in self.sides:
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def come_back(self) -> None:
        self.come(int(self.address.rsplit(":", 1)[1]))

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            self.sides += [near, far]
            threading.Thread(target=self._there, args=(near, far), daemon=True).start()
            threading.Thread(target=self._back, args=(far, near), daemon=True).start()

    def _there(self, near: socket.socket, far: socket.socket) -> None:
        if self._passes(near, far, lambda: self.gone, loses=True):
            self._end(near, far)

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        self._passes(far, near, lambda: self.after, loses=False)
        self._end(near, far)

    def _passes(self, one: socket.socket, other: socket.socket, most: Callable[[], int], loses: bool) -> bool:
        """Passes on what comes until it ends, or until the connection is to break: if it `loses`, before what comes then."""
        passed = 0
        try:
            while data := one.recv(1 << 16):
                passed += len(data)
                breaks = passed > most() and self.left > 0
                if not (breaks and loses):
                    other.sendall(data)
                if breaks:
                    self.left -= 1
                    self.cuts += 1
                    return True
        except OSError:
            pass
        return False

    def _end(self, near: socket.socket, far: socket.socket) -> None:
        for side in (near, far):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            side.close()


@pytest.fixture
def breaking(server: str) -> Iterator[Proxy]:
    proxy = Proxy(server, after=3 << 20, times=5)
    yield proxy
    proxy.listener.close()
