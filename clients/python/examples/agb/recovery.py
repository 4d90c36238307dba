"""Recovery: a sandbox, and a session in it, by their ids; and what to do when it has been released."""

from sandshell import NotFound, Sandbox

made = Sandbox.create(labels={"project": "recovery"})
shell = made.session("/bin/bash")
shell.exec("cd /usr; words=(of the first program)")
sandbox_id, session_id = made.sandbox_id, shell.session_id

# As another program would: all that it has is the ids.
sandbox = Sandbox.get(sandbox_id)
print(f"Retrieved sandbox: {sandbox.sandbox_id}")
assert sandbox.run("echo 'Hello, World!'").stdout == "Hello, World!\n"
session = sandbox.get_session(session_id)
assert session.exec('echo "${words[@]}"; pwd').stdout == "of the first program\n/usr\n"
assert [one.session_id for one in sandbox.sessions()] == [session_id]

# One that was released cannot be recovered: make another one.
sandbox.delete()
try:
    Sandbox.get(sandbox_id)
    raise AssertionError("it was deleted")
except NotFound as error:
    print(f"Failed to retrieve sandbox: {error}")
    assert error.reason == "SANDBOX_NOT_FOUND"
