"""The client does what it says. This file is run as it is, and as its synchronous twin."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import DATASETS, LIMIT, scenario

from sandshell import (
    AsyncImages,
    AsyncSamples,
    AsyncSandbox,
    AsyncVerification,
    Cancelled,
    CommandFailed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Progress,
    ResourceExhausted,
    SandshellError,
    VerificationStatus,
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
        assert (await files.set_attributes("/workspace/a/v.txt", mode=0o600, owner="1")).mode & 0o777 == 0o600
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


@scenario
async def test_samples_are_found(catalogue: str) -> None:
    samples = AsyncSamples(catalogue)
    (dataset,) = [dataset async for dataset in samples.datasets()]
    found = [sample async for sample in samples.list(dataset.name)]
    assert dataset.sample_count == len(found) > 3 and sum(dataset.languages.values()) == len(found)
    one = [sample async for sample in samples.list(language="python", text=found[0].title)] or found
    sample = await samples.get(one[0].sample_id)
    assert (sample.sample_id, sample.title, sample.dataset) == (one[0].sample_id, one[0].title, dataset.name)
    assert sample.description and not one[0].description and sample.verification_timeout > 0 and sample.fingerprint
    with pytest.raises(NotFound) as missing:
        await samples.get("none", dataset.name)
    assert missing.value.reason == "SAMPLE_NOT_FOUND"
    assert [sample async for sample in samples.list(tags=["no-such-tag"])] == []


@scenario
async def test_a_sandbox_is_made_from_a_sample(catalogue: str) -> None:
    async with await AsyncSandbox.create(sample="first-steps/python-intervals", server=catalogue) as sandbox:
        assert (await sandbox.info()).sample == "first-steps/python-intervals"
        session = await sandbox.default_session()
        assert (await session.exec("pwd; git log --oneline | wc -l")).stdout == "/workspace\n1\n"
    with pytest.raises(NotFound) as missing:
        await AsyncSandbox.create(sample="none", server=catalogue)
    assert missing.value.reason == "SAMPLE_NOT_FOUND"
    async with await AsyncSandbox.create(server=catalogue) as plain:
        with pytest.raises(NotFound):
            await plain.default_session()


@scenario
async def test_what_was_done_in_a_sample_is_verified(catalogue: str) -> None:
    sample = await AsyncSamples(catalogue).get("python-intervals")
    patch = (DATASETS / "first-steps/python-intervals/reference.patch").read_text()
    async with await AsyncSandbox.create(sample="first-steps/python-intervals", server=catalogue) as sandbox:
        assert (await sandbox.info()).sample == "first-steps/python-intervals"
        session = await sandbox.default_session()
        assert (await session.exec("pwd")).stdout == "/workspace\n"
        before = await sandbox.verify(timeout=LIMIT)
        assert before.state == "completed" and before.result is not None
        assert not before.result.is_success and before.result.reason == "TESTS_FAILED" and before.result.failed > 0
        await session.exec("patch -p1", stdin=patch, check=True)
        verification = await sandbox.start_verification()
        events = [event async for event in verification.watch()]
        after = events[-1]
        assert isinstance(after, VerificationStatus) and after.result is not None and after.result.is_success
        assert after.result.passed == after.result.total == len(after.result.tests) > 3
        assert {test.outcome for test in after.result.tests} == {"passed"} and after.result.changes
        again = await AsyncVerification.get(verification.verification_id, server=catalogue)
        assert (await again.status()).result == (await again.cancel()).result == after.result
    by_patch = await (await AsyncVerification.of_patch(sample.sample_id, patch, server=catalogue)).wait(LIMIT)
    assert by_patch.result is not None and by_patch.result.is_success and by_patch.sandbox_id == ""
    cancelled = await AsyncVerification.of_patch("python-intervals", server=catalogue)
    with pytest.raises(TimeoutError):
        await cancelled.wait(0.001)
    assert (await cancelled.cancel()).state in ("pending", "starting", "running", "cancelled", "completed")
    assert (await cancelled.wait(LIMIT)).is_over
    async with await AsyncSandbox.create(server=catalogue) as plain:
        with pytest.raises(FailedPrecondition) as none:
            await plain.verify()
        assert none.value.reason == "NO_SAMPLE"
        with pytest.raises(NotFound):
            await plain.default_session()


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
