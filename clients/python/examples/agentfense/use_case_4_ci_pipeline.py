"""Use case 4: a pipeline of several stages in one session."""

import tempfile

import local_packages

from sandshell import Sandbox


def ci_pipeline(sandbox: Sandbox) -> tuple[bool, str]:
    """Runs the whole pipeline in one session."""
    with sandbox.session() as session:
        # Stage 1: set-up
        session.exec("cd /workspace")
        session.exec("export CI=true")
        session.exec("[ -d venv ] || python3 -m venv venv; source venv/bin/activate")

        # Stage 2: install
        result = session.exec("pip install --no-index --find-links /packages checks -r requirements.txt")
        if result.exit_code != 0:
            return False, "Install failed"

        # Stage 3: lint
        result = session.exec("python -m compileall -q src tests")
        if result.exit_code != 0:
            return False, "Linting failed"

        # Stage 4: test
        result = session.exec("checks tests && checks src")
        if result.exit_code != 0:
            return False, "Tests failed"

        # Stage 5: build
        result = session.exec("mkdir -p dist && python -m zipapp src -m sums:add -o dist/sums.pyz")
        if result.exit_code != 0:
            return False, "Build failed"

        return True, "Pipeline succeeded"


with tempfile.TemporaryDirectory() as packages, Sandbox.from_local("./project") as sandbox:
    local_packages.write(packages)
    sandbox.files.upload(packages, "/packages")
    success, message = ci_pipeline(sandbox)
    assert (success, message) == (True, "Pipeline succeeded")

    # A change that breaks the tests is found by the stage that is for it.
    sandbox.files.replace("src/sums.py", "a + b", "a - b")
    success, message = ci_pipeline(sandbox)
    assert (success, message) == (False, "Tests failed")
