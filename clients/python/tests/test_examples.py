"""The programs in `examples` run to their end, against one server and side by side."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import LIMIT

HERE = Path(__file__).resolve().parent.parent
EXAMPLES = HERE / "examples"


def programs() -> list[str]:
    found = [path.relative_to(EXAMPLES) for path in EXAMPLES.glob("*/*.py")]
    return sorted(str(path) for path in found if path.parts[0] != "project")


def run(program: str, server: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SANDSHELL_SERVER": server, "PYTHONPATH": f"{HERE / 'src'}:{EXAMPLES}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, program], cwd=EXAMPLES, env=env, capture_output=True, text=True, timeout=3 * LIMIT)


def test_every_program_of_the_guides_runs_to_its_end(server: str, catalogue: str) -> None:
    def one(program: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        return program, run(program, catalogue if program.startswith("codeset/") else server)

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(one, programs()))
    failed = [f"{program} ended with {it.returncode}\n{it.stdout}{it.stderr}" for program, it in done if it.returncode != 0]
    assert not failed, "\n\n".join(failed)


def test_the_table_names_every_program() -> None:
    table = (EXAMPLES / "README.md").read_text()
    assert sorted(set(re.findall(r"\]\((\w+/\w+\.py)\)", table))) == programs()
