//! Every answer, errors too, carries `x-request-id`: the client's own if it sent one.

use crate::kit::{At, Runtime, Shell, errors::request_id, v1, within};
use tonic::Request;

fn with_id<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", id.parse().expect("an id"));
    request
}

#[tokio::test]
async fn successes_and_errors() {
    let s = At { runtime: Runtime::Linux, shell: Shell::Dash }.session().await;
    let mut sandboxes = s.sandbox.clients.sandboxes.clone();
    let known = || v1::GetSandboxRequest { sandbox_id: s.sandbox.id.clone() };
    let unknown = || v1::GetSandboxRequest { sandbox_id: "sbx-nope".into() };

    let answer = sandboxes.get_sandbox(known()).await.expect("it is there");
    let first = request_id(answer.metadata()).expect("an id on success");
    let answer = sandboxes.get_sandbox(known()).await.expect("it is there");
    let second = request_id(answer.metadata()).expect("an id on success");
    assert!(!first.is_empty() && first != second, "{first} and {second}");
    let error = sandboxes.get_sandbox(unknown()).await.expect_err("unknown");
    assert!(request_id(error.metadata()).is_some_and(|id| !id.is_empty()), "an id on errors: {error:?}");

    let answer = sandboxes.get_sandbox(with_id(known(), "mine-1")).await.expect("it is there");
    assert_eq!(request_id(answer.metadata()).as_deref(), Some("mine-1"));
    let error = sandboxes.get_sandbox(with_id(unknown(), "mine-2")).await.expect_err("unknown");
    assert_eq!(request_id(error.metadata()).as_deref(), Some("mine-2"));

    let mut sessions = s.sandbox.clients.sessions.clone();
    let run = v1::RunRequest { start: Some(s.start("true")), ..Default::default() };
    let answer = sessions.run(with_id(run, "mine-3")).await.expect("it runs");
    assert_eq!(request_id(answer.metadata()).as_deref(), Some("mine-3"));
    let start = v1::ExecRequest { request: Some(v1::exec_request::Request::Start(s.start("true"))) };
    let answer =
        within("an answer", sessions.exec(with_id(tokio_stream::iter([start]), "mine-4"))).await.expect("it runs");
    assert_eq!(request_id(answer.metadata()).as_deref(), Some("mine-4"));
    let error = sessions.run(with_id(v1::RunRequest::default(), "mine-5")).await.expect_err("no start");
    assert_eq!(request_id(error.metadata()).as_deref(), Some("mine-5"));
}

/// The server answers a little before a caller's deadline. A caller that is late all the same gives up by itself, and
/// tries again here.
#[tokio::test]
async fn a_deadline_that_passes() {
    let s = At { runtime: Runtime::Linux, shell: Shell::Dash }.session().await;
    within::until("the server's own answer", async || {
        let start = v1::RunRequest { start: Some(s.sandbox.start("sleep 1000")), ..Default::default() };
        let mut request = with_id(start, "mine-6");
        request.set_timeout(std::time::Duration::from_millis(200));
        let error = s.sandbox.clients.sessions.clone().run(request).await.expect_err("it takes longer");
        let ours = request_id(error.metadata()).as_deref() == Some("mine-6");
        assert!(!ours || error.code() == tonic::Code::DeadlineExceeded, "{error:?}");
        ours
    })
    .await;
}

/// What a client sends as an id is shown in logs, so it is bounded and plain.
#[tokio::test]
async fn an_unreasonable_id_is_replaced() {
    let clients = crate::kit::shared().connect().await;
    let long = "x".repeat(5000);
    let request = with_id(v1::ListSandboxesRequest::default(), &long);
    let answer = clients.sandboxes.clone().list_sandboxes(request).await.expect("a list");
    let id = request_id(answer.metadata()).expect("an id");
    assert!(!id.is_empty() && id.len() <= 1000, "{} characters", id.len());
}
