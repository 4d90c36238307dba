"""A server that was never reached is given up soon, with what is wrong. This file is run as it is, and as its
synchronous twin."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from conftest import CERTIFICATES, LIMIT, Server, scenario

from sandshell import AsyncClient, AsyncSandbox, FailedPrecondition, Unavailable


async def _why(server: str, ca: str | None = None, patience: float = 0.5) -> str:
    begun = time.monotonic()
    async with AsyncClient(server, ca=ca, connect_timeout=patience) as client:
        with pytest.raises(Unavailable) as failed:
            await AsyncSandbox.create(client=client)
    # Much less than the minute of a server that is away.
    assert time.monotonic() - begun < 40
    told = str(failed.value)
    assert f"the server {server} was not reached within {patience:g} s" in told, told
    return told


@scenario
async def test_it_is_said_what_is_wrong_with_an_address(mute: int) -> None:
    with socket.socket() as taken:
        # Nobody else gets the port, and nobody listens there.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        told = await _why(f"http://127.0.0.1:{port}")
        assert f"nobody listens at port {port} of 127.0.0.1" in told
        assert "sandshell serve" in told and "SANDSHELL_SERVER" in told
        assert "nobody listens" in await _why(f"https://127.0.0.1:{port}")
    assert "nosuch.invalid" in (told := await _why("http://nosuch.invalid:7777")) and "name" in told
    assert "does not answer as a Sandshell server" in await _why(f"http://127.0.0.1:{mute}")


@scenario
async def test_a_scheme_that_is_not_spoken_is_said(server: str, with_tls: int, only_tls: int) -> None:
    port = server.rsplit(":", 1)[1]
    assert "write http:// instead of https://" in await _why(f"https://127.0.0.1:{port}")
    assert "write https:// instead of http://" in await _why(f"http://127.0.0.1:{only_tls}")
    # A server of ours says it itself, and so at once.
    async with AsyncClient(f"http://127.0.0.1:{with_tls}") as client:
        with pytest.raises(FailedPrecondition) as failed:
            await AsyncSandbox.create(client=client)
    assert failed.value.reason == "TLS_REQUIRED"
    assert "write https:// instead of http://" in str(failed.value)


@scenario
async def test_a_certificate_that_is_not_trusted_is_said(with_tls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANDSHELL_CA", raising=False)
    for ca in (None, str(CERTIFICATES / "other.pem")):
        told = await _why(f"https://localhost:{with_tls}", ca)
        assert "authority" in told and "SANDSHELL_CA" in told and "certificate" in told
    (tmp_path / "none.pem").write_text("no certificate")
    assert "none.pem' of the authority's certificate cannot be used" in await _why(
        f"https://localhost:{with_tls}", str(tmp_path / "none.pem")
    )
    async with AsyncClient(f"https://localhost:{with_tls}", ca=str(CERTIFICATES / "ca.pem")) as client:
        assert [info async for info in AsyncSandbox.list(client=client)] == []


@scenario
async def test_a_certificate_of_another_name_is_said(with_another_name: int) -> None:
    for name in ("localhost", "127.0.0.1"):
        told = await _why(f"https://{name}:{with_another_name}", str(CERTIFICATES / "ca.pem"))
        assert f"another name than {name!r}" in told


@scenario
async def test_a_server_that_was_reached_is_waited_for(own_server: Server) -> None:
    async with AsyncClient(own_server.address, connect_timeout=0.1) as client:
        sandbox = await AsyncSandbox.create(client=client)
        own_server.kill()
        back = threading.Timer(3, own_server.start)
        back.start()
        # Longer than for one that was never there.
        assert (await sandbox.run("echo back", timeout=LIMIT)).stdout == "back\n"
        back.join()
        await sandbox.delete()
