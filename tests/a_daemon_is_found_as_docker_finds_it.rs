//! Which daemon makes the containers is said where Docker's own tools have it said, by DOCKER_HOST or a context, and it is
//! reached as they reach it: by a socket, TCP, TLS or SSH. What is wrong is said at the start.

use crate::kit::{
    Options, Server,
    certificates::{self, Authority},
    create_sandbox,
    docker::{self, Docker, shared_docker, works},
    host,
    sshd::Sshd,
    v1, within,
};
use std::{
    fs,
    path::Path,
    process::{Command, ExitStatus},
};

/// How a server on Docker is started in an environment. An empty value is none.
fn options(environment: &[(&str, &str)]) -> Options {
    let mut env: Vec<_> = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    if !environment.iter().any(|(name, _)| *name == "DOCKER_HOST") {
        env.push(("DOCKER_HOST".into(), String::new()));
    }
    Options { args: ["--runtime", "docker"].map(str::to_owned).to_vec(), env, ..Options::default() }
}

/// What a server says that does not start in an environment.
#[track_caller]
fn refused(environment: &[(&str, &str)], words: &[&str]) {
    let Err((status, log)) = Server::try_start(options(environment)) else { panic!("it started in {environment:?}") };
    assert_eq!(ExitStatus::code(&status), Some(125), "{log}");
    for word in words {
        assert!(log.contains(word), "{environment:?} should be told {word:?}, and is told:\n{log}");
    }
}

/// Files as Docker's tools name them, in a folder of this name.
fn folder(dir: &Path, name: &str, files: &[(&str, &str)]) -> String {
    let folder = dir.join(name);
    fs::create_dir(&folder).unwrap();
    for (name, text) in files {
        certificates::write(&folder, name, text);
    }
    folder.display().to_string()
}

