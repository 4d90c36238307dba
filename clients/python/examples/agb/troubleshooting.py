"""Troubleshooting: what cannot be created, what does not answer, and a fresh sandbox after so many operations."""

from sandshell import NotFound, Sandbox, SandshellError, Unavailable

# Creation fails: the exception says why, and what to do.
try:
    Sandbox.create("host", memory=1)
    raise AssertionError("one byte is not enough")
except SandshellError as error:
    assert error.reason == "INVALID_ARGUMENT" and error.violations[0][0] == "resources.memory_bytes"

# A sandbox that does not answer, or is gone: make another one.
sandbox = Sandbox.create("host")
Sandbox.get(sandbox.sandbox_id).delete()  # somebody else did that
try:
    sandbox.info()
    raise AssertionError("it was deleted")
except (NotFound, Unavailable):
    sandbox.delete()
    sandbox = Sandbox.create("host")
assert sandbox.info().state == "running"

# A fresh one after so many operations, for what earlier ones have left behind.
max_operations_per_sandbox = 100
operation_count, used = 0, {sandbox.sandbox_id}
for task in range(250):
    if operation_count >= max_operations_per_sandbox:
        sandbox.delete()
        sandbox = Sandbox.create("host")
        used.add(sandbox.sandbox_id)
        operation_count = 0
    result = sandbox.run(["echo", f"task {task}"])
    assert result.stdout == f"task {task}\n"
    operation_count += 1
sandbox.delete()
assert len(used) == 3
