"""What is given wrongly is told by the name of the parameter. This file is run as it is, and as its synchronous twin."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import scenario

from sandshell import (
    AsyncClient,
    AsyncSamples,
    AsyncSandbox,
    FailedPrecondition,
    InvalidArgument,
)


@scenario
async def test_one_text_is_one_pattern(server: str, catalogue: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.py", "b.tmp", "t"):
        (tmp_path / "in" / name).write_text("word\n")
    async with await AsyncSandbox.from_local(tmp_path / "in", ignore="*.tmp", server=server) as sandbox:
        files: Any = sandbox.files
        assert sorted([file.path async for file in files.list("/workspace")]) == ["/workspace/a.py", "/workspace/t"]
        assert [file.path async for file in files.find("/workspace", "*.py")] == ["/workspace/a.py"]
        assert [match.path async for match in files.search("/workspace", "word", globs="*.py")] == ["/workspace/a.py"]
        await files.download(".", tmp_path / "out", ignore="*.py")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["t"]
        await files.upload(tmp_path / "in", "/tmp/up", ignore="t")
        assert sorted([file.path async for file in files.list("/tmp/up")]) == ["/tmp/up/a.py", "/tmp/up/b.tmp"]
        for wrong, named in (([b"*.py"], r"ignore\[0\]"), (7, "ignore"), (b"x", "ignore"), ({"a": "b"}, "ignore")):
            with pytest.raises(TypeError, match=named):
                await files.download(".", tmp_path / "none", ignore=wrong)
            with pytest.raises(TypeError, match=named):
                await files.upload(tmp_path / "in", "/tmp/none", ignore=wrong)
        with pytest.raises(ValueError, match=r"ignore: '\[' has a \[ that nothing closes"):
            await files.upload(tmp_path / "in", "/tmp/none", ignore="[")
        with pytest.raises(ValueError, match="types: 'dir' is none of file, directory, symlink, other"):
            [file async for file in files.find(".", types="dir")]
        with pytest.raises(IsADirectoryError, match=str(tmp_path)):
            await files.download_file("a.py", tmp_path)
        with pytest.raises(TypeError, match=r"globs\[1\] must be a text, not int"):
            [file async for file in files.find(".", ["*.py", 3])]
    samples = AsyncSamples(catalogue)
    tag = [sample async for sample in samples.list()][0].tags[0]
    assert [sample async for sample in samples.list(tags=tag)] == [sample async for sample in samples.list(tags=[tag])] != []


@scenario
async def test_what_is_neither_text_nor_bytes_is_refused(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        box: Any = sandbox
        session: Any = await box.session()
        for wrong in (5, True, None, 1.5, [65]):
            with pytest.raises(TypeError, match="data must be text or bytes"):
                await box.files.write("n", wrong)
            if wrong is None:  # As an option that was not given.
                assert (await box.run("cat", stdin=wrong)).stdout == (await session.exec("cat", stdin=wrong)).stdout == ""
                continue
            with pytest.raises(TypeError, match=r"stdin must be text or bytes.*start"):
                await session.exec("cat", stdin=wrong)
            with pytest.raises(TypeError, match=r"stdin must be text or bytes.*start"):
                await box.run("cat", stdin=wrong)
        assert not await box.files.exists("n")
        for whole in (b"\0x", bytearray(b"\0x"), memoryview(b"\0x")):
            await box.files.write("n", whole)
            assert await box.files.read("n") == b"\0x" == (await box.run(["cat"], stdin=whole)).stdout_bytes
        with pytest.raises(TypeError, match="stdin must be True or False.*send"):
            await session.start("cat", stdin="text")
        with pytest.raises(TypeError, match="pty must be"):
            await session.start("cat", pty=24)
        command = await session.start("cat", stdin=True)
        for wrong in (5, True, None):
            with pytest.raises(TypeError, match="data must be text or bytes"):
                await command.send(wrong)
            with pytest.raises(TypeError, match="line must be text or bytes"):
                await command.send_line(wrong)
        await command.send_line("ü")
        await command.close_stdin()
        assert (await command.wait(60)).stdout == "ü\n"


@scenario
async def test_a_command_is_a_text_or_a_list_of_texts(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        box: Any = sandbox
        session: Any = await box.session()
        for place in (box.run, session.exec, session.start, box.start):
            for wrong, named in ((["echo", 1], r"command\[1\]"), (None, "command"), (7, "command"), (b"echo", "command")):
                with pytest.raises(TypeError, match=named):
                    await place(wrong)
            with pytest.raises(InvalidArgument, match="command") as empty:
                await place([])
            assert empty.value.violations[0][0] == "command"
            with pytest.raises(ValueError, match="timeout must be a finite"):
                await place("true", timeout=float("nan"))
            with pytest.raises(TypeError, match="timeout must be a number of seconds"):
                await place("true", timeout="5")
            with pytest.raises(TypeError, match="env must be a dict"):
                await place("true", env=["A=1"])
            with pytest.raises(InvalidArgument, match=r"start\.timeout.*in Python: timeout"):
                await place("true", timeout=-1)
            with pytest.raises(ValueError, match="'queue', 'refuse'"):
                await place("true", if_busy="wait")
        assert (await box.run(("echo", "a  b"), timeout=datetime.timedelta(minutes=1))).stdout == "a  b\n"


@scenario
async def test_limits_are_numbers_or_sizes_with_a_unit(server: str) -> None:
    create: Any = AsyncSandbox.create
    async with await create(server=server, memory="512M", ttl=datetime.timedelta(hours=1), idle_timeout=0) as sandbox:
        assert (await sandbox.info()).expires is not None
        assert (await sandbox.extend(0)).expires is None
    for wrong, kind, named in (
        ({"memory": "much"}, ValueError, "memory must be a number of bytes"),
        ({"disk": True}, TypeError, "disk must be a number of bytes"),
        ({"memory": "-1"}, ValueError, "memory"),
        ({"cpus": "two"}, TypeError, "cpus must be a number"),
        ({"ttl": float("inf")}, ValueError, "ttl must be a finite"),
        ({"idle_timeout": 1e300}, ValueError, "idle_timeout must be at most"),
        ({"labels": ["a"]}, TypeError, "labels must be a dict"),
        ({"labels": "a"}, TypeError, "labels must be a dict"),
        ({"env": "A=1"}, TypeError, "env must be a dict"),
        ({"volumes": 7}, TypeError, "volumes must be a text"),
        ({"volumes": {"/data": 7}}, TypeError, "volumes\\['/data'\\] must be a volume"),
        ({"memory": 1}, InvalidArgument, "resources.memory_bytes.*in Python: memory"),
    ):
        with pytest.raises(kind, match=named):
            await create(server=server, **wrong)
    with pytest.raises(TypeError, match="labels must be a dict"):
        AsyncSandbox.list("a", server=server)  # type: ignore[arg-type]


@scenario
async def test_whatever_progress_raises_is_raised(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (3 << 20))
    async with await AsyncSandbox.create(server=server) as sandbox:
        for kind in (ValueError, SystemExit, KeyboardInterrupt):

            def stop(_: object, kind: type[BaseException] = kind) -> None:
                raise kind("enough")

            with pytest.raises(kind, match="enough"):
                await sandbox.files.upload(tmp_path, "/tmp/up", progress=stop)
        assert (await sandbox.files.upload(tmp_path, "/tmp/up")).files == 1


@scenario
async def test_a_parameter_of_another_type_is_named(server: str) -> None:
    get: Any = AsyncSandbox.get
    with pytest.raises(TypeError, match="^sandbox_id must be a text, not int$"):
        await get(5, server=server)
    async with await AsyncSandbox.create(server=server) as sandbox:
        box: Any = sandbox
        now = datetime.datetime.now(datetime.timezone.utc)
        for call, options, named in (
            (box.session, {"cwd": 5}, "cwd must be a text, not int"),
            (box.run, {"command": "ls", "user": 5}, "user must be a text, not int"),
            (box.code.run, {"code": None}, "code must be a text, not None"),
            (box.files.move, {"path": "a", "new_path": 5}, "new_path must be a text, not int"),
            (box.files.read, {"path": "a", "offset": "1"}, "offset must be a whole number, not str"),
            (box.files.write, {"path": "a", "data": b"", "mode": 7.5}, "mode must be a whole number, not float"),
            (box.files.set_attributes, {"path": "a", "modified": "now"}, "modified must be a datetime, not str"),
        ):
            with pytest.raises(TypeError, match=f"^{named}$"):
                await call(**options)
        await box.files.write("a", b"", mode=0o600)
        await box.files.set_attributes("a", modified=now)
        with pytest.raises(ValueError, match="modified must have a time zone"):
            await box.files.set_attributes("a", modified=now.replace(tzinfo=None))


@scenario
async def test_a_command_that_has_ended_takes_no_input(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        session = await sandbox.session()
        command = await session.start("true", stdin=True)
        assert (await command.wait(60)).ok
        with pytest.raises(FailedPrecondition, match="has ended") as failed:
            await command.send("more")
        assert failed.value.reason == "COMMAND_EXITED"
        with pytest.raises(FailedPrecondition, match="has ended") as failed:
            await command.close_stdin()
        assert failed.value.reason == "COMMAND_EXITED"


@scenario
async def test_input_without_a_way_to_the_command_is_refused(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        session = await sandbox.session()
        command = await session.start("sleep 1000")
        for refused in (command.send, command.send_line):
            with pytest.raises(FailedPrecondition, match="stdin=True"):
                await refused("lost")
        with pytest.raises(FailedPrecondition, match="stdin=True"):
            await command.close_stdin()
        with pytest.raises(FailedPrecondition, match="pty=True"):
            await command.resize(30, 90)
        for wrong, kind in (("NOSUCH", ValueError), (0, ValueError), (None, TypeError), (True, TypeError)):
            with pytest.raises(kind):
                await command.signal(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="pattern must be"):
            await command.read_until(b"x")  # type: ignore[arg-type]
        await command.signal("INT")
        result = await command.wait(60)
        assert (result.reason, result.signal) == ("SIGNALED", 2)
        # It has ended: that is what was wanted.
        await command.cancel()
        command = await session.start("cat", stdin=True)
        await command.send("x")
        await command.close_stdin()
        await command.close_stdin()
        with pytest.raises(FailedPrecondition, match="has ended"):
            await command.send("y")
        assert (await command.wait(60)).stdout == "x"


@scenario
async def test_a_key_is_for_a_server_that_is_named(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDSHELL_KEY", "a-key-of-some-other-server")
    monkeypatch.delenv("SANDSHELL_SERVER", raising=False)
    async with AsyncClient() as client:
        async with await AsyncSandbox.create(client=client) as sandbox:
            assert (await sandbox.run("echo private")).stdout == "private\n"
    for wrong in (lambda: AsyncClient(key="k"), lambda: AsyncSandbox.list(key="k")):
        with pytest.raises(InvalidArgument, match="SANDSHELL_SERVER") as told:
            wrong()
        assert told.value.violations[0][0] == "key"
    monkeypatch.setenv("SANDSHELL_SERVER", server)
    assert re.search("127.0.0.1", AsyncClient(key="k").address)
