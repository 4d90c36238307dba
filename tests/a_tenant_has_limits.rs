//! Limits of a tenant are set on the command line, and a server that runs goes by them.

use crate::kit::{Options, Server, cli::make_key, cli::prints, errors::expect_error, raw::keyed, v1};
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The line of one tenant in `sandshell tenant list`, without when it was made.
fn listed(data: &str, tenant: &str) -> Vec<String> {
    let printed = prints(&["tenant", "list", "--data-dir", data]);
    let lines = printed.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let mut found = lines.filter(|words| words[0] == tenant);
    found.next().unwrap_or_else(|| panic!("{tenant} is not in {printed}")).split_off(2)
}

#[test]
fn each_is_set_and_taken_away_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    make_key(dir.path(), "blue");
    let data = dir.path().to_str().unwrap();
    let limit = |options: &[&str]| prints(&[&["tenant", "limit", "blue", "--data-dir", data], options].concat());
    assert_eq!(listed(data, "blue"), ["-", "-", "-", "-", "-"]);
    limit(&["--max-sandboxes", "3", "--max-memory-bytes", "8589934592"]);
    assert_eq!(listed(data, "blue"), ["3", "-", "8589934592", "-", "-"]);
    limit(&[
        "--max-sessions",
        "20",
        "--max-requests-per-second",
        "100",
        "--max-sandboxes",
        "none",
        "--max-volumes",
        "9",
    ]);
    assert_eq!(listed(data, "blue"), ["-", "20", "8589934592", "100", "9"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn too_many_calls_in_a_second_are_told_when_to_come_back() {
    let server = Server::start(Options::default());
    let (blue, red) = (make_key(server.data_dir(), "blue"), make_key(server.data_dir(), "red"));
    let data = server.data_dir().to_str().unwrap();
    prints(&["tenant", "limit", "blue", "--max-requests-per-second", "1", "--data-dir", data]);
    let sandboxes = server.connect().await.sandboxes;
    let list = async |key: &str| -> Result<(), Status> {
        let request = keyed(v1::ListSandboxesRequest::default(), key);
        sandboxes.clone().list_sandboxes(request).await.map(drop)
    };
    // At the latest the first that comes within a second of the one before.
    let refused = loop {
        if let Err(status) = list(&blue).await {
            break status;
        }
    };
    expect_error(&refused, Code::ResourceExhausted, "TOO_MANY_REQUESTS");
    let wait = refused.get_details_retry_info().and_then(|info| info.retry_delay).expect("when to try again");
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    assert!(refused.message().contains("blue") && refused.message().contains('1'), "{refused:?}");
    list(&red).await.expect("another tenant is not slowed");
    // Without the limit it goes on at once.
    prints(&["tenant", "limit", "blue", "--max-requests-per-second", "none", "--data-dir", data]);
    for _ in 0..10 {
        list(&blue).await.expect("there is no limit");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_it_has_is_counted_in_all_its_sandboxes() {
    let server = Server::start(Options::default());
    let (blue, red) = (make_key(server.data_dir(), "blue"), make_key(server.data_dir(), "red"));
    let data = server.data_dir().to_str().unwrap();
    let limit = |name: &str, most: &str| prints(&["tenant", "limit", "blue", name, most, "--data-dir", data]);
    let clients = server.connect().await;
    let create = async |key: &str| -> Result<String, Status> {
        let resources = Some(v1::Resources { memory_bytes: Some(64 << 20), ..Default::default() });
        let request = keyed(v1::CreateSandboxRequest { resources, ..Default::default() }, key);
        clients.sandboxes.clone().create_sandbox(request).await.map(|answer| answer.into_inner().sandbox_id)
    };
    let open = async |sandbox_id: &str, key: &str| -> Result<(), Status> {
        let request = v1::CreateSessionRequest { sandbox_id: sandbox_id.to_owned(), ..Default::default() };
        clients.sessions.clone().create_session(keyed(request, key)).await.map(drop)
    };

    limit("--max-sandboxes", "2");
    let first = create(&blue).await.expect("one of two");
    let second = create(&blue).await.expect("two of two");
    let refused = create(&blue).await.expect_err("one too many");
    expect_error(&refused, Code::ResourceExhausted, "TOO_MANY_SANDBOXES");
    limit("--max-sandboxes", "none");
    limit("--max-memory-bytes", &(160 << 20).to_string());
    let refused = create(&blue).await.expect_err("too much memory");
    expect_error(&refused, Code::ResourceExhausted, "TOO_MUCH_MEMORY");

    limit("--max-sessions", "2");
    open(&first, &blue).await.expect("one of two");
    open(&second, &blue).await.expect("two of two");
    let refused = open(&first, &blue).await.expect_err("one too many");
    expect_error(&refused, Code::ResourceExhausted, "TOO_MANY_SESSIONS");

    // Another tenant has limits of its own.
    let theirs = create(&red).await.expect("no limit");
    open(&theirs, &red).await.expect("no limit");
}
