"""Does what grpcurl does, without any proto file: lists, describes and calls by reflection. reflection.py HOST:PORT"""

import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICES = ["sandshell.v1.SandboxService", "sandshell.v1.SessionService"]


def main(address):
    channel = grpc.insecure_channel(address)
    database = ProtoReflectionDescriptorDatabase(channel)

    # list
    listed = set(database.get_services())
    for service in (*SERVICES, "grpc.health.v1.Health"):
        assert service in listed, f"{service} is not listed: {listed}"
    private = [service for service in listed if service.startswith("sandshell.agent")]
    assert not private, f"a private service is listed: {private}"

    # describe
    pool = descriptor_pool.DescriptorPool(database)
    described = {name: pool.FindServiceByName(name) for name in SERVICES}
    names = {method.name for service in described.values() for method in service.methods}
    for name in ("CreateSandbox", "GetSandbox", "ListSandboxes", "DeleteSandbox", "CreateSession", "Exec", "Run", "Attach"):
        assert name in names, f"{name} is not described: {names}"

    # call, with JSON in and out
    def call(service, name, request):
        method = described[service].methods_by_name[name]
        takes, gives = (message_factory.GetMessageClass(t) for t in (method.input_type, method.output_type))
        path = f"/{service}/{name}"
        message = json_format.ParseDict(request, takes())
        if method.server_streaming or method.client_streaming:
            stream = channel.stream_stream if method.client_streaming else channel.unary_stream
            rpc = stream(path, request_serializer=takes.SerializeToString, response_deserializer=gives.FromString)
            answers = rpc(iter([message]) if method.client_streaming else message, timeout=60)
            return [json_format.MessageToDict(answer) for answer in answers]
        rpc = channel.unary_unary(path, request_serializer=takes.SerializeToString, response_deserializer=gives.FromString)
        return json_format.MessageToDict(rpc(message, timeout=60))

    sandboxes, sessions = SERVICES
    sandbox = call(sandboxes, "CreateSandbox", {"labels": {"by": "reflection"}})["sandboxId"]
    session = call(sessions, "CreateSession", {"sandboxId": sandbox})["sessionId"]
    answer = call(sessions, "Run", {"start": {"sessionId": session, "command": "echo $((40 + 2))"}})
    assert answer["stdout"] == "NDIK", answer
    events = call(sessions, "Exec", {"start": {"sessionId": session, "command": "echo hi; exit 3"}})
    assert "started" in events[0] and events[-1]["exited"]["exitCode"] == 3, events
    listed = call(sandboxes, "ListSandboxes", {"labels": {"by": "reflection"}})
    assert [s["sandboxId"] for s in listed["sandboxes"]] == [sandbox], listed

    # every method is there
    for service in described.values():
        for method in service.methods:
            try:
                call(service.full_name, method.name, {})
            except grpc.RpcError as error:
                assert error.code() != grpc.StatusCode.UNIMPLEMENTED, f"{method.full_name} is not implemented"

    # health: of all, of each service, and of one that is not there
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", *SERVICES):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, (service, answer)
    try:
        health.Check(health_pb2.HealthCheckRequest(service="nosuch"), timeout=10)
        raise AssertionError("an unknown service is healthy")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error

    # what {} made goes too
    for made in call(sandboxes, "ListSandboxes", {"labels": {"by": "reflection"}})["sandboxes"]:
        call(sandboxes, "DeleteSandbox", {"sandboxId": made["sandboxId"]})
    print("all fine")


if __name__ == "__main__":
    main(sys.argv[1])
