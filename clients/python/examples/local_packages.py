"""Packages to install where there is no package index: a sandbox has no network unless it is given one."""

from __future__ import annotations

import pathlib
import zipfile

SOURCES = {
    "greet": ("def greet(name):\n    return f'hello, {name}'\n", ""),
    # What runs the tests of a directory, as pytest does.
    "checks": (
        "import sys, unittest\n\n\ndef main():\n"
        "    suite = unittest.defaultTestLoader.discover(sys.argv[1] if len(sys.argv) > 1 else '.')\n"
        "    sys.exit(not unittest.TextTestRunner(sys.stdout).run(suite).wasSuccessful())\n",
        "[console_scripts]\nchecks = checks:main\n",
    ),
}


def write(directory: str | pathlib.Path) -> None:
    """Makes a wheel of each of them."""
    for name, (module, entry_points) in SOURCES.items():
        information = f"{name}-1.0.dist-info"
        files = {
            f"{name}.py": module,
            f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        if entry_points:
            files[f"{information}/entry_points.txt"] = entry_points
        files[f"{information}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{information}/RECORD"])
        with zipfile.ZipFile(pathlib.Path(directory) / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            for file, text in files.items():
                wheel.writestr(file, text)
