//! TLS: a server shows its certificate, and may ask clients for theirs.

use crate::kit::{
    Options, Server,
    certificates::{Authority, Pair, write},
    cli::sandshell_with,
    errors::expect_error,
    v1, within,
};
use std::{error::Error, path::Path};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{
    Code,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};
use v1::sandbox_service_client::SandboxServiceClient;

/// A server with a certificate, and the authority that made it.
struct Kit {
    server: Server,
    authority: Authority,
    dir: TempDir,
}

impl Kit {
    /// With the authority of its clients, if it asks them for certificates.
    fn new(clients: Option<&Authority>) -> Self {
        let (authority, dir) = (Authority::new(), tempfile::tempdir().unwrap());
        let Pair { certificate, key } = authority.sign(&["localhost", "127.0.0.1"]);
        let certificate = write(dir.path(), "server.pem", &certificate);
        let key = write(dir.path(), "server.key", &key);
        let mut args = ["--tls-cert", &certificate, "--tls-key", &key].map(str::to_owned).to_vec();
        if let Some(clients) = clients {
            args.extend(["--client-ca".to_owned(), write(dir.path(), "clients.pem", &clients.pem)]);
        }
        Self { server: Server::start(Options { args, ..Default::default() }), authority, dir }
    }

    fn url(&self) -> String {
        format!("https://{}", self.server.address())
    }

    fn trusting(authority: &Authority) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem))
    }

    /// Whether a call is answered.
    async fn answers(&self, tls: ClientTlsConfig) -> Result<(), Box<dyn Error>> {
        let endpoint = Endpoint::from_shared(self.url())?.tls_config(tls)?;
        within("an answer or a refusal", list(endpoint)).await
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

async fn list(endpoint: Endpoint) -> Result<(), Box<dyn Error>> {
    let mut sandboxes = SandboxServiceClient::new(endpoint.connect().await?);
    sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await?;
    Ok(())
}

/// As tonic's client takes it.
fn identity(pair: &Pair) -> Identity {
    Identity::from_pem(&pair.certificate, &pair.key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_whom_the_client_trusts_is_spoken_with() {
    let kit = Kit::new(None);
    kit.answers(Kit::trusting(&kit.authority)).await.expect("the authority is right");
    kit.answers(Kit::trusting(&Authority::new())).await.expect_err("another authority");
    kit.answers(Kit::trusting(&kit.authority).domain_name("example.com")).await.expect_err("another name");
    let plain = Endpoint::from_shared(kit.server.url()).unwrap();
    within("a refusal", list(plain)).await.expect_err("nothing but TLS is spoken");
    // Whoever was refused has disturbed nobody.
    kit.answers(Kit::trusting(&kit.authority)).await.expect("the authority is right");
}

/// What is answered to these bytes, until the end of the connection.
async fn answer_to(address: &str, said: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    within("the end of the connection", stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_speaks_the_other_of_the_two_is_told_what_to_write() {
    let kit = Kit::new(None);
    let channel = Endpoint::from_shared(kit.server.url()).unwrap().connect().await.expect("somebody listens");
    let mut client = SandboxServiceClient::new(channel);
    let call = client.list_sandboxes(v1::ListSandboxesRequest::default());
    let status = within("an answer", call).await.expect_err("nothing but TLS is spoken");
    expect_error(&status, Code::FailedPrecondition, "TLS_REQUIRED");
    assert!(status.message().contains("write https:// instead of http://"), "{status:?}");

    let said = answer_to(kit.server.address(), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("write https:// instead of http://"), "{said}");
    // The first record of a greeting, to a server that has no TLS.
    let said = answer_to(crate::kit::shared().address(), &[22, 3, 1, 0, 2, 1, 0]).await;
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("write http:// instead of https://"), "{said}");

    kit.answers(Kit::trusting(&kit.authority)).await.expect("who speaks TLS is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clients_show_certificates_where_they_must() {
    let clients = Authority::new();
    let kit = Kit::new(Some(&clients));
    let with = |pair: &Pair| Kit::trusting(&kit.authority).identity(identity(pair));
    kit.answers(with(&clients.sign(&["somebody"]))).await.expect("the certificate is right");
    kit.answers(Kit::trusting(&kit.authority)).await.expect_err("no certificate");
    kit.answers(with(&Authority::new().sign(&["somebody"]))).await.expect_err("another authority's certificate");
    kit.answers(with(&kit.authority.sign(&["somebody"])))
        .await
        .expect_err("the server's authority is not the clients'");
}

#[test]
fn the_command_line_speaks_it_too() {
    let clients = Authority::new();
    let kit = Kit::new(Some(&clients));
    let Pair { certificate, key } = clients.sign(&["somebody"]);
    let (certificate, key) = (write(kit.path(), "me.pem", &certificate), write(kit.path(), "me.key", &key));
    let ca = write(kit.path(), "ca.pem", &kit.authority.pem);
    let other = write(kit.path(), "other.pem", &Authority::new().pem);
    let url = kit.url();
    let run = |more: &[&str], environment: &[(&str, &str)]| {
        let output = sandshell_with(&[&["run", "--server", &url, "echo ran"], more].concat(), environment);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        if output.status.success() { Ok(output.stdout) } else { Err(said) }
    };
    let me = ["--cert", &certificate, "--cert-key", &key];
    assert_eq!(run(&me, &[("SANDSHELL_CA", &ca)]).expect("all is right"), b"ran\n");
    let said = run(&[&me[..], &["--ca", &other]].concat(), &[]).unwrap_err();
    assert!(said.contains("UnknownIssuer") && said.contains("--ca"), "{said}");
    let said = run(&["--ca", &ca], &[]).unwrap_err();
    // Whether the reason still comes through before the end is a race.
    assert!(said.contains("connection to the server broke"), "{said}");
    let said = run(&["--ca", &key], &[]).unwrap_err();
    assert!(said.contains(&key) && said.contains("BEGIN CERTIFICATE"), "{said}");
    let said = run(&["--ca", &ca, "--cert", &certificate], &[]).unwrap_err();
    assert!(said.contains("--cert-key"), "{said}");
    // The wrong scheme, either way.
    let plainly = sandshell_with(&["run", "--server", &kit.server.url(), "true"], &[]);
    let said = String::from_utf8_lossy(&plainly.stderr);
    assert!(!plainly.status.success() && said.contains("write https:// instead of http://"), "{said}");
    let encrypted = format!("https://{}", crate::kit::shared().address());
    let output = sandshell_with(&["run", "--server", &encrypted, "true"], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("write http:// instead of https://"), "{said}");
}
