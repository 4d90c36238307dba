// Uses the stubs as a C++ program would: one command in a sandbox, and its end.
#include <grpcpp/grpcpp.h>

#include <iostream>

#include "sandshell/v1/code.grpc.pb.h"
#include "sandshell/v1/file.grpc.pb.h"
#include "sandshell/v1/sandbox.grpc.pb.h"
#include "sandshell/v1/session.grpc.pb.h"

namespace v1 = sandshell::v1;

int main() {
  auto channel = grpc::CreateChannel("localhost:50051", grpc::InsecureChannelCredentials());
  auto sessions = v1::SessionService::NewStub(channel);
  v1::RunRequest request;
  request.mutable_start()->set_sandbox_id("sbx-1");
  request.mutable_start()->set_command("true");
  v1::RunResponse response;
  grpc::ClientContext context;
  const grpc::Status status = sessions->Run(&context, request, &response);
  const bool ok = status.ok() && response.exited().reason() == v1::Exited::REASON_EXITED && response.exited().exit_code() == 0;
  std::cout << v1::Stream_Name(v1::STREAM_STDOUT) << response.stdout() << std::endl;
  return ok ? 0 : 1;
}
