"""What a session keeps: directory, variables, aliases, functions and background processes."""

from sandshell import Sandbox

with Sandbox.from_local("./project") as sandbox:
    # Working directory.
    with sandbox.session() as session:
        session.exec("cd /workspace/backend")
        result = session.exec("pwd")
        assert result.stdout == "/workspace/backend\n"

        session.exec("cd ../frontend")
        result = session.exec("pwd")
        assert result.stdout == "/workspace/frontend\n"

    # Environment variables.
    with sandbox.session() as session:
        session.exec("export API_URL=http://localhost:8000")
        session.exec("export DB_NAME=testdb")

        result = session.exec("printenv API_URL")
        assert result.stdout == "http://localhost:8000\n"

    # Aliases and functions.
    with sandbox.session(shell="/bin/bash") as session:
        session.exec("alias ll='ls -la'")
        result = session.exec("ll")
        assert result.stdout.startswith("total ") and " app.py\n" in result.stdout

        session.exec("myfunction() { echo 'Hello from function'; }")
        result = session.exec("myfunction")
        assert result.stdout == "Hello from function\n"

    # Background processes.
    with sandbox.session() as session:
        # A server in the background. What it prints later is kept with this command, and disturbs no other one.
        session.exec("python3 -m http.server 8000 &")

        # Instead of waiting for a guessed time, curl tries until the server is up.
        result = session.exec("curl -s --retry 50 --retry-connrefused --retry-delay 1 http://localhost:8000")
        assert "Directory listing for /" in result.stdout and "app.py" in result.stdout
        assert [process.command for process in session.processes()] == ["python3 -m http.server 8000"]

    # Background processes end with their session.
    assert sandbox.run("pgrep -f http.server").stdout == ""
