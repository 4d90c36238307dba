"""Runs the tests of both twins: the asynchronous as it is written, the synchronous as it is made of it."""

import linecache
from pathlib import Path

from make_sync import synchronous

text = (Path(__file__).parent / "twins/client_async.py").read_text()
for name, source in (("asynchronous", text), ("synchronous", synchronous(text))):
    space: dict[str, object] = {"__name__": f"client_{name}"}
    # So that a failure shows its line.
    linecache.cache[f"client_{name}.py"] = (len(source), None, source.splitlines(keepends=True), f"client_{name}.py")
    exec(compile(source, f"client_{name}.py", "exec"), space)
    for test, body in space.items():
        if test.startswith("test_"):
            globals()[f"{test}__{name}"] = body
