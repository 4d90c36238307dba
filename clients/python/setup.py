"""Makes the stubs of the proto files, and the synchronous twin of what is written once as asynchronous."""

import pathlib
import sys

from setuptools import setup

HERE = pathlib.Path(__file__).resolve().parent


def generate() -> None:
    """Writes what is generated beside the sources."""
    sys.path.insert(0, str(HERE))
    import grpc_tools
    from grpc_tools import protoc

    import make_sync

    proto = HERE.parent.parent / "proto"
    known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = sorted(str(file) for file in (proto / "sandshell/v1").glob("*.proto"))
    target = HERE / "src"
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    arguments = ["protoc", f"-I{proto}", f"-I{known}", *outputs]
    if protoc.main([*arguments, *files]) != 0:
        raise SystemExit("the proto files could not be compiled")
    (target / "sandshell/v1/__init__.py").write_text('"""Stubs generated from the proto files."""\n')
    make_sync.write()


# Before setuptools looks which packages there are.
generate()
if sys.argv[1:] != ["generate"]:
    setup()
