"""Makes the stubs of the proto files, the synchronous twin of what is written once as asynchronous, and wheels with the program.

`SANDSHELL_BUNDLE=PATH pip wheel --no-deps clients/python` packs the static program at PATH, for whoever installs the wheel to
have it on the PATH. Without the variable the wheel is Python alone.
"""

import os
import pathlib
import shutil
import struct
import sys

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.dist import Distribution

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = os.environ.get("SANDSHELL_BUNDLE", "")

# e_machine of an ELF file, and what wheels call that. The program is static, so any C library will do.
MACHINES = {62: "x86_64", 183: "aarch64"}


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


class PackProgram(Distribution().get_command_class("build_scripts")):
    """Takes the program as it is: it is no script with a first line."""

    def copy_scripts(self):
        self.mkpath(self.build_dir)
        target = pathlib.Path(self.build_dir) / "sandshell"
        shutil.copyfile(PROGRAM, target)
        target.chmod(0o755)
        return [str(target)], [str(target)]


class PlatformWheel(bdist_wheel):
    """A wheel for any Python, but for the processor of the program."""

    def get_tag(self):
        with open(PROGRAM, "rb") as file:
            head = file.read(20)
        machine = MACHINES.get(struct.unpack_from("<H", head, 18)[0]) if head[:5] == b"\x7fELF\x02" else None
        if machine is None:
            raise SystemExit(f"{PROGRAM} is no program for one of {', '.join(MACHINES.values())}")
        return "py3", "none", f"manylinux_2_17_{machine}.musllinux_1_1_{machine}"


if PROGRAM and not os.path.isfile(PROGRAM):
    raise SystemExit(
        f"SANDSHELL_BUNDLE is {PROGRAM!r}, and there is no such file. pip builds in a directory of its own, so write an absolute"
        ' path: SANDSHELL_BUNDLE="$PWD/target/…/release/sandshell"'
    )

# Before setuptools looks which packages there are.
generate()
if sys.argv[1:] != ["generate"]:
    if PROGRAM:
        setup(scripts=["sandshell"], cmdclass={"build_scripts": PackProgram, "bdist_wheel": PlatformWheel})
    else:
        setup()
