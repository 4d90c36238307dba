"""Best practices: context managers, exit codes, environment, absolute paths, scope."""

from sandshell import CommandFailed, NotFound, Sandbox, Session


def build(session: Session) -> str:
    result = session.exec("python3 -m py_compile broken.py")
    if result.exit_code != 0:
        return f"Build failed: {result.stderr.strip().splitlines()[-1]}"  # Exit early on failure.
    return session.exec("python3 -m unittest").stderr


with Sandbox.from_local("./project") as sandbox:
    # 1. Always use a context manager: the session is closed at its end.
    with sandbox.session() as session:
        session.exec("true")
    try:
        session.exec("true")
        raise AssertionError("a closed session took a command")
    except NotFound as error:
        assert error.reason == "SESSION_NOT_FOUND"

    # 2. Check exit codes; or let them be exceptions.
    sandbox.files.write("broken.py", "def f(:\n")
    with sandbox.session() as session:
        assert build(session) == "Build failed: SyntaxError: invalid syntax"
        try:
            session.exec("python3 -m py_compile broken.py", check=True)
            raise AssertionError("a failure was no exception")
        except CommandFailed as error:
            assert error.result.exit_code == 1

    # 3. Set the environment early.
    with sandbox.session(env={"CI": "1", "DEBUG": "1"}) as session:
        assert session.exec("python3 app.py").stdout == "debug\n"
    # One command alone may have its own, in a session too.
    with sandbox.session() as session:
        assert session.exec("python3 app.py", env={"DEBUG": "1"}).stdout == "debug\n"
        assert session.exec("python3 app.py").stdout == "quiet\n"

    # 4. Use absolute paths where possible.
    with sandbox.session() as session:
        session.exec("cd /tmp")
        assert session.exec("python3 /workspace/scripts/report.py").stdout == "3 programs\n"
        assert session.exec("python3 scripts/report.py").exit_code == 2

    # 5. One session for each piece of work: what one does is not there in the other.
    with sandbox.session() as session:
        session.exec("cd /workspace/backend; export ROLE=backend")
        assert session.exec("pwd").stdout == "/workspace/backend\n"
    with sandbox.session() as session:
        assert session.exec("echo ${ROLE-none}; pwd").stdout == "none\n/workspace\n"
