"""Creating sessions, and their parameters."""

from sandshell import Sandbox

with Sandbox.from_local("./project") as sandbox:
    with sandbox.session() as session:
        result = session.exec("pwd")
        assert result.stdout == "/workspace\n"

    # Another shell: arrays are Bash's.
    with sandbox.session(shell="/bin/bash") as session:
        session.exec("declare -a arr=(1 2 3)")
        assert session.exec("echo ${#arr[@]} ${arr[2]}").stdout == "3 3\n"

    # Variables from the beginning.
    with sandbox.session(env={"DEBUG": "1", "ENV": "test"}) as session:
        result = session.exec("printenv DEBUG")
        assert result.stdout == "1\n"
