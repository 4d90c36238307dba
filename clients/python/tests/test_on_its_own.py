"""What the client does beside calls: private servers, processes that end or fork, many at once, and its own quality."""

from __future__ import annotations

import asyncio
import doctest
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import LIMIT

import sandshell
from sandshell import AsyncClient, AsyncSandbox, Client, Sandbox, SandshellError, _server

HERE = Path(__file__).resolve().parent.parent

BEGIN = """
import os, sys
from sandshell import Sandbox
sandbox = Sandbox.create()
print(sandbox.run("echo up").stdout.strip(), flush=True)
"""


def until(what: str, is_so: object) -> None:
    end = time.monotonic() + LIMIT
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize("end", ["pass", "raise ValueError", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_whatever_ends_a_process_its_private_server_ends_too(end: str, tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "SANDSHELL_SERVER"} 
    env |= {"TMPDIR": str(tmp_path), "PYTHONPATH": str(HERE / "src")}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + end], env=env, capture_output=True, timeout=LIMIT
    )
    assert done.stdout == b"up\n", done.stderr
    until("its data directory is gone", lambda: not list(tmp_path.iterdir()))
    held = subprocess.run(["pgrep", "-f", str(tmp_path)], stdout=subprocess.PIPE, text=True).stdout.split()
    assert held == []


def test_a_client_is_not_used_after_a_fork(server: str) -> None:
    client = Client(server)
    with Sandbox.create(client=client) as sandbox:
        child = os.fork()
        if child == 0:
            try:
                sandbox.run("true")
                os._exit(1)
            except SandshellError as error:
                os._exit(0 if error.reason == "FORKED" else 2)
            finally:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sandbox.run("echo still").stdout == "still\n"
    client.close()


def test_many_sessions_at_once_mix_nothing(server: str) -> None:
    async def one(sandbox: AsyncSandbox, number: int) -> int:
        session = await sandbox.session("/bin/dash")
        await session.exec(f"n={number}")
        right = 0
        for round_ in range(19):
            right += (await session.exec(f"echo $n {round_}")).stdout == f"{number} {round_}\n"
        return right

    async def all_of_them() -> list[int]:
        async with AsyncClient(server) as client:
            sandboxes = await asyncio.gather(*(AsyncSandbox.create(client=client) for _ in range(5)))
            try:
                return await asyncio.gather(*(one(sandboxes[number % 5], number) for number in range(200)))
            finally:
                await asyncio.gather(*(sandbox.delete() for sandbox in sandboxes))

    assert asyncio.run(asyncio.wait_for(all_of_them(), LIMIT)) == [19] * 200


def test_a_sync_client_is_safe_across_threads(server: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Client(server) as client, Sandbox.create(client=client) as sandbox:
        sessions = [sandbox.session() for _ in range(4)]

        def work(number: int) -> str:
            return sessions[number % 4].exec(f"echo {number}").stdout

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(60))) == [f"{number}\n" for number in range(60)]


def test_its_examples_are_true(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDSHELL_SERVER", server)
    tried = doctest.testmod(sandshell)
    assert tried.attempted >= 2 and tried.failed == 0
    for guide, examples in (("README.md", 20), ("../../docs/python.md", 40)):
        tried = doctest.testfile(str(HERE / guide), module_relative=False)
        assert tried.attempted >= examples and tried.failed == 0, guide


def test_the_reference_is_what_the_docstrings_say() -> None:
    import make_reference

    assert make_reference.TARGET.read_text() == make_reference.text(), "run clients/python/make_reference.py"


def test_the_five_lines_of_the_main_readme(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SANDSHELL_SERVER", server)
    text = (HERE.parent.parent / "README.md").read_text()
    program = re.search(r"```python\n(from sandshell import Sandbox.*?)```", text, re.S)
    assert program is not None
    exec(program.group(1), {})
    assert capsys.readouterr().out == "hello from /usr\n\n"


def test_the_program_of_the_guide_to_volumes(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SANDSHELL_SERVER", server)
    text = (HERE.parent.parent / "docs/volumes.md").read_text()
    program = re.search(r"```python\n(.*?)```", text, re.S)
    assert program is not None
    exec(program.group(1), {})
    assert capsys.readouterr().out == "42\n\n"


def test_the_program_of_the_guide_to_samples(catalogue: str) -> None:
    text = (HERE.parent.parent / "docs/python.md").read_text()
    program = re.search(r"## Samples\n.*?```python\n(.*?)```", text, re.S)
    assert program is not None
    # A process of its own: in this one the first sandbox has said which server is meant.
    env = {**os.environ, "PYTHONPATH": str(HERE / "src"), "SANDSHELL_SERVER": catalogue}
    ran = subprocess.run([sys.executable, "-c", program.group(1)], env=env, capture_output=True, text=True)
    assert (ran.stdout, ran.returncode) == ("False\n", 0), ran.stderr


def test_no_server_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDSHELL_PROGRAM", "/nosuch/sandshell")
    monkeypatch.delenv("SANDSHELL_SERVER", raising=False)
    # Another test may have started one already.
    monkeypatch.setattr(_server, "_own", None)
    with pytest.raises(SandshellError, match="/nosuch/sandshell"):
        Sandbox.create(client=Client())


def test_the_types_are_right() -> None:
    mypy = [sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases"]
    env = {**os.environ, "MYPYPATH": "src:examples"}
    for what, exclude in (("src/sandshell", "/v1/"), ("examples", "/project/")):
        checked = subprocess.run([*mypy, what, "--exclude", exclude], cwd=HERE, env=env, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_style_is_right() -> None:
    checked = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=HERE, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


