"""What is a session: the same three commands without one, and with one. Then why to use one, for each of the reasons."""

from sandshell import Sandbox

with Sandbox.from_local("./project") as sandbox:
    sandbox.run("python3 -m venv --without-pip /workspace/backend/venv", check=True)

    # Without a session: each command runs in a new shell, and no state is kept.
    sandbox.run("cd /workspace/backend")
    sandbox.run("source venv/bin/activate")
    result = sandbox.run("python3 backend/where.py")
    assert result.stdout == "/workspace without a virtual environment\n"

    # With a session: all commands run in the same shell.
    with sandbox.session() as session:
        session.exec("cd /workspace/backend")
        session.exec("source venv/bin/activate")
        result = session.exec("python where.py")
        assert result.stdout == "/workspace/backend with a virtual environment\n"

    # 1. Change the working directory.
    with sandbox.session() as session:
        session.exec("cd /workspace/src")
        result = session.exec("python3 -m unittest")
        assert result.exit_code == 0 and "Ran 1 test" in result.stderr

    # 2. Set environment variables.
    with sandbox.session() as session:
        session.exec("export DEBUG=1")
        assert session.exec("python3 app.py").stdout == "debug\n"

    # 3. Activate virtual environments: `source` is there in any shell, also in /bin/sh.
    with sandbox.session() as session:
        session.exec("source backend/venv/bin/activate")
        assert session.exec("command -v python").stdout == "/workspace/backend/venv/bin/python\n"

    # 4. Run background processes.
    with sandbox.session() as session:
        session.exec("python3 -m http.server 8000 >server.log 2>&1 &")
        result = session.exec("curl -s --retry 50 --retry-connrefused --retry-delay 1 http://localhost:8000/requirements.txt")
        assert result.stdout == "greet==1.0\n"

    # 5. Steps that build on each other.
    with sandbox.session() as session:
        session.exec("mkdir -p dist")
        session.exec("python3 -m zipapp src -m sums:add -o dist/sums.pyz", check=True)
        assert session.exec("ls dist").stdout == "sums.pyz\n"
