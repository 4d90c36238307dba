"""Session or direct execution: when to use which, and what each costs."""

import time

from sandshell import Sandbox

with Sandbox.from_local("./project") as sandbox:
    # These are independent: no session is needed.
    assert sandbox.run("python3 --version").stdout.startswith("Python 3.")
    assert "app.py" in sandbox.run("ls -la").stdout
    assert sandbox.run("cat README.md").stdout == "A project to work on.\n"

    # These depend on each other: a session is.
    with sandbox.session() as session:
        session.exec("cd backend/")
        session.exec("python3 -m venv --without-pip venv", check=True)
        session.exec("source venv/bin/activate")
        assert session.exec("python where.py").stdout == "/workspace/backend with a virtual environment\n"

    # State isolation: complete without a session, shared in one.
    sandbox.run("x=1")
    assert sandbox.run("echo ${x-unset}").stdout == "unset\n"

    # Start-up: a command in a session has no shell to start.
    with sandbox.session() as session:
        begun = time.monotonic()
        for _ in range(20):
            session.exec("true", check=True)
        in_session = (time.monotonic() - begun) / 20
    begun = time.monotonic()
    for _ in range(20):
        sandbox.run("true", check=True)
    directly = (time.monotonic() - begun) / 20
    print(f"a command takes {in_session * 1000:.1f} ms in a session, {directly * 1000:.1f} ms without")
