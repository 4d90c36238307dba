"""Runs the Python of docs/files.md: guide.py HOST:PORT PROJECT"""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
server, project = sys.argv[1:]

stubs = tempfile.mkdtemp()
protos = sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto/sandshell/v1").glob("*.proto"))
command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={stubs}", f"--grpc_python_out={stubs}", *protos]
subprocess.run(command, check=True)
sys.path.insert(0, stubs)
import os

os.chdir(tempfile.mkdtemp())
[code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/files.md").read_text(), re.S)
exec(code)
assert said.endswith(b"\nGoodbye\n"), said
assert edited.replacements == 1 and "-" in edited.diff, edited
assert [(match.path, match.line) for match in matches] == [("/workspace/project/" + name, 2) for name in ("hello", "hello.c")], matches
assert pathlib.Path("changed/hello.c").read_text().count("Goodbye") == 1
assert pathlib.Path("changed/hello").exists()
print("all fine")
