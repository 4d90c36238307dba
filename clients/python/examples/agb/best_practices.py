"""Best practices: clean up, handle errors, label consistently, watch what is used."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sandshell import Sandbox, SandshellError

# 1. Always clean up: a sandbox is a context manager.
with Sandbox.create("host") as sandbox:
    assert sandbox.code.run("print('Hello')", "python").stdout == "Hello\n"
    sandbox_id = sandbox.sandbox_id
assert sandbox_id not in [info.sandbox_id for info in Sandbox.list()]


# 2. Handle errors.
def safe_operation(operation: Callable[[Sandbox], str]) -> dict[str, object]:
    """Does something in a sandbox of its own, with all that can go wrong."""
    try:
        with Sandbox.create("host") as sandbox:
            return {"success": True, "output": operation(sandbox)}
    except SandshellError as error:
        return {"success": False, "error": error.reason}


assert safe_operation(lambda sandbox: sandbox.code.run("print('Hello')").stdout) == {"success": True, "output": "Hello\n"}
assert safe_operation(lambda sandbox: sandbox.files.read_text("/none")) == {"success": False, "error": "FILE_NOT_FOUND"}
# What goes wrong in the code itself is a result, and no exception.
with Sandbox.create() as sandbox:
    result = sandbox.code.run("1 / 0")
    assert result.error is not None and result.error.name == "ZeroDivisionError"


# 3. Use labels.
def project_labels(project: str, environment: str, **more: str) -> dict[str, str]:
    """The same labels for all sandboxes of a project."""
    return {
        "project": project,
        "environment": environment,
        "created_by": "examples",
        "timestamp": str(int(time.time())),
        **more,
    }


labels = project_labels("ml-training", "staging", model_version="v1.3.2", gpu_enabled="true")
with Sandbox.create(labels=labels) as sandbox:
    sandbox.set_labels({**labels, "status": "training_complete", "accuracy": "0.94"})
    assert sandbox.labels()["status"] == "training_complete" and sandbox.labels()["project"] == "ml-training"


# 4. Watch what is used.
@contextmanager
def monitored(sandbox: Sandbox, operation: str) -> Iterator[Sandbox]:
    """Says what an operation has cost."""
    before, begun = sandbox.stats(), time.monotonic()
    try:
        yield sandbox
    finally:
        after = sandbox.stats()
        print(
            f"{operation!r} took {time.monotonic() - begun:.2f} s, {after.cpu_seconds - before.cpu_seconds:.2f} s of them on a"
            f" processor, and {after.commands - before.commands} commands; {after.memory_bytes} bytes are in use"
        )
        assert after.commands > before.commands and sandbox.info().state == "running"


with Sandbox.create("host") as sandbox, monitored(sandbox, "data_processing"):
    assert sandbox.run("echo 'Processing data...'").stdout == "Processing data...\n"
