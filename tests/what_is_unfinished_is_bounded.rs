//! What a client begins and does not finish costs the server little, and is over some time.

use crate::kit::{
    Options, Running, Server,
    cli::make_key,
    create_sandbox,
    errors::{expect_bad_fields, expect_error},
    host,
    raw::Unfinished,
    v1, within,
};
use futures_util::future::join_all;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

const MIB: usize = 1 << 20;
/// What is around the bytes of a message.
const ROOM: usize = 64 << 10;
const RUN: &str = "/sandshell.v1.SessionService/Run";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_key_is_needed_nothing_large_is_taken() {
    let server = Server::start(Options::default());
    let before = host::memory(server.pid());
    for path in [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
    ] {
        let channel = server.connect().await.channel;
        // Few at a time, because that is bounded too.
        for _ in 0..4 {
            let calls = join_all((0..16).map(|_| Unfinished::call(&channel, path))).await;
            for call in &calls {
                call.begin(4 * MIB as u32, 4 * MIB - 64);
            }
            for answer in join_all(calls.into_iter().map(Unfinished::answer)).await {
                // Reflection ends its stream without a word.
                if !path.ends_with("Check") {
                    continue;
                }
                expect_error(&answer, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
            }
        }
    }
    let grown = host::memory(server.pid()).saturating_sub(before);
    assert!(grown < 32 * MIB as u64, "the server grew by {} MiB", grown / MIB as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_method_takes_messages_of_its_own_size() {
    let server = Server::start(Options::default());
    let channel = server.connect().await.channel;
    for (path, takes) in [
        ("/sandshell.v1.SandboxService/CreateSandbox", 2 * MIB),
        ("/sandshell.v1.SessionService/CreateSession", 2 * MIB),
        ("/sandshell.v1.FileService/Write", 2 * MIB + ROOM),
        ("/sandshell.v1.SessionService/Exec", 32 * MIB + ROOM),
        (RUN, 32 * MIB + ROOM),
    ] {
        let call = Unfinished::call(&channel, path).await;
        call.begin(takes as u32 + 1, 0);
        let answer = call.answer().await;
        expect_error(&answer, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
        assert!(answer.message().contains(&takes.to_string()), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_messages_are_bounded_together() {
    let server = Server::start(Options::default());
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let before = host::memory(server.pid());
    let attacker = server.connect().await.channel;
    let calls = join_all((0..16).map(|_| Unfinished::call(&attacker, RUN))).await;
    for call in &calls {
        call.begin(32 * MIB as u32, 32 * MIB - 64);
    }
    // 16 × 32 MiB is four times what one connection may have under way.
    within::until("refusals", async || calls.iter().filter(|call| call.is_answered()).count() >= 12).await;
    let grown = host::memory(server.pid()).saturating_sub(before);
    assert!(grown < 320 * MIB as u64, "the server grew by {} MiB", grown / MIB as u64);
    // Others are served, with large messages too.
    let input = vec![b'x'; 8 * MIB];
    let start = sandbox.start("wc -c");
    let request = v1::RunRequest {
        start: Some(v1::ExecStart { stdin: true, ..start }),
        stdin: input.into(),
        ..Default::default()
    };
    let mut other = server.connect().await;
    let answer = other.sessions.run(request).await.expect("another connection").into_inner();
    assert_eq!(answer.stdout, format!("{}\n", 8 * MIB));
    let (refused, held): (Vec<_>, Vec<_>) = calls.into_iter().partition(Unfinished::is_answered);
    for answer in join_all(refused.into_iter().map(Unfinished::answer)).await {
        expect_error(&answer, Code::ResourceExhausted, "SERVER_BUSY");
        assert!(answer.get_details_retry_info().is_some(), "{answer:?}");
    }
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_metadata_ends_only_its_call() {
    let server = Server::start(Options::default());
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let cat = v1::ExecStart { stdin: true, ..sandbox.start("cat") };
    let cat = Running::start(&sandbox.clients, cat).await;
    cat.stdin("before").await;
    for bytes in [40_000, 100_000] {
        let mut request = tonic::Request::new(v1::ListSandboxesRequest::default());
        request.metadata_mut().insert("much", "x".repeat(bytes).parse().expect("a header"));
        let mut sandboxes = sandbox.clients.sandboxes.clone();
        within("a refusal", sandboxes.list_sandboxes(request)).await.expect_err("it is too much");
    }
    cat.stdin(" and after").await;
    cat.close_stdin().await;
    assert_eq!(cat.finish().await.out(), "before and after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_message_is_said() {
    let server = Server::start(Options::default());
    let channel = server.connect().await.channel;
    let answered = async |body: &'static [u8]| {
        let call = Unfinished::call(&channel, RUN).await;
        call.body.send(bytes::Bytes::from_static(body)).expect("it is under way");
        call.end().await
    };
    for body in [
        &b""[..],
        // Cut in its header, and after it.
        b"\0\0\0",
        b"\0\0\0\0\x05abc",
        // Compressed, and a flag of no meaning.
        b"\x01\0\0\0\0",
        b"\x07\0\0\0\0",
        // A field that is longer than the message.
        b"\0\0\0\0\x02\x0a\xff",
    ] {
        expect_bad_fields(&answered(body).await, &["message"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_key_are_few_in_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let key = make_key(&data_dir, "blue");
    let server = Server::start(Options { data_dir: Some(data_dir), ..Default::default() });
    let refusals = async |outcomes: Vec<tonic::Status>, usual: Code| {
        let too_many: Vec<_> = outcomes.iter().filter(|status| status.code() == Code::ResourceExhausted).collect();
        assert!(!too_many.is_empty(), "nobody was refused");
        for status in &too_many {
            expect_error(status, Code::ResourceExhausted, "TOO_MANY_REQUESTS");
            assert!(status.get_details_retry_info().is_some(), "{status:?}");
        }
        let others = outcomes.iter().filter(|status| status.code() != Code::ResourceExhausted);
        assert!(others.clone().all(|status| status.code() == usual), "{:?}", others.collect::<Vec<_>>());
    };
    // Bursts on connections of their own, small enough that none is closed.
    let burst = async |what: &str| {
        let mut outcomes = Vec::new();
        for _ in 0..4 {
            let clients = server.connect().await;
            outcomes.extend(
                join_all((0..150).map(|_| {
                    let (mut health, mut sandboxes) =
                        (HealthClient::new(clients.channel.clone()), clients.sandboxes.clone());
                    let nobodys = format!("ssk_{}_{}", "0".repeat(12), crate::kit::token().repeat(2));
                    async move {
                        let outcome = match what {
                            "health" => health.check(HealthCheckRequest::default()).await.map(drop),
                            "no key" => sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await.map(drop),
                            _ => {
                                let request = crate::kit::raw::keyed(v1::ListSandboxesRequest::default(), &nobodys);
                                sandboxes.list_sandboxes(request).await.map(drop)
                            }
                        };
                        outcome.err().unwrap_or_else(|| tonic::Status::ok(""))
                    }
                }))
                .await,
            );
        }
        outcomes
    };
    for (what, usual) in
        [("health", Code::Ok), ("no key", Code::Unauthenticated), ("a key of nobody's", Code::Unauthenticated)]
    {
        refusals(burst(what).await, usual).await;
        // Who has a key that was used is served meanwhile, or after a moment.
        let mut sandboxes = server.connect().await.sandboxes;
        within::until("a call with a key", async || {
            let request = crate::kit::raw::keyed(v1::ListSandboxesRequest::default(), &key);
            sandboxes.list_sandboxes(request).await.is_ok()
        })
        .await;
    }
}
