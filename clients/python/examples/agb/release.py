"""Release: by hand, and by a time-out; and how to see whether a sandbox is still there."""

from datetime import timedelta

from sandshell import NotFound, Sandbox


def is_active(sandbox_id: str) -> bool:
    """Asks for the one. A list would have all that are active, and may be long."""
    try:
        Sandbox.get(sandbox_id)
        return True
    except NotFound:
        return False


# 1. Deletion by hand.
sandbox = Sandbox.create()
assert is_active(sandbox.sandbox_id)
sandbox.delete()
assert not is_active(sandbox.sandbox_id)
# Deleting it again is no error.
sandbox.delete()

# 2. Release after a time. Watching tells when, and why.
sandbox = Sandbox.create(ttl=timedelta(seconds=2))
ended = [info for info in sandbox.watch()][-1]
assert (ended.state, ended.end_reason) == ("deleted", "expired")
assert not is_active(sandbox.sandbox_id)
assert sandbox.sandbox_id not in [info.sandbox_id for info in Sandbox.list()]

# More time, while it is still there.
with Sandbox.create(ttl=60, idle_timeout=30) as sandbox:
    before = sandbox.info().expires
    sandbox.extend(timedelta(hours=2))
    after = sandbox.info().expires
    assert before is not None and after is not None and after >= before
