//! An error says what is wrong in the words of who made the mistake, and what to do about it.

use crate::kit::{
    At, Options, Runtime, Server, Shell,
    certificates::{Authority, Pair, write},
    cli::{refuses, sandshell, sandshell_with},
    postgres::Postgres,
    registry::free_port,
    shared, v1,
};

#[tokio::test]
async fn an_id_of_another_kind() {
    let s = At { runtime: Runtime::Linux, shell: Shell::Dash }.session().await;
    let (sandbox_id, session_id) = (s.sandbox.id.clone(), s.id.clone());
    let command_id = s.run("true").await.command_id;
    let (mut sandboxes, mut sessions) = (s.sandbox.clients.sandboxes.clone(), s.sandbox.clients.sessions.clone());
    let mut files = s.sandbox.clients.files.clone();
    let session = "that of a session is SANDBOX/NAME, as CreateSession and ListSessions give it";
    let sandbox = "that of a sandbox is all before the first \"/\"";
    let command = "that of a command is SANDBOX/NAME/NUMBER, as Run, Exec and ListCommands give it";
    let cases = [
        (
            sessions.get_session(v1::GetSessionRequest { session_id: sandbox_id.clone() }).await.map(drop),
            "sandbox",
            session,
        ),
        (
            sessions.get_session(v1::GetSessionRequest { session_id: command_id.clone() }).await.map(drop),
            "command",
            session,
        ),
        (
            sandboxes.get_sandbox(v1::GetSandboxRequest { sandbox_id: session_id.clone() }).await.map(drop),
            "session",
            sandbox,
        ),
        (
            sessions
                .create_session(v1::CreateSessionRequest { sandbox_id: session_id.clone(), ..Default::default() })
                .await
                .map(drop),
            "session",
            sandbox,
        ),
        (
            sandboxes.get_sandbox_stats(v1::GetSandboxStatsRequest { sandbox_id: session_id.clone() }).await.map(drop),
            "session",
            sandbox,
        ),
        (
            files.changes(v1::ChangesRequest { sandbox_id: session_id.clone(), ..Default::default() }).await.map(drop),
            "session",
            sandbox,
        ),
        (
            files
                .stat(v1::StatRequest { sandbox_id: session_id.clone(), path: "/".into(), ..Default::default() })
                .await
                .map(drop),
            "session",
            sandbox,
        ),
        (sessions.get_command(v1::GetCommandRequest { command_id: session_id }).await.map(drop), "session", command),
        (sessions.get_command(v1::GetCommandRequest { command_id: sandbox_id }).await.map(drop), "sandbox", command),
    ];
    for (refused, given, remedy) in cases {
        let status = refused.expect_err("an id of another kind");
        assert_eq!(status.code(), tonic::Code::NotFound);
        let said = status.message();
        assert!(said.contains(&format!("this is the id of a {given}, and {remedy}")), "{said}");
    }
    // What is only unknown is not explained.
    let unknown = sandboxes.get_sandbox(v1::GetSandboxRequest { sandbox_id: "sbx-nope".into() }).await.unwrap_err();
    assert_eq!(unknown.message(), "sandbox \"sbx-nope\" was not found");
}

/// What is slipped on the command line.
#[test]
fn an_option_that_is_out_of_place() {
    refuses(&["run", "--ttl", "-3", "true"], &["--ttl", "\"-3\""]);
    refuses(&["run", "--memory", "-3", "true"], &["--memory", "-3"]);
    refuses(&["code", "--context", "c", "x=5"], &["--sandbox"]);
    let output = sandshell_with(&["ls", "sbx-1:/"], &[("SANDSHELL_SERVER", "")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--server <URL>"), "as if it were not set: {said}");
    let output = sandshell_with(&["exec", "true"], &[("SANDSHELL_SERVER", "")]);
    assert!(output.status.success(), "{output:?}");
}

/// What says a pull that fails: its own words, and not that the server is out of reach.
#[test]
fn a_pull_that_fails() {
    let image = format!("localhost:{}/nothing:1", free_port());
    let got = sandshell(&["run", "--server", &Runtime::Docker.shared().url(), "--image", &image, "true"]);
    let said = String::from_utf8_lossy(&got.stderr).into_owned();
    assert!(got.status.code() == Some(125) && said.starts_with("sandshell: the Docker daemon did not pull"), "{said}");
    assert!(said.contains(&image) && !said.contains("cannot be reached"), "{said}");
}

/// Ends of `serve` that cannot use its database.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let serve = |url: &str, named: &[&str]| {
        refuses(&["serve", "--listen", "0", "--data-dir", data.to_str().unwrap(), "--database", url], named);
    };
    let port = free_port();
    let url = format!("postgres://me:secret@127.0.0.1:{port}/sandshell");
    serve(&url, &["refused", "no PostgreSQL answers there: start it", "--database", "SANDSHELL_DATABASE"]);
    let said = sandshell(&["key", "list", "--database", &url]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("no PostgreSQL answers there") && !said.contains("secret"), "{said}");
    let postgres = Postgres::start().await;
    let unknown = postgres.url().replace("/postgres?", "/nosuch?");
    serve(&unknown, &["nosuch", "create the database first (`createdb NAME`)"]);
}

#[test]
fn an_image_of_a_registry_where_there_are_none() {
    refuses(
        &["run", "--image", "debian:bookworm", "true"],
        &["debian:bookworm", "no images of registries", "--runtime docker"],
    );
    refuses(
        &["run", "--image", "team/debian:1", "true"],
        &["team/debian:1", "image of a registry", "--runtime docker"],
    );
    let url = shared().url();
    refuses(
        &["run", "--server", &url, "--image", "team/debian:1", "true"],
        &["no images of registries", "--runtime docker"],
    );
    // What cannot be a name of a registry's is not taken for one.
    let said = sandshell(&["run", "--server", &url, "--image", "not a name", "true"]);
    assert!(!String::from_utf8_lossy(&said.stderr).contains("registries"), "{said:?}");
}

#[test]
fn a_name_that_the_certificate_has_not() {
    let (authority, dir) = (Authority::new(), tempfile::tempdir().unwrap());
    let Pair { certificate, key } = authority.sign(&["sandbox.example.com"]);
    let certificate = write(dir.path(), "server.pem", &certificate);
    let key = write(dir.path(), "server.key", &key);
    let ca = write(dir.path(), "ca.pem", &authority.pem);
    let args = ["--tls-cert", &certificate, "--tls-key", &key].map(str::to_owned).to_vec();
    let server = Server::start(Options { args, ..Default::default() });
    let url = format!("https://{}", server.address());
    refuses(
        &["run", "--server", &url, "--ca", &ca, "true"],
        &["sandbox.example.com", "connect by a name that the certificate has", "a certificate for this name"],
    );
    // Of an unknown authority it is the authority that is missing.
    let other = write(dir.path(), "other.pem", &Authority::new().pem);
    refuses(
        &["run", "--server", &url, "--ca", &other, "true"],
        &["name the authority that its certificate is of with --ca"],
    );
}
