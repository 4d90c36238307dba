import dev.sandshell.v1.ExecStart;
import dev.sandshell.v1.Exited;
import dev.sandshell.v1.RunRequest;
import dev.sandshell.v1.RunResponse;
import dev.sandshell.v1.SessionServiceGrpc;
import io.grpc.ManagedChannelBuilder;

/** Uses the stubs as a Java program would: one command in a sandbox, and its end. */
public final class Client {
  public static void main(String[] arguments) {
    var channel = ManagedChannelBuilder.forTarget("localhost:50051").usePlaintext().build();
    var sessions = SessionServiceGrpc.newBlockingStub(channel);
    ExecStart start = ExecStart.newBuilder().setSandboxId("sbx-1").setCommand("true").build();
    RunResponse response = sessions.run(RunRequest.newBuilder().setStart(start).build());
    Exited exited = response.getExited();
    System.out.println(response.getStdout().toStringUtf8());
    System.exit(exited.getReason() == Exited.Reason.REASON_EXITED ? exited.getExitCode() : 1);
  }
}
