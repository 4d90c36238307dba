//! `serve` starts only where it is safe, and says what is wrong otherwise.

use crate::kit::{
    Options, Server,
    certificates::{Authority, write},
    cli::{make_key, refuses, sandshell},
    errors::expect_error,
    raw::keyed,
    v1,
};
use std::path::Path;
use tonic::Code;

const OTHERS_CAN_REACH: &str = "0.0.0.0:0";

#[test]
fn an_address_that_others_can_reach() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let serve = |address, more: &[&str], named: &[&str]| {
        refuses(&[&["serve", "--listen", address, "--data-dir", data.to_str().unwrap()], more].concat(), named);
    };
    for address in [OTHERS_CAN_REACH, "[::]:0", "192.0.2.1:0"] {
        serve(address, &[], &["no API key", "sandshell key create", "no TLS", "--tls-cert", "--tls-key", "--insecure"]);
    }
    let tls = tls_files(dir.path());
    let tls: Vec<_> = tls.iter().map(String::as_str).collect();
    serve(OTHERS_CAN_REACH, &tls, &["no API key"]);
    make_key(&data, "blue");
    serve(OTHERS_CAN_REACH, &[], &["no TLS"]);
    // With both it serves.
    let args = tls.iter().map(|&word| word.to_owned()).collect();
    Server::start(Options { listen: listen(), args, data_dir: Some(data), ..Default::default() }).stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn unless_it_is_told_to_and_even_then_keys_count() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = Some(dir.path().join("data"));
    let options = || Options {
        listen: listen(),
        args: vec!["--insecure".to_owned()],
        data_dir: data_dir.clone(),
        ..Default::default()
    };
    let list = v1::ListSandboxesRequest::default;
    let server = Server::start(options());
    server.connect().await.sandboxes.list_sandboxes(list()).await.expect("nobody has a key");
    assert!(server.log().contains("there are no keys"), "{}", server.log());
    server.stop();

    let key = make_key(data_dir.as_ref().unwrap(), "blue");
    let server = Server::start(options());
    let mut sandboxes = server.connect().await.sandboxes;
    let refused = sandboxes.list_sandboxes(list()).await.expect_err("a key is needed");
    expect_error(&refused, Code::Unauthenticated, "UNAUTHENTICATED");
    sandboxes.list_sandboxes(keyed(list(), &key)).await.expect("the key is right");
}

fn listen() -> Option<String> {
    Some(OTHERS_CAN_REACH.to_owned())
}

fn tls_files(dir: &Path) -> [String; 4] {
    let pair = Authority::new().sign(&["localhost"]);
    let (certificate, key) = (write(dir, "server.pem", &pair.certificate), write(dir, "server.key", &pair.key));
    ["--tls-cert".to_owned(), certificate, "--tls-key".to_owned(), key]
}

#[test]
fn certificates_and_keys_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let [_, certificate, _, key] = &tls_files(dir.path());
    let other = write(dir.path(), "other.key", &Authority::new().sign(&["localhost"]).key);
    let garbage = write(dir.path(), "garbage", "garbage");
    let broken = write(dir.path(), "broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let serve = |cert: &str, key: &str, more: &[&str], named: &[&str]| {
        let tls = ["serve", "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--data-dir"];
        refuses(&[&tls[..], &[data.to_str().unwrap()], more].concat(), named);
    };
    serve("/no/such/cert", key, &[], &["--tls-cert /no/such/cert", "No such file", "PEM file"]);
    serve(certificate, "/no/such/key", &[], &["--tls-key /no/such/key", "No such file", "PEM file"]);
    serve(&garbage, key, &[], &["--tls-cert", &garbage, "BEGIN CERTIFICATE"]);
    serve(&broken, key, &[], &["--tls-cert", &broken]);
    serve(certificate, &garbage, &[], &["--tls-key", &garbage, "PKCS#8"]);
    serve(certificate, &other, &[], &["--tls-key", &other, "--tls-cert", certificate, "made together"]);
    for authority in ["/no/such/ca", &garbage, &broken] {
        serve(certificate, key, &["--client-ca", authority], &["--client-ca", authority]);
    }
    // Half of it.
    let data = data.to_str().unwrap();
    refuses(&["serve", "--tls-cert", certificate, "--data-dir", data], &["--tls-key"]);
    refuses(&["serve", "--tls-key", key, "--data-dir", data], &["--tls-cert"]);
    refuses(&["serve", "--client-ca", certificate, "--data-dir", data], &["--tls-cert", "--tls-key"]);
    // From the file of options, too.
    let config = write(dir.path(), "config.toml", &format!("tls_cert = {certificate:?}\ntls_key = {other:?}\n"));
    refuses(&["serve", "--config", &config, "--data-dir", data], &["made together"]);
}

#[test]
fn options_that_make_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    refuses(&["serve", "--listen", "nowhere", "--data-dir", data], &["nowhere"]);
    refuses(&["serve", "--listen", "127.0.0.1:99999", "--data-dir", data], &["99999"]);
    refuses(&["serve", "--runtime", "nosuch", "--data-dir", data], &["nosuch", "linux"]);
    refuses(&["serve", "--config", "/no/such/file", "--data-dir", data], &["/no/such/file"]);
    refuses(&["serve", "--image-root", "/no/such/root", "--data-dir", data], &["/no/such/root"]);
    refuses(&["serve", "--data-dir", "/proc/nowhere"], &["/proc/nowhere"]);
    refuses(&["nonsense"], &["nonsense"]);
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "nonsense = 1\nlisten = 5\n").unwrap();
    // Every mistake at once.
    refuses(&["serve", "--config", config.to_str().unwrap(), "--data-dir", data], &["nonsense", "listen"]);
}

#[test]
fn a_data_directory_in_use() {
    let first = Server::start(Options::default());
    let dir = first.data_dir().to_str().unwrap().to_owned();
    refuses(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir], &[&dir]);
    // Free again, once that server has stopped.
    let own = tempfile::tempdir().unwrap();
    let options = Options { data_dir: Some(own.path().join("data")), ..Default::default() };
    Server::start(options.clone()).stop();
    Server::start(options).stop();
}

#[test]
fn a_port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    refuses(&["serve", "--listen", &address, "--data-dir", dir.path().to_str().unwrap()], &[&address]);
}

#[test]
fn what_it_is_and_can_do_is_told() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["run", "--help"], &["key", "--help"], &["--version"]] {
        let output = sandshell(arguments);
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}");
    }
    let help = String::from_utf8_lossy(&sandshell(&["--help"]).stdout).into_owned();
    for name in ["serve", "run", "shell", "key", "tenant"] {
        assert!(help.contains(name), "{help}");
    }
    assert!(!help.contains("agent"), "the agent is not for people: {help}");
}
