"""The client does what it says: sessions, commands, sandboxes, code. This file is run as it is, and as its synchronous twin."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import LIMIT, scenario

from sandshell import (
    AsyncImages,
    AsyncSandbox,
    Cancelled,
    CommandFailed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    SandshellError,
)


async def _first(items: Any, count: int) -> Any:
    """The first of what comes; the rest is not waited for."""
    async for item in items:
        yield item
        count -= 1
        if count == 0:
            return


@scenario
async def test_a_session_remembers(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        async with await sandbox.session("/bin/bash", env={"GIVEN": "yes"}) as session:
            await session.exec("cd /usr; export A=1; f() { echo f$1; }; alias g='echo alias'; sleep 1000 &")
            # Until it is that program, it is a copy of the shell.
            await session.exec("until grep -q '^sleep' /proc/$!/cmdline; do sleep 0.01; done", timeout=LIMIT)
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
        # Options that are None are as if they were not given.
        plain = await sandbox.run("pwd; id -un", env=None, cwd=None, user=None, stdin=None, timeout=None, shell=None)
        assert plain.stdout == "/workspace\nroot\n"
        # A directory may be relative, as the paths of files are.
        await sandbox.files.write("sub/file", "there")
        assert (await sandbox.run(["cat", "file"], cwd="sub")).stdout == "there"
        # More input than one message may have, read by a command, by one that stops reading, and by one that never reads.
        large = b"0123456789abcdef" * (50 << 16)
        counted = await sandbox.run("wc -c; echo over >&2", stdin=large)
        assert (counted.stdout, counted.stderr, counted.ok) == (f"{len(large)}\n", "over\n", True)
        assert (await sandbox.run(["cat"], stdin=large)).stdout_bytes == large
        assert (await sandbox.run("head -c 3", stdin=large)).stdout == "012"
        assert (await sandbox.run("sleep 0.1; exit 3", stdin=large)).exit_code == 3
        with pytest.raises(CommandFailed):
            await sandbox.run("exit 3", stdin=large, check=True)
        # More than one answer may have.
        result = await sandbox.run("seq 1 700000")
        assert result.stdout == "".join(f"{n}\n" for n in range(1, 700_001)) and not result.stdout_truncated


@scenario
async def test_a_sandbox_begins_where_it_is_told(server: str) -> None:
    async with await AsyncSandbox.create(server=server, working_directory="/made/here") as sandbox:
        assert (await sandbox.run("pwd")).stdout == "/made/here\n"
        await sandbox.files.write("file", "kept")
        assert (await sandbox.info()).cwd == "/made/here" and (await sandbox.run("cat file")).stdout == "kept"
    with pytest.raises(InvalidArgument, match="working_directory"):
        await AsyncSandbox.create(server=server, working_directory="relative")


@scenario
async def test_a_sandbox_is_made_when_it_is_entered(server: str) -> None:
    async with AsyncSandbox(server=server, labels={"made": "late"}) as sandbox:
        assert (await sandbox.run("echo up")).stdout == "up\n"
        assert (await sandbox.labels()) == {"made": "late"}
        await sandbox.files.write("file", "kept")
        assert [file.path async for file in sandbox.files.list(".")] == ["/workspace/file"]
    with pytest.raises(NotFound):
        await AsyncSandbox.get(sandbox.sandbox_id, server=server)
    with pytest.raises(SandshellError, match="Sandbox.create"):
        await AsyncSandbox(server=server).run("true")
    images = [image async for image in AsyncImages(server).list()]
    assert [(image.name, image.kind, image.is_default) for image in images] == [("host", "HOST", True)]


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
async def test_sandboxes_are_found_by_their_labels(server: str) -> None:
    mark = f"m{id(object())}"
    made = [await AsyncSandbox.create(labels={"test": mark, "n": str(n)}, server=server) for n in range(3)]
    listing = AsyncSandbox.list({"test": mark}, page_size=2, server=server)
    assert sorted([info.labels["n"] async for info in listing]) == ["0", "1", "2"]
    assert [len(page.sandboxes) async for page in listing.pages()] == [2, 1] and await listing.total() == 3
    first, second, third = [await listing.page(number) for number in (1, 2, 3)]
    assert (first.total, second.total, second.next_token) == (3, 3, None) and first.next_token is not None
    rest = await AsyncSandbox.list({"test": mark}, page_token=first.next_token, server=server).page()
    ids = [[info.sandbox_id for info in page.sandboxes] for page in (second, rest)]
    assert ids[0] == ids[1] and (third.sandboxes, third.total) == ((), 3)
    nobody = AsyncSandbox.list({"test": mark, "n": "9"}, server=server)
    assert ([info async for info in nobody], await nobody.total()) == ([], 0)
    with pytest.raises(InvalidArgument):
        await listing.page(0)
    sandbox = await AsyncSandbox.get(made[0].sandbox_id, server=server)
    info = await sandbox.set_labels({"test": mark, "other": "x"})
    assert info.labels == await sandbox.labels() == {"test": mark, "other": "x"}
    before = (await sandbox.info()).expires
    after = (await sandbox.extend(30 * 3600)).expires
    assert after is not None and (before is None or after > before)
    states = [info.state async for info in _first(sandbox.watch(), 1)]
    assert states == ["running"]
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
    bad = {"": "empty-key", "project": "", "team": None, 7: "number"}
    with pytest.raises(InvalidArgument) as wrong:
        await AsyncSandbox.create(labels=bad, server=server)  # type: ignore[arg-type]
    assert [field for field, _ in wrong.value.violations] == ["labels['']", "labels['project']", "labels['team']", "labels[7]"]
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
