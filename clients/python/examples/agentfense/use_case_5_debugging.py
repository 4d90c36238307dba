"""Use case 5: interactive debugging. In the original each line would be a new command; here they go to the debugger that runs."""

from sandshell import Sandbox

with Sandbox.from_local("./project") as sandbox:
    with sandbox.session() as session:
        # Set up the environment.
        session.exec("cd /workspace")
        session.exec("source .env")
        assert session.exec("echo $APP_NAME").stdout == "demo\n"

        # Start the debugger, and give it one command after the other.
        debugger = session.start("python3 -m pdb main.py", stdin=True)
        debugger.read_until("(Pdb) ", timeout=60)
        debugger.send_line("break main.py:4")
        assert "Breakpoint 1 at /workspace/main.py:4" in debugger.read_until("(Pdb) ", timeout=60)
        debugger.send_line("continue")
        assert "result += price * 2" in debugger.read_until("(Pdb) ", timeout=60)

        # Inspect variables.
        debugger.send_line("p price, result")
        assert debugger.read_until("(Pdb) ", timeout=60).startswith("(1, 0)")
        debugger.send_line("continue")
        debugger.read_until("(Pdb) ", timeout=60)
        debugger.send_line("p price, result")
        assert debugger.read_until("(Pdb) ", timeout=60).startswith("(2, 2)")

        # Change the program while it stands still, and let it end.
        debugger.send_line("result = 100")
        debugger.send_line("clear 1")
        debugger.send_line("continue")
        assert "total: 110" in debugger.read_until("total: 110", timeout=60)
        debugger.send_line("quit")
        debugger.wait(timeout=60)

        # The session is as it was.
        assert session.exec("echo $APP_NAME").stdout == "demo\n"
