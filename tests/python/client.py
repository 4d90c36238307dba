"""Drives the API with stubs that grpcio-tools makes from proto/: client.py HOST:PORT"""

import importlib
import pathlib
import queue
import subprocess
import sys
import tempfile
import time

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]


def make_stubs(out):
    protos = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto/sandshell/v1").glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}", *protos]
    subprocess.run(command, check=True)
    sys.path.insert(0, out)
    names = ["sandbox_pb2", "sandbox_pb2_grpc", "session_pb2", "session_pb2_grpc"]
    return [importlib.import_module(f"sandshell.v1.{name}") for name in names]


class Exec:
    """One Exec stream: messages go in by a queue, responses are kept as they come."""

    def __init__(self, stub, pb, **start):
        self.pb, self.requests = pb, queue.Queue()
        self.send(start=pb.ExecStart(**start))
        self.call = stub.Exec(iter(self.requests.get, None), timeout=60)
        self.out = {pb.STREAM_STDOUT: b"", pb.STREAM_STDERR: b"", pb.STREAM_TERMINAL: b""}
        self.exited = self.command_id = None

    def send(self, **request):
        self.requests.put(self.pb.ExecRequest(**request))

    def until(self, enough):
        while not enough():
            response = next(self.call)
            kind = response.WhichOneof("response")
            if kind == "started":
                self.command_id = response.started.command_id
            elif kind == "output":
                assert response.output.offset == len(self.out[response.output.stream])
                self.out[response.output.stream] += response.output.data
            elif kind == "exited":
                self.exited = response.exited

    def finish(self):
        self.until(lambda: self.exited is not None)
        self.requests.put(None)
        assert list(self.call) == [], "nothing follows `exited`"
        return self.exited


def main(address, sandbox_pb, sandbox_grpc, pb, session_grpc):
    channel = grpc.insecure_channel(address)
    sandboxes = sandbox_grpc.SandboxServiceStub(channel)
    stub = session_grpc.SessionServiceStub(channel)
    Reason = pb.Exited.Reason

    sandbox = sandboxes.CreateSandbox(sandbox_pb.CreateSandboxRequest(labels={"by": "python"}), timeout=60)
    assert sandbox.state == sandbox_pb.Sandbox.STATE_RUNNING, sandbox
    session = stub.CreateSession(pb.CreateSessionRequest(sandbox_id=sandbox.sandbox_id, shell="/bin/bash"))
    target = {"session_id": session.session_id}

    def run(command, **more):
        return stub.Run(pb.RunRequest(start=pb.ExecStart(command=command, **target), **more), timeout=60)

    # State carries over; outputs are apart; a non-zero exit is data.
    run("cd /usr; export A=1")
    answer = run("pwd; echo $A; echo err >&2; (exit 7)")
    assert (answer.stdout, answer.stderr, answer.exited.exit_code) == (b"/usr\n1\n", b"err\n", 7), answer
    assert (answer.exited.reason, answer.exited.working_directory) == (Reason.EXITED, "/usr"), answer
    assert run("cat", stdin=b"\x00\xff").stdout == b"\x00\xff"

    # Output comes while the command runs.
    live = Exec(stub, pb, command="echo first; sleep 1; echo second", **target)
    live.until(lambda: live.out[pb.STREAM_STDOUT] == b"first\n")
    came = time.monotonic()
    live.finish()
    assert time.monotonic() - came > 0.5, "`first` did not come before `second`"
    assert live.out[pb.STREAM_STDOUT] == b"first\nsecond\n"

    # Input, and a conversation.
    talk = Exec(stub, pb, command="cat", stdin=True, **target)
    for piece in (b"one\n", b"two\n"):
        talk.send(stdin=piece)
        talk.until(lambda: talk.out[pb.STREAM_STDOUT].endswith(piece))
    talk.send(close_stdin=pb.CloseStdin())
    assert talk.finish().exit_code == 0

    # A terminal.
    term = Exec(stub, pb, command="stty size; read x; echo got $x", pty=pb.Pty(size=pb.TerminalSize(rows=30, columns=90)), **target)
    term.until(lambda: b"30 90" in term.out[pb.STREAM_TERMINAL])
    term.send(stdin=b"yes\r")
    term.until(lambda: b"got yes" in term.out[pb.STREAM_TERMINAL])
    assert term.finish().exit_code == 0

    # Interrupted, and alive.
    long = Exec(stub, pb, command="echo up; sleep 1000; echo no", **target)
    long.until(lambda: long.out[pb.STREAM_STDOUT] == b"up\n")
    long.send(signal=2)
    assert long.finish().reason == Reason.SIGNALED
    assert run("echo alive").stdout == b"alive\n"

    # The stream is lost; the command is not.
    lost = Exec(stub, pb, command="seq 1 300000", **target)
    lost.until(lambda: len(lost.out[pb.STREAM_STDOUT]) > 100_000)
    lost.call.cancel()
    got, exited = lost.out[pb.STREAM_STDOUT], None
    for response in stub.Attach(pb.AttachRequest(command_id=lost.command_id, stdout_offset=len(got)), timeout=60):
        if response.WhichOneof("response") == "output":
            got += response.output.data
        elif response.WhichOneof("response") == "exited":
            exited = response.exited
    assert got == b"".join(b"%d\n" % n for n in range(1, 300_001)) and exited.exit_code == 0

    # The shell ends and comes back.
    answer = run("exit 3")
    assert (answer.exited.exit_code, answer.exited.shell_exited, answer.exited.generation) == (3, True, 2), answer
    assert run("pwd; echo $A").stdout == b"/usr\n1\n"

    # Errors have details, and a request id.
    try:
        stub.GetSession(pb.GetSessionRequest(session_id="sbx-nope/x"), metadata=[("x-request-id", "mine")])
        raise AssertionError("an unknown session was found")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        metadata = {k: v for k, v in (*error.initial_metadata(), *error.trailing_metadata())}
        assert metadata["x-request-id"] == "mine", metadata
        assert b"sandshell" in metadata["grpc-status-details-bin"], metadata

    stub.CloseSession(pb.CloseSessionRequest(session_id=session.session_id))
    sandboxes.DeleteSandbox(sandbox_pb.DeleteSandboxRequest(sandbox_id=sandbox.sandbox_id))
    print("all fine")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as stubs:
        main(sys.argv[1], *make_stubs(stubs))
