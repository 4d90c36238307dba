"""Runs the Python programs of guides in docs/, one after another, as if they were one. stub_guides.py HOST:PORT GUIDE…"""

import importlib
import pathlib
import re
import sys
import tempfile

from client import make_stubs

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main(address, *guides):
    with tempfile.TemporaryDirectory() as out:
        make_stubs(out)
        program = ""
        for guide in guides:
            blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / guide).read_text(), re.M | re.S)
            assert blocks, f"{guide} has no programs"
            program += "".join(blocks)
        exec(compile(program.replace("localhost:50051", address), " ".join(guides), "exec"), {})
    print("all fine")


main(*sys.argv[1:])
