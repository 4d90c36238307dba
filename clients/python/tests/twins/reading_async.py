"""What a command prints is given once, however it is read, and what it holds ends with its reader. This file is run as it is, and
as its synchronous twin."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from conftest import LIMIT, scenario

from sandshell import AsyncSandbox, AsyncSession, FailedPrecondition, NotFound

PRINTS = "printf 'a1\\nb2\\nc3\\n'; echo err >&2; sleep 0.3; echo d"


@scenario
async def test_iterating_goes_on_where_reading_ended(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        session = await sandbox.session()
        command = await session.start(PRINTS)
        assert await command.read_until("a1\n", LIMIT) == "a1\n"
        rest = [piece async for piece in command]
        assert "".join(piece.text for piece in rest if piece.stream == "stdout") == "b2\nc3\nd\n"
        assert b"".join(piece.data for piece in rest if piece.stream == "stderr") == b"err\n"
        assert ((await command.wait()).stdout, (await command.wait()).stderr) == ("", "")
        # A time-out takes nothing away either, and neither does a text that never comes.
        command = await session.start(PRINTS + "; read -r line; echo got $line", stdin=True)
        await command.read_until("d\n", LIMIT)
        await command.send_line("x")
        with pytest.raises(EOFError, match=r"before 'never\.' came.*got x"):
            await command.read_until("never.", LIMIT)
        assert (await command.read_until("got ", LIMIT), (await command.wait(LIMIT)).stdout) == ("got ", "x\n")
        assert (await command.wait()).stdout == "x\n"
        command = await session.start(PRINTS + "; sleep 1000")
        await command.read_until("c3\n", LIMIT)
        with pytest.raises(TimeoutError, match=f"{command.command_id} has not ended within 0.5 s"):
            await command.wait(0.5)
        told = ""
        while not told.endswith("'d\\n' did"):
            with pytest.raises(TimeoutError, match=r"'a\.b' did not come in 0.1 s") as late:
                await command.read_until("a.b", 0.1)
            told = str(late.value)
        await command.cancel()
        rest = [piece async for piece in command]
        assert sorted((piece.stream, piece.text) for piece in rest) == [("stderr", "err\n"), ("stdout", "d\n")]


@scenario
async def test_bytes_that_are_no_text_are_kept_by_reading(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        command = await sandbox.start("printf 'a\\377b:\\303'; sleep 0.2; printf '\\244\\376\\n'")
        assert await command.read_until(":", LIMIT) == "a\ufffdb:"
        assert (await command.wait(LIMIT)).stdout_bytes == "ä".encode() + b"\xfe\n"


@scenario
async def test_the_input_ends_with_the_block(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        session = await sandbox.session()
        for number in range(20):
            async with await session.start(f"cat >/tmp/said; echo ended {number} >>/tmp/said", stdin=True) as command:
                await command.send(f"{number}\n")
            # The session has its turn for the next one, which it would never have if the input stayed open.
            assert (await session.exec("cat /tmp/said", timeout=LIMIT)).stdout == f"{number}\nended {number}\n"
        with pytest.raises(ZeroDivisionError):
            async with await session.start("cat >/tmp/said; echo ended >>/tmp/said", stdin=True):
                raise ZeroDivisionError
        assert (await session.exec("cat /tmp/said")).stdout == "ended\n"
        async with await session.start("cat; echo over >/tmp/terminal", pty=True) as command:
            await command.send("word\n")
            await command.read_until("word", LIMIT)
        assert (await session.exec("cat /tmp/terminal")).stdout == "over\n"
        # What prints more than anybody reads gets to its end all the same, and what does not end holds nobody up for long.
        async with await session.start("cat; seq 1 3000000; echo over >/tmp/much", stdin=True):
            pass
        assert (await session.exec("cat /tmp/much")).stdout == "over\n"
        begun = time.monotonic()
        async with await session.start("sleep 1000", stdin=True) as command:
            pass
        assert time.monotonic() - begun < LIMIT / 2
        await command.cancel()
        # Twice is once.
        await command.close()


@scenario
async def test_what_is_closed_already_is_closed(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        async with await sandbox.session() as session:
            await session.close()
        await session.close()
        with pytest.raises(NotFound) as gone:
            await session.exec("true")
        assert gone.value.reason == "SESSION_NOT_FOUND"
        session = await sandbox.session(close_on_exit=True)
        await session.exec("exit")
        with pytest.raises(FailedPrecondition) as ended:
            await session.exec("true")
        assert ended.value.reason == "SESSION_CLOSED"
        await session.close()
        session = await sandbox.session()
    await session.close()


@scenario
async def test_a_busy_session_can_refuse(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        session = await sandbox.session()
        running = await session.start("echo up; sleep 1000")
        await running.read_until("up\n", LIMIT)
        for refused in (session.exec, session.start):
            with pytest.raises(FailedPrecondition) as busy:
                await refused("true", if_busy="refuse")
            assert busy.value.reason == "SESSION_BUSY" and busy.value.metadata["command_id"] == running.command_id
        queued = await session.start("echo turn", timeout=LIMIT, if_busy="queue")
        info = await session.info()
        assert (info.state, info.running_command_id, info.queued_commands) == ("busy", running.command_id, 1)
        await running.cancel()
        assert (await queued.wait(LIMIT)).stdout == "turn\n"


@scenario
async def test_sessions_and_processes_are_described(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        session = await sandbox.session("/bin/sh", cwd="/usr")
        # Until it is that program, it is a copy of the shell.
        await session.exec("sleep 1000 & until grep -q '^sleep' /proc/$!/cmdline; do sleep 0.01; done", timeout=LIMIT)
        info = await session.info()
        assert (info.session_id, info.sandbox_id, info.shell) == (session.session_id, sandbox.sandbox_id, session.shell)
        assert (info.cwd, info.state, info.generation, info.close_on_exit) == ("/usr", "idle", 1, False)
        (process,) = [process for process in await session.processes() if process.command == "sleep 1000"]
        assert process.pid > 0 and process.state in ("running", "sleeping")
        assert process.exit_code is None and not process.foreground
        assert abs((process.started - info.created).total_seconds()) < LIMIT
        command = await session.start("true")
        names = [repr(thing) for thing in (sandbox, session, command, sandbox.files, AsyncSandbox.list(server=server))]
        assert all(name.startswith("<") and name.endswith(f" on {server}>") for name in names), names
        for name, known in zip(names, (sandbox.sandbox_id, session.session_id, command.command_id), strict=False):
            assert known in name
        await command.wait(LIMIT)
        assert "exit code 0" in repr(command)
    assert "deleted" in repr(sandbox)


async def _made(session: AsyncSession) -> None:
    made = "import os, socket; os.mkfifo('pipe'); socket.socket(socket.AF_UNIX).bind('deep/sock'); os.mkfifo('no.tmp')"
    await session.exec("mkdir -p deep/.git .git/hooks; echo x >file; echo x >deep/file", check=True)
    await session.exec(["python3", "-c", made], check=True)
    await session.exec("echo hook >.git/hooks/post-checkout; echo c >.git/config; mkfifo .git/pipe", check=True)
    await session.exec("mkdir sub; echo 'gitdir: ../.git' >sub/.git; ln .git/config linked", check=True)


@scenario
async def test_a_download_names_what_it_leaves_out(server: str, tmp_path: Path) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        await _made(await sandbox.session())
        done = await sandbox.files.download(".", tmp_path / "out", ignore="*.tmp")
        found = {os.path.relpath(at / name, tmp_path / "out") for at, _, names in _walk(tmp_path / "out") for name in names}
        told = dict(done.left_out)
        assert found | set(told) >= {"file", "deep/file", "linked"} and len(told) == len(done.left_out)
        assert set(told) - {"linked"} == {".git", "deep/.git", "sub/.git", "pipe", "deep/sock"}
        assert "git=True" in told[".git"] and "hooks" in told[".git"] and "FIFO" in told["pipe"]
        assert not [name for name in found if ".git" in name]
        done = await sandbox.files.download("/workspace", tmp_path / "all", git=True)
        assert {name for name, _ in done.left_out} == {"pipe", "deep/sock", "no.tmp", ".git/pipe"}
        assert (tmp_path / "all/.git/hooks/post-checkout").read_text() == "hook\n" and (tmp_path / "all/sub/.git").is_file()
        await sandbox.run("sleep 0.05; touch mark; mkfifo later")
        since = (await sandbox.files.stat("/workspace/mark")).modified
        done = await sandbox.files.download(".", tmp_path / "new", changed_since=since)
        assert [name for name, _ in done.left_out] == ["later"] and (tmp_path / "new/mark").exists()


def _walk(top: Path) -> list[tuple[Path, list[str], list[str]]]:
    return [(Path(at), below, names) for at, below, names in os.walk(top)]
