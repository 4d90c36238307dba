"""A wheel brings the program along: where there is neither Rust nor a server, five lines are enough."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import LIMIT

ROOT = Path(__file__).resolve().parent.parent.parent.parent

FIVE_LINES = """
from sandshell import Sandbox
with Sandbox.create() as sandbox:
    session = sandbox.session()
    session.exec("cd /usr; greeting=hello")
    print(session.exec('echo "$greeting from $PWD"').stdout, end="")
"""

# Ends without a word to its sandbox.
ENDS = """
import os
from sandshell import Sandbox
print(Sandbox.create().run("echo up").stdout, end="", flush=True)
"""


def run(*command: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=LIMIT, **more)  # type: ignore[call-overload]


def done(*command: str | Path, **more: object) -> str:
    it = run(*command, **more)
    assert it.returncode == 0, f"{command}\n{it.stdout}{it.stderr}"
    return str(it.stdout)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of the program that is there, in a copy of the sources: other tests use these at the same time."""
    at = tmp_path_factory.mktemp("wheel")
    leave_out = shutil.ignore_patterns("v1", "__pycache__", "build", "*.egg-info", "examples", "tests")
    shutil.copytree(ROOT / "clients/python", at / "clients/python", ignore=leave_out)
    shutil.copytree(ROOT / "proto", at / "proto")
    # Symbols for debuggers are most of what a program for tests has.
    done("strip", "-o", at / "program", os.environ["SANDSHELL_PROGRAM"])
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    done(*pip, "--wheel-dir", at, at / "clients/python", env={**os.environ, "SANDSHELL_BUNDLE": str(at / "program")})
    (found,) = at.glob("*.whl")
    return found


def test_a_program_that_is_not_there_is_said() -> None:
    env = {**os.environ, "SANDSHELL_BUNDLE": "target/nowhere/sandshell"}
    it = run(sys.executable, "setup.py", "--version", cwd=ROOT / "clients/python", env=env)
    assert it.returncode != 0 and "'target/nowhere/sandshell'" in it.stderr and "$PWD" in it.stderr, it.stderr


def test_a_wheel_is_all_that_a_fresh_machine_needs(wheel: Path, tmp_path: Path) -> None:
    assert wheel.name.startswith("sandshell-") and "-py3-none-manylinux" in wheel.name
    venv, scratch = tmp_path / "venv", tmp_path / "scratch"
    scratch.mkdir()
    # No Rust, no server, no program of ours, and no package that is not a file here.
    env = {"PATH": f"{venv}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(scratch)}
    assert shutil.which("cargo", path=env["PATH"]) is None and shutil.which("sandshell", path=env["PATH"]) is None
    done(sys.executable, "-m", "venv", "--without-pip", venv, env=env)
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin/python", "--disable-pip-version-check", "--quiet"]
    local = ["install", "--no-index", "--find-links", Path(sys.prefix) / "wheels"]
    done(*pip, *local, "grpcio", "googleapis-common-protos", "pathspec", env=env)
    before = files(venv)
    done(*pip, *local, wheel, env=env)

    python = venv / "bin/python"
    assert done(python, "-c", FIVE_LINES, env=env) == "hello from /usr\n"
    assert done("sandshell", "run", "echo on the PATH", env=env) == "on the PATH\n"
    for end in ("raise ValueError", "os._exit(3)", "os.kill(os.getpid(), 9)"):
        ended = run(python, "-c", ENDS + end, env=env)
        assert ended.stdout == "up\n" and ended.returncode != 0, ended.stderr
    left = until_nothing_is_left(scratch, venv)
    assert left == [], left

    done(*pip, "uninstall", "--yes", "sandshell", env=env)
    assert files(venv) == before
    assert shutil.which("sandshell", path=env["PATH"]) is None


def files(directory: Path) -> set[str]:
    """All of them, but for what Python has compiled of other packages meanwhile."""
    found = (path.relative_to(directory) for path in directory.rglob("*"))
    return {str(path) for path in found if "__pycache__" not in path.parts or "sandshell" in path.parts}


def until_nothing_is_left(*places: Path) -> list[str]:
    """What is left of data directories and processes, once there is nothing, or after a long time."""
    end = time.monotonic() + LIMIT
    while True:
        running = [line for line in done("ps", "-eo", "pid,args").splitlines() if any(f"{place}/" in line for place in places)]
        left = [*running, *map(str, places[0].iterdir())]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)
