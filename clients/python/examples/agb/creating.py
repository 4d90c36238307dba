"""Creating sandboxes: from an image, with a configuration, with labels; and what a wrong image is answered with."""

from sandshell import FailedPrecondition, Sandbox

# Simple creation.
with Sandbox.create() as sandbox:
    assert sandbox.sandbox_id.startswith("sbx-")

# With a specific image, and limits.
with Sandbox.create("host", memory=512 << 20, cpus=1, processes=100, ttl=3600) as sandbox:
    info = sandbox.info()
    assert info.image == "host" and info.expires is not None
    assert sandbox.run("echo up").stdout == "up\n"

# With labels.
with Sandbox.create("host", labels={"project": "demo", "environment": "testing", "team": "backend"}) as sandbox:
    assert sandbox.labels() == {"project": "demo", "environment": "testing", "team": "backend"}

# An image that cannot be had is an exception, with a reason for programs and a message for people that says what to do.
try:
    Sandbox.create("/nosuch/image")
    raise AssertionError("there is no such image")
except FailedPrecondition as error:
    print(f"Failed to create sandbox: {error}")
    assert error.reason == "NOT_ALLOWED" and "--image-root" in error.message and error.request_id
