"""The client does what it says. This file is run as it is, and as its synchronous twin."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
import threading
from typing import Any

import pytest
from conftest import LIMIT, Proxy, Server

from sandshell import (
    AsyncClient,
    AsyncSandbox,
    Cancelled,
    CommandFailed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    SandshellError,
)


def scenario(body: Any) -> Any:
    """A test, which may be asynchronous."""
    if not inspect.iscoroutinefunction(body):
        return body

    @functools.wraps(body)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(body(*arguments, **named), LIMIT))

    return run


@scenario
async def test_a_session_remembers(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        async with await sandbox.session("/bin/bash", env={"GIVEN": "yes"}) as session:
            await session.exec("cd /usr; export A=1; f() { echo f$1; }; alias g='echo alias'; sleep 1000 &")
            result = await session.exec("echo $A $GIVEN; f 2; g; pwd; echo e >&2; (exit 3)")
            assert (result.stdout, result.stderr) == ("1 yes\nf2\nalias\n/usr\n", "e\n")
            assert (result.exit_code, result.ok, result.reason, result.cwd) == (3, False, "EXITED", "/usr")
            assert [process.command for process in await session.processes()].count("sleep 1000") == 1
            result = await session.exec("sleep 1000", timeout=0.2)
            assert result.timed_out and not result.shell_exited and result.how == "ran into its time-out"
            result = await session.exec(["echo", "$A", "a b"], env={"A": "2"}, cwd="/tmp", check=True)
            assert result.stdout == "$A a b\n"
            assert (await session.exec("echo $A; pwd")).stdout == "1\n/usr\n"
            assert (await session.exec("cat", stdin="typed")).stdout == "typed"
            result = await session.exec("exit 4")
            assert result.shell_exited and (await session.exec("echo $A; f 3")).stdout == "1\nf3\n"
            session_id = session.session_id
            again = await sandbox.get_session(session_id)
            assert (await again.exec("echo $A")).stdout == "1\n"
            assert [one.session_id for one in await sandbox.sessions()] == [session_id]
        with pytest.raises(NotFound):
            await sandbox.get_session(session_id + "x")


@scenario
async def test_without_a_session_nothing_stays(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        await sandbox.run("export A=1")
        assert (await sandbox.run("echo ${A-unset}")).stdout == "unset\n"
        odd = ["", "a b", "$A", "*", "x\ny", "'\"", "-n", "ü"]
        assert (await sandbox.run(["printf", "%s|", *odd])).stdout == "".join(f"{word}|" for word in odd)
        assert (await sandbox.run(["cat"], stdin=bytes(range(256)))).stdout_bytes == bytes(range(256))
        with pytest.raises(CommandFailed) as failed:
            await sandbox.run("echo why >&2; exit 5", check=True)
        assert failed.value.result.exit_code == 5 and "exit code 5: why" in str(failed.value)
        # More than one answer may have.
        result = await sandbox.run("seq 1 700000")
        assert result.stdout == "".join(f"{n}\n" for n in range(1, 700_001)) and not result.stdout_truncated


@scenario
async def test_output_comes_while_it_runs_and_input_goes(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        session = await sandbox.session("/bin/bash")
        async with await session.start("echo first; read x; echo got $x; echo e >&2; cat", stdin=True) as command:
            assert await command.read_until("first\n", 30) == "first\n"
            await command.send_line("word")
            assert await command.read_until(re.compile("got (.*)\n"), 30) == "got word\n"
            with pytest.raises(TimeoutError, match="never"):
                await command.read_until("never", 0.1)
            await command.send("rest")
            await command.close_stdin()
            result = await command.wait(30)
            assert (result.stdout, result.stderr, result.exit_code) == ("rest", "e\n", 0)
            assert (await command.wait()).exit_code == 0
        pieces = [piece async for piece in await session.start("printf 'ä'; sleep 0.2; echo b; echo c >&2")]
        assert "".join(piece.text for piece in pieces if piece.stream == "stdout") == "äb\n"
        assert b"".join(piece.data for piece in pieces if piece.stream == "stderr") == b"c\n"
        command = await session.start("sleep 1000")
        with pytest.raises(TimeoutError):
            await command.wait(0.1)
        await command.signal(2)
        assert (await command.wait(30)).reason == "SIGNALED"
        command = await session.start("sleep 1000")
        await command.cancel()
        assert (await command.wait(30)).reason == "CANCELLED"
        command = await session.start("read -r x; stty size; read y", pty=(30, 90))
        await command.send("\r")
        await command.read_until("30 90", 30)
        await command.resize(31, 91)
        await command.send("\r")
        assert (await command.wait(30)).exit_code == 0
        with pytest.raises(SandshellError, match="input"):
            await command.send("late")
        # Whoever goes on reading what is watched no more is told so, again and again.
        command = await session.start("echo up; sleep 1000")
        assert await command.read_until("up\n", 30) == "up\n"
        await command.close()
        for _ in range(2):
            with pytest.raises(Cancelled):
                await command.wait(30)


@scenario
async def test_a_debugger_is_asked_again_and_again(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        await sandbox.files.write("/workspace/p.py", "def f(n):\n    m = n * 2\n    return m\n\n\nprint(f(21))\n")
        session = await sandbox.session()
        command = await session.start("python3 -m pdb p.py", stdin=True)
        await command.read_until("(Pdb) ", 30)
        for said, answer in [("b 3", "Breakpoint 1"), ("c", "return m"), ("p n, m", "(21, 42)"), ("c", "42")]:
            await command.send_line(said)
            assert answer in await command.read_until("(Pdb) ", 30)
        await command.send_line("q")
        assert (await command.wait(30)).reason == "EXITED"


@scenario
async def test_a_connection_that_breaks_costs_no_byte(breaking: Proxy) -> None:
    client = AsyncClient(breaking.address)
    async with await AsyncSandbox.create(client=client) as sandbox:
        session = await sandbox.session("/bin/bash")
        command = await session.start("seq 1 3000000", max_log_bytes=64 << 20)
        came = [piece.data async for piece in command]
        assert b"".join(came) == b"".join(b"%d\n" % n for n in range(1, 3_000_001))
        assert breaking.cuts >= 3 and command.result is not None and command.result.exit_code == 0
        # Each of them once.
        for number in range(5):
            breaking.after, breaking.left = 0, 1
            assert (await session.exec(f"echo {number} >>/tmp/log")).exit_code == 0
        assert (await session.exec("cat /tmp/log")).stdout == "0\n1\n2\n3\n4\n"
        breaking.left = 0
    await client.close()


@scenario
async def test_a_server_that_is_killed_is_waited_for(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
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
        # Patience begins when the server is away, and not with the call.
        monkeypatch.setattr(f"{type(client).__module__}.PATIENCE", 3.0)
        monkeypatch.setattr(f"{type(client).__module__}.UNDER_WAY", 0.5)
        death, again = threading.Timer(4, own_server.kill), threading.Timer(4.5, own_server.start)
        death.start()
        again.start()
        assert (await session.exec("sleep 5; echo $$")).stdout == (await session.exec("echo $$")).stdout
        again.join()
    await client.close()


@scenario
async def test_sandboxes_are_found_by_their_labels(server: str) -> None:
    mark = f"m{id(object())}"
    made = [await AsyncSandbox.create(labels={"test": mark, "n": str(n)}, server=server) for n in range(3)]
    listed = [info async for info in AsyncSandbox.list({"test": mark}, page_size=1, server=server)]
    assert sorted(info.labels["n"] for info in listed) == ["0", "1", "2"]
    assert await AsyncSandbox.count({"test": mark}, server=server) == 3
    assert [info async for info in AsyncSandbox.list({"test": mark, "n": "9"}, server=server)] == []
    sandbox = await AsyncSandbox.get(made[0].sandbox_id, server=server)
    info = await sandbox.set_labels({"test": mark, "other": "x"})
    assert info.labels == await sandbox.labels() == {"test": mark, "other": "x"}
    before = (await sandbox.info()).expires
    after = (await sandbox.extend(30 * 3600)).expires
    assert after is not None and (before is None or after > before)
    stats = await sandbox.stats()
    assert stats.sessions == 0 and (stats.memory_bytes is None or stats.memory_bytes > 0)
    for sandbox in made:
        await sandbox.delete()
        await sandbox.delete()
    with pytest.raises(NotFound) as missing:
        await AsyncSandbox.get(made[0].sandbox_id, server=server)
    assert missing.value.reason == "SANDBOX_NOT_FOUND" and missing.value.request_id in str(missing.value)


@scenario
async def test_mistakes_name_the_field(server: str) -> None:
    with pytest.raises(TypeError, match=r"labels\['a'\]"):
        await AsyncSandbox.create(labels={"a": 1}, server=server)  # type: ignore[dict-item]
    with pytest.raises(InvalidArgument) as wrong:
        await AsyncSandbox.create(labels={"": "x"}, ttl=-1, server=server)
    assert {field.split("[")[0] for field, _ in wrong.value.violations} == {"labels", "lifetime.ttl"}
    with pytest.raises(SandshellError, match="http://"):
        await AsyncSandbox.create(server="ftp://x")
    async with await AsyncSandbox.create(server=server) as sandbox:
        session = await sandbox.session()
        await session.close()
        with pytest.raises((FailedPrecondition, NotFound)):
            await session.exec("true")


@scenario
async def test_files_go_in_and_out(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        files, data = sandbox.files, bytes(range(256)) * 8000
        written = await files.write("/workspace/a/b.bin", data, mode=0o640)
        assert (written.size, written.mode & 0o777, written.type) == (len(data), 0o640, "file")
        assert await files.read("/workspace/a/b.bin") == data
        assert await files.read("/workspace/a/b.bin", offset=5, length=3) == data[5:8]
        with pytest.raises(SandshellError) as changed:
            await files.write("/workspace/a/b.bin", "x", if_etag="other")
        assert changed.value.reason == "ETAG_MISMATCH"
        await files.write("/workspace/a/t.txt", "one\ntwo\n")
        assert "-two" in await files.replace("/workspace/a/t.txt", "two", "2")
        assert await files.read_text("/workspace/a/t.txt") == "one\n2\n"
        await files.move("/workspace/a/t.txt", "/workspace/a/u.txt")
        await files.copy("/workspace/a/u.txt", "/workspace/a/v.txt")
        assert sorted([file.path async for file in files.list("/workspace/a")])[-1] == "/workspace/a/v.txt"
        assert [file.path async for file in files.find("/workspace", ["**/*.bin"])] == ["/workspace/a/b.bin"]
        found = [(match.path, match.line, match.text) async for match in files.search("/workspace", "^o.e")]
        assert sorted(found) == [("/workspace/a/u.txt", 1, "one"), ("/workspace/a/v.txt", 1, "one")]
        await files.make_directory("/workspace/d/e")
        assert (await files.stat("/workspace/d")).type == "directory" and not await files.exists("/workspace/d/f")
        await files.remove("/workspace/a", recursive=True)
        await files.remove("/workspace/a", recursive=True, missing_ok=True)
        with pytest.raises(NotFound):
            await files.read("/workspace/a/b.bin")


@scenario
async def test_code_keeps_its_variables(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        result = await sandbox.code.run("x = 20\nprint('out')\nx + 1", context="c")
        assert (result.value, result.stdout, result.error) == ("21", "out\n", None)
        assert (await sandbox.code.run("x * 2", context="c")).value == "40"
        failed = await sandbox.code.run("x")
        assert failed.error is not None and failed.error.name == "NameError" and "NameError" in failed.error.traceback
        slow = await sandbox.code.run("while True: pass", context="c", timeout=0.3)
        assert slow.timed_out and (await sandbox.code.run("x", context="c")).value == "20"
        assert await sandbox.code.contexts() == ["c"] and "python" in await sandbox.code.languages()
        await sandbox.code.delete_context("c")
        assert await sandbox.code.contexts() == []
