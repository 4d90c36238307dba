"""Troubleshooting: each problem, and its solution."""

from sandshell import Sandbox

with Sandbox.from_local("./project") as sandbox:
    # Problem: `cd` does not persist.
    sandbox.run("cd /workspace/src")
    result = sandbox.run("pwd")
    assert result.stdout == "/workspace\n"
    with sandbox.session() as session:
        session.exec("cd /workspace/src")
        result = session.exec("pwd")
        assert result.stdout == "/workspace/src\n"

    # Problem: an environment variable is not set.
    sandbox.run("export DEBUG=1")
    result = sandbox.run("printenv DEBUG")
    assert result.stdout == ""
    with sandbox.session() as session:
        session.exec("export DEBUG=1")
        result = session.exec("printenv DEBUG")
        assert result.stdout == "1\n"
    result = sandbox.run("printenv DEBUG", env={"DEBUG": "1"})
    assert result.stdout == "1\n"

    # Problem: a background process terminates. It does with its session.
    with sandbox.session() as session:
        session.exec("python3 -m http.server 8001 >/dev/null 2>&1 &")
    assert sandbox.run("pgrep -f http.server").stdout == ""
    with sandbox.session() as session:
        session.exec("python3 -m http.server 8001 >/dev/null 2>&1 &")
        # Use the server while the session is open.
        result = session.exec("curl -s --retry 50 --retry-connrefused --retry-delay 1 http://localhost:8001/README.md")
        assert result.stdout == "A project to work on.\n"

    # Problem: a session hangs on an interactive command. Here it does not: the program finds the end of its input.
    with sandbox.session() as session:
        result = session.exec("python3", timeout=60)
        assert (result.exit_code, result.timed_out) == (0, False)

        # Without input:
        assert session.exec("python3 -c 'print(1+1)'").stdout == "2\n"
        # With input, which a session takes too:
        assert session.exec("python3", stdin="print(1+1)\nexit()\n").stdout == "2\n"
    result = sandbox.run("python3", stdin="print(1+1)\nexit()\n")
    assert result.stdout == "2\n"
