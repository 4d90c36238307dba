"""Runs the tests of both twins: the asynchronous as it is written, the synchronous as it is made of it."""

import linecache
from pathlib import Path

from make_sync import synchronous

for file in sorted((Path(__file__).parent / "twins").glob("*_async.py")):
    text, about = file.read_text(), file.name.removesuffix("_async.py")
    for name, source in (("asynchronous", text), ("synchronous", synchronous(text))):
        module = f"{about}_{name}"
        space: dict[str, object] = {"__name__": module}
        # So that a failure shows its line.
        linecache.cache[f"{module}.py"] = (len(source), None, source.splitlines(keepends=True), f"{module}.py")
        exec(compile(source, f"{module}.py", "exec"), space)
        for test, body in space.items():
            if test.startswith("test_"):
                globals()[f"{test}__{name}"] = body
