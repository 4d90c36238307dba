"""Files go in and out, one by one and as a project. This file is run as it is, and as its synchronous twin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import scenario

from sandshell import AsyncSandbox, NotFound, Progress, ResourceExhausted, SandshellError


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
        assert [file.path async for file in files.find("/workspace", types=["directory"], max_depth=1)] == ["/workspace/a"]
        await files.write("/tmp/many/text", "x\n" * 2500)
        matches = [match async for match in files.search("/tmp/many", "^x$", context_lines=1)]
        assert (len(matches), matches[1].before, matches[1].after) == (2500, ("x",), ("x",))
        assert len([match async for match in files.search("/tmp/many", "^x$", max_matches=3)]) == 3
        found = [(match.path, match.line, match.text) async for match in files.search("/workspace", "^o.e")]
        assert sorted(found) == [("/workspace/a/u.txt", 1, "one"), ("/workspace/a/v.txt", 1, "one")]
        assert (await files.set_attributes("/workspace/a/v.txt", mode=0o600, owner="1")).mode & 0o777 == 0o600
        await files.make_directory("/workspace/d/e")
        assert (await files.stat("/workspace/d")).type == "directory" and not await files.exists("/workspace/d/f")
        assert not await files.exists("/workspace/a/u.txt/below")
        await files.remove("/workspace/a", recursive=True)
        await files.remove("/workspace/a", recursive=True, missing_ok=True)
        with pytest.raises(NotFound):
            await files.read("/workspace/a/b.bin")


def _project(at: Path) -> Path:
    for name, text in {
        "app.py": "print('app')\n",
        ".gitignore": "*.log\n/build/\n!keep.log\n",
        "a.log": "log",
        "keep.log": "kept",
        "build/out": "built",
        "src/build/in": "not at the top",
        "src/.gitignore": "secret\n!a.log\n",
        "src/secret": "s",
        "src/a.log": "wanted here",
        "data/big": "x" * 3_000_000,
        "data/skip.tmp": "left out by who asks",
    }.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(text)
    (at / "app.py").chmod(0o755)
    (at / "link").symlink_to("src/secret")
    (at / "empty").mkdir()
    (at / "twin").hardlink_to(at / "app.py")
    os.mkfifo(at / "fifo")
    return at


@scenario
async def test_a_project_goes_in_and_its_changes_come_out(server: str, tmp_path: Path) -> None:
    project, told = _project(tmp_path / "project"), list[Progress]()
    sandbox = await AsyncSandbox.from_local(project, ignore=["*.tmp"], progress=told.append, server=server)
    async with sandbox:
        files = {file.path.removeprefix("/workspace/") async for file in sandbox.files.list("/workspace", recursive=True)}
        assert files == {
            *(".gitignore", "app.py", "twin", "keep.log", "link", "empty", "data", "data/big"),
            *("src", "src/.gitignore", "src/a.log", "src/build", "src/build/in"),
        }
        assert (await sandbox.files.stat("app.py")).mode == 0o755
        assert (await sandbox.files.stat("link", follow=False)).link_target == "src/secret"
        assert (await sandbox.run("stat -c %h twin; stat -c %a empty")).stdout == "2\n755\n"
        uploaded = sandbox.uploaded
        assert uploaded is not None and (uploaded.files, uploaded.symlinks) == (8, 1)
        assert len(told) > 3 and told == sorted(told, key=lambda at: (at.files, at.bytes))
        assert (told[-1].files, told[-1].bytes) == (8, told[-1].total_bytes - (project / "app.py").stat().st_size)
        # Out again: all of it, and what has changed.
        out = tmp_path / "out"
        await sandbox.files.download("/workspace", out)
        assert {str(path.relative_to(out)) for path in out.rglob("*")} == files
        assert (out / "data/big").read_bytes() == (project / "data/big").read_bytes()
        assert (out / "app.py").stat().st_mode & 0o777 == 0o755
        assert (out / "app.py").stat().st_mtime_ns // 10_000 == (project / "app.py").stat().st_mtime_ns // 10_000
        await sandbox.run("echo new >src/new; echo log >src/x.log; ln -s /etc/passwd away; mkdir d; rm keep.log")
        changed = tmp_path / "changed"
        done = await sandbox.files.download(".", changed, gitignore=True, changed_since=uploaded.finished)
        # What was there in `src` may come too: it could have been renamed.
        names = {path.name for path in changed.rglob("*") if path.is_file()}
        assert "new" in names and not names & {"big", "app.py", "twin", "keep.log", "x.log"}, names
        assert [name for name, _ in done.left_out] == ["./away"] or [name for name, _ in done.left_out] == ["away"]
        changes = {change.path: change.kind async for change in sandbox.files.changes()}
        assert changes["/workspace/src/new"] == "added" and "/workspace/keep.log" not in changes
        with pytest.raises(ResourceExhausted):
            await sandbox.files.download(".", tmp_path / "much", max_bytes=1_000_000)
        # One file, and what cannot be read.
        await sandbox.files.upload_file(project / "data/big", "/tmp/deep/big")
        assert await sandbox.files.download_file("/tmp/deep/big", tmp_path / "big") == 3_000_000
        assert (tmp_path / "big").read_bytes() == (project / "data/big").read_bytes()
        with pytest.raises(NotFound):
            await sandbox.files.download_file("/tmp/none", tmp_path / "none")
        with pytest.raises(FileNotFoundError):
            await sandbox.files.upload(project / "none", "/tmp")
        assert not [path for path in tmp_path.rglob(".sandshell-*")]


@scenario
async def test_an_upload_that_cannot_go_on_is_no_upload(server: str, tmp_path: Path) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        (tmp_path / "a").mkdir()
        (tmp_path / "a/first").write_bytes(b"1" * 4_000_000)
        (tmp_path / "a/second").write_bytes(b"2" * 4_000_000)

        def cut(at: Progress) -> None:
            if at.bytes > 4_500_000:
                os.truncate(tmp_path / "a/second", 5)

        with pytest.raises(OSError, match="second became shorter"):
            await sandbox.files.upload(tmp_path / "a", "/tmp/a", progress=cut)
        # A file that cannot be read to its end leaves the old one as it was.
        await sandbox.files.write("/tmp/file", "old")
        for _ in range(40):
            with pytest.raises(IsADirectoryError):
                await sandbox.files.upload_file(tmp_path / "a", "/tmp/file")
            assert await sandbox.files.read_text("/tmp/file") == "old"


@scenario
async def test_changes_of_a_directory_are_told(server: str) -> None:
    async with await AsyncSandbox.create(server=server) as sandbox:
        async with await sandbox.files.watch("/workspace", recursive=True) as changes:
            await sandbox.run("mkdir d")
            made = await anext(changes)
            assert (made.kind, made.path) == ("created", "/workspace/d")
            # What happens in it before that was told may be missed.
            await sandbox.run("echo x >d/f; mv d/f d/g; rm d/g; rmdir d")
            told = [(event.kind, event.path) async for event in _until(changes, "removed", "/workspace/d")]
        assert ("removed", "/workspace/d/g") in told
        with pytest.raises(NotFound):
            await sandbox.files.watch("/none")
        changes = await sandbox.files.watch("/workspace")
        await changes.close()
        assert [event async for event in changes] == []


async def _until(events: Any, kind: str, path: str) -> Any:
    async for event in events:
        yield event
        if (event.kind, event.path) == (kind, path):
            return
