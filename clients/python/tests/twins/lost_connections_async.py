"""What the client does when its connection breaks, and when its server is gone for a while. This file is run as it is, and as its
synchronous twin."""

from __future__ import annotations

import hashlib
import random
import threading

import pytest
from conftest import Proxy, Server, scenario

from sandshell import AsyncClient, AsyncSandbox, SandshellError


@scenario
async def test_a_connection_that_breaks_costs_no_byte(breaking: Proxy) -> None:
    client = AsyncClient(breaking.address)
    async with await AsyncSandbox.create(client=client) as sandbox:
        session = await sandbox.session("/bin/bash")
        wanted = await session.exec("seq 1 12500000 | sha256sum; seq 1 12500000 | wc -c")
        command = await session.start("seq 1 12500000", max_log_bytes=128 << 20)
        came, length = hashlib.sha256(), 0
        async for piece in command:
            came.update(piece.data)
            length += len(piece.data)
        assert length > 100_000_000 and wanted.stdout.split() == [came.hexdigest(), "-", str(length)]
        assert breaking.cuts >= 3 and command.result is not None and command.result.exit_code == 0
        # Each of them once.
        for number in range(5):
            breaking.after, breaking.left = 0, 1
            assert (await session.exec(f"echo {number} >>/tmp/log")).exit_code == 0
        assert (await session.exec("cat /tmp/log")).stdout == "0\n1\n2\n3\n4\n"
        breaking.left = 0
    await client.close()


@scenario
async def test_a_server_that_is_killed_is_waited_for(own_server: Server) -> None:
    client = AsyncClient(own_server.address)
    async with await AsyncSandbox.create(client=client) as sandbox:
        session = await sandbox.session("/bin/bash")
        command = await session.start("echo up; until [ -e /tmp/go ]; do sleep 0.1; done; echo over")
        assert await command.read_until("up\n", 30) == "up\n"
        own_server.kill()
        again = threading.Timer(0.5, own_server.start)
        again.start()
        assert (await sandbox.run("touch /tmp/go")).exit_code == 0
        result = await command.wait(60)
        assert (result.stdout, result.exit_code) == ("over\n", 0)
        again.join()
        assert (await session.exec("echo still")).stdout == "still\n"
    await client.close()


@scenario
async def test_patience_begins_when_the_server_is_away(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A way to the server goes and comes back at once, where a server would take long on a busy machine.
    way = Proxy(server, after=0, times=0)
    client = AsyncClient(way.address)
    async with await AsyncSandbox.create(client=client) as sandbox:
        session = await sandbox.session("/bin/bash")
        shell = (await session.exec("echo $$")).stdout
        # The call is longer than the patience.
        monkeypatch.setattr(f"{type(client).__module__}.PATIENCE", 5.0)
        monkeypatch.setattr(f"{type(client).__module__}.UNDER_WAY", 0.5)
        steps = [threading.Timer(6, way.go), threading.Timer(6.2, way.come_back)]
        for step in steps:
            step.start()
        assert (await session.exec("sleep 7; echo $$")).stdout == shell
        for step in steps:
            step.join()
    await client.close()
    way.go()


@scenario
async def test_input_goes_on_after_its_connection_was_lost(server: str) -> None:
    way = Proxy(server, after=1 << 60, times=6, gone=2 << 20)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    client = AsyncClient(way.address)
    async with await AsyncSandbox.create(client=client) as sandbox:
        session = await sandbox.session("/bin/bash")
        # Read slowly at first, so that much of it is on its way.
        reader = "head -c 100000 >/tmp/got; sleep 0.3; cat >>/tmp/got; sha256sum </tmp/got; echo over"
        command = await session.start(reader, stdin=True)
        sent, left = hashlib.sha256(), 24 << 20
        while left > 0:
            data = dice.randbytes(min(left, dice.randrange(1, 400_000)))
            sent.update(data)
            left -= len(data)
            await command.send(data)
        await command.close_stdin()
        result = await command.wait(100)
        assert (result.stdout.split(), result.exit_code) == ([sent.hexdigest(), "-", "over"], 0)
        assert way.cuts == 6
    await client.close()
    way.listener.close()


@scenario
async def test_a_conversation_goes_on_after_its_connection_was_lost(server: str) -> None:
    way = Proxy(server, after=1 << 60, times=8, gone=3000)
    client = AsyncClient(way.address)
    async with await AsyncSandbox.create(client=client) as sandbox:
        session = await sandbox.session("/bin/bash")
        for terminal in (False, True):
            how = {"pty": (24, 80)} if terminal else {"stdin": True}
            command = await session.start("while read -r line; do echo \"<$line>\"; done", **how)
            for number in range(200):
                await command.send_line(f"line {number}")
                if number % 20 == 0:
                    await command.read_until(f"<line {number}>", 60)
            await command.close_stdin()
            text = (await command.wait(100)).terminal if terminal else (await command.wait()).stdout
            answered = [line for line in text.replace("\r", "").splitlines() if line.startswith("<")]
            assert answered == [f"<line {number}>" for number in range(181, 200)]
            way.left = 8
        assert way.cuts >= 4
    await client.close()
    way.listener.close()


@scenario
async def test_input_that_is_not_kept_any_more_is_a_clear_error(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    way = Proxy(server, after=1 << 60, times=1, gone=1 << 19)
    client = AsyncClient(way.address)
    async with await AsyncSandbox.create(client=client) as sandbox:
        session = await sandbox.session("/bin/bash")
        command = await session.start("sleep 1000", stdin=True)
        monkeypatch.setattr(f"{type(command._sending).__module__}._KEPT", 0)
        with pytest.raises(SandshellError, match="has taken [0-9]+ bytes") as failed:
            for _ in range(16):
                await command.send(bytes(256 << 10))
            await command.wait(60)
        if failed.value.reason != "INPUT_LOST":
            raise failed.value
    await client.close()
    way.listener.close()
