"""The life of a session: a code base, commands in it, and its end.

The code base comes from a directory here; sample_sandbox.py takes a sample, and verification.py says whether its task was done.
"""

from sandshell import NotFound, Sandbox

# 1. Creation
sandbox = Sandbox.from_local("./project", labels={"dataset": "examples", "sample": "project"})
session = sandbox.session()
print(f"Session created with ID: {session.session_id}")

# 2. Interaction
response = session.exec("ls -l")
assert "app.py" in response.stdout and "README.md" in response.stdout
assert session.exec("cat src/sums.py").stdout == "def add(a, b):\n    return a + b\n"
session.exec('echo "new content" > README.md')
assert session.exec("cat README.md").stdout == "new content\n"
assert session.exec("cd src && python3 -m unittest").exit_code == 0

# Stateful: what was changed is kept, for other sessions of the same sandbox too. Isolated: no other sandbox sees it.
assert sandbox.session().exec("cat README.md").stdout == "new content\n"
with Sandbox.from_local("./project") as another:
    assert another.files.read_text("README.md") == "A project to work on.\n"

# 4. Closing
session.close()
sandbox.delete()
try:
    session.exec("true")
    raise AssertionError("it is closed")
except NotFound:
    pass