/// Makes a context with Docker's own command line.
fn make_context(config: &Path, name: &str, endpoint: &str) {
    let mut docker = Command::new("docker");
    docker.env("DOCKER_CONFIG", config).args(["context", "create", name, "--docker", endpoint]);
    let output = docker.output().expect("docker");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, anothers) = (Authority::new(), Authority::new());
    let (daemons, clients) = (ours.sign(&["127.0.0.1"]), ours.sign(&["client"]));
    let file = |name: &str, text: &str| certificates::write(dir.path(), name, text);
    let ca = format!("--tlscacert={}", file("ca", &ours.pem));
    let certificate = format!("--tlscert={}", file("certificate", &daemons.certificate));
    let key = format!("--tlskey={}", file("key", &daemons.key));
    let docker = Docker::own(&["-H", "tcp://127.0.0.1:2376", "--tlsverify", &ca, &certificate, &key]);
    let address = format!("tcp://{}", docker.forward(2376));

    let whole = [("ca.pem", &*ours.pem), ("cert.pem", &clients.certificate), ("key.pem", &clients.key)];
    let good = folder(dir.path(), "good", &whole);
    let env =
        |certificates| [("DOCKER_HOST", &*address), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", certificates)];
    works(&Server::start(options(&env(&good)))).await;
    // Docker's tools look into their configuration when DOCKER_CERT_PATH is not set, and without VERIFY they verify nothing.
    let config = [("DOCKER_HOST", &*address), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CONFIG", &good)];
    drop(Server::start(options(&config)));
    let unverified = folder(dir.path(), "unverified", &whole[1..]);
    drop(Server::start(options(&[("DOCKER_HOST", &address), ("DOCKER_TLS", "1"), ("DOCKER_CERT_PATH", &unverified)])));

    let wrong_ca = folder(dir.path(), "wrong-ca", &[("ca.pem", &anothers.pem), whole[1], whole[2]]);
    refused(&env(&wrong_ca), &["no trusted connection", &address, "UnknownIssuer", &wrong_ca]);
    let nobody = folder(dir.path(), "nobody", &whole[..1]);
    refused(&env(&nobody), &["no trusted connection", &address, &nobody, "no cert.pem and key.pem"]);
    let stranger = anothers.sign(&["client"]);
    let pair = [whole[0], ("cert.pem", &*stranger.certificate), ("key.pem", &*stranger.key)];
    let strangers = folder(dir.path(), "strangers", &pair);
    refused(&env(&strangers), &["no trusted connection", &address, &strangers]);
    let half = folder(dir.path(), "half", &whole[..2]);
    refused(&env(&half), &[&format!("{half}/key.pem")]);
    let mixed = folder(dir.path(), "mixed", &[whole[0], whole[1], ("key.pem", &*stranger.key)]);
    refused(&env(&mixed), &[&format!("{mixed}/key.pem")]);
    refused(&env("/nonexistent"), &["/nonexistent/ca.pem"]);
    let renamed = address.replace("127.0.0.1", "localhost");
    refused(
        &[("DOCKER_HOST", &renamed), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", &good)],
        &["not valid for name"],
    );
    refused(&[("DOCKER_HOST", &address)], &["HTTP request to an HTTPS server"]);

    // The same as a context, with the files inside it.
    let contexts = dir.path().join("contexts");
    let endpoint = format!("host={address},ca={good}/ca.pem,cert={good}/cert.pem,key={good}/key.pem");
    make_context(&contexts, "secure", &endpoint);
    make_context(
        &contexts,
        "trusting",
        &format!("host={address},skip-tls-verify=true,cert={good}/cert.pem,key={good}/key.pem"),
    );
    make_context(&contexts, "suspicious", &format!("host={address},ca={wrong_ca}/ca.pem"));
    let contexts = contexts.to_str().unwrap();
    works(&Server::start(options(&[("DOCKER_CONFIG", contexts), ("DOCKER_CONTEXT", "secure")]))).await;
    drop(Server::start(options(&[("DOCKER_CONFIG", contexts), ("DOCKER_CONTEXT", "trusting")])));
    refused(&[("DOCKER_CONFIG", contexts), ("DOCKER_CONTEXT", "suspicious")], &["UnknownIssuer", "\"suspicious\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ssh() {
    let sshd = Sshd::start(shared_docker()).await;
    let (address, path) = (sshd.host(), sshd.path("key", "known_hosts"));
    let server = Server::start(options(&[("DOCKER_HOST", &address), ("PATH", &path)]));
    works(&server).await;
    // More questions at once than sshd lets log in at one time.
    let busybox = v1::CreateSandboxRequest { image: docker::BUSYBOX.to_owned(), ..Default::default() };
    let s = create_sandbox(&server, busybox).await;
    let asked = (0..40).map(|_| async {
        let request = v1::GetSandboxStatsRequest { sandbox_id: s.id.clone() };
        s.clients.sandboxes.clone().get_sandbox_stats(request).await.expect("an answer");
    });
    within("all answers", futures_util::future::join_all(asked)).await;
    s.run("echo $((6 * 7))").await.expect("42\n", "", 0);
    let id = s.id.clone();
    drop(s);
    server.stop();
    assert_eq!(shared_docker().container(&id), "");
    let port = address.rsplit(':').next().unwrap();
    within::until("the end of every ssh", async || host::with_argument(&format!("-p {port} -- 127.0.0.1")).is_empty())
        .await;

    fn env<'a>(address: &'a str, path: &'a str) -> [(&'static str, &'a str); 2] {
        [("DOCKER_HOST", address), ("PATH", path)]
    }
    let (stranger, unknown) = (sshd.path("another_key", "known_hosts"), sshd.path("key", "no_hosts"));
    refused(&env(&address, &stranger), &[&address, "Permission denied (publickey)"]);
    refused(&env(&address, &unknown), &[&address, "Host key verification failed"]);
    refused(&env(&address, "/nonexistent"), &[&address, "install OpenSSH's client"]);
    let elsewhere = format!("{address}/nonexistent/docker.sock");
    refused(&[("DOCKER_HOST", &elsewhere), ("PATH", &path)], &["/nonexistent/docker.sock"]);
    drop(sshd);
    refused(&env(&address, &path), &[&address, "Connection refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_context() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().to_str().unwrap();
    make_context(dir.path(), "here", &format!("host={}", shared_docker().host()));
    make_context(dir.path(), "gone", "host=unix:///nonexistent/docker.sock");
    works(&Server::start(options(&[("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "here")]))).await;
    let used = Command::new("docker").env("DOCKER_CONFIG", dir.path()).args(["context", "use", "here"]).output();
    assert!(used.expect("docker").status.success());
    drop(Server::start(options(&[("DOCKER_CONFIG", config)])));
    // DOCKER_CONTEXT outdoes the context in use, and DOCKER_HOST both.
    let gone = [("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "gone")];
    refused(&gone, &["no Docker daemon answers at unix:///nonexistent/docker.sock", "\"gone\""]);
    let host = shared_docker().host();
    drop(Server::start(options(&[("DOCKER_HOST", &host), gone[0], gone[1]])));
    // One that was removed while it was in use.
    fs::remove_dir_all(dir.path().join("contexts")).unwrap();
    let file = format!("{config}/config.json");
    refused(
        &[("DOCKER_CONFIG", config)],
        &["no Docker context \"here\"", &file, "contexts/meta/", "docker context create"],
    );
    // `default` is none of them.
    fs::write(&file, r#"{"currentContext": "default"}"#).unwrap();
    refused(&[("DOCKER_CONFIG", config), ("DOCKER_HOST", "tcp://127.0.0.1:9")], &["tcp://127.0.0.1:9"]);
    fs::write(&file, "{").unwrap();
    refused(&[("DOCKER_CONFIG", config)], &[&file]);
}

#[tokio::test]
async fn what_is_no_address_is_refused_with_the_remedy() {
    for (host, words) in [
        ("/var/run/docker.sock", &["DOCKER_HOST=/var/run/docker.sock", "unix:///var/run/docker.sock"][..]),
        ("https://127.0.0.1:2376", &["tcp://127.0.0.1:2376", "DOCKER_TLS_VERIFY"]),
        ("npipe:////./pipe/docker_engine", &["npipe://"]),
        ("127.0.0.1:9", &["no Docker daemon answers at tcp://127.0.0.1:9"]),
        ("tcp://nosuch.invalid:2375", &["no Docker daemon answers at tcp://nosuch.invalid:2375"]),
    ] {
        refused(&[("DOCKER_HOST", host)], words);
    }
}

#[tokio::test]
async fn doctor_says_it_too() {
    let output = crate::kit::cli::sandshell_with(
        &["doctor", "--runtime", "docker"],
        &[("DOCKER_HOST", ""), ("DOCKER_CONFIG", "/nonexistent"), ("DOCKER_CONTEXT", "away")],
    );
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("no Docker context \"away\""), "{said}");
}
