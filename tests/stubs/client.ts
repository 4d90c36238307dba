// Uses the stubs as a TypeScript program would: one command in a sandbox, and its end.
import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Exited_Reason, SessionService } from "./sandshell/v1/session_pb.js";

const sessions = createClient(SessionService, createGrpcWebTransport({ baseUrl: "http://localhost:50051" }));
const response = await sessions.run({ start: { target: { case: "sandboxId", value: "sbx-1" }, command: "true" } });
if (response.exited?.reason !== Exited_Reason.EXITED || response.exited.exitCode !== 0) {
    throw new Error(new TextDecoder().decode(response.stderr));
}
