"""Use case 1: a Python virtual environment, activated with `source` in the default shell."""

import tempfile

import local_packages

from sandshell import Sandbox

with tempfile.TemporaryDirectory() as packages, Sandbox.from_local("./project") as sandbox:
    local_packages.write(packages)
    sandbox.files.upload(packages, "/packages")

    with sandbox.session() as session:
        # Create a virtual environment.
        session.exec("python3 -m venv venv", check=True)

        # Activate it.
        session.exec("source venv/bin/activate", check=True)

        # Install dependencies. There is no package index without a network, so they come from a directory.
        session.exec("pip install --no-index --find-links /packages checks greet", check=True)

        # Run tests, with the program that was installed.
        assert session.exec("command -v checks").stdout == "/workspace/venv/bin/checks\n"
        result = session.exec("checks tests/")
        assert result.exit_code == 0, result.stdout
