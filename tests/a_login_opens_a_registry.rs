//! What `docker login` left, or a credential helper knows, opens a registry that wants to know who asks.
//!
//! (On many threads, so that connections end while a test waits for the end of a server.)

use crate::kit::{
    Options, Server, create_sandbox,
    docker::{BUSYBOX, shared_docker},
    errors::expect_error,
    host,
    registry::free_port,
    server::spawn_bound_to_us,
    sshd::program,
    token, v1, within,
};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};
use tonic::{Code, Status};

/// Who is let in.
const NAME: &str = "ada";
const PASSWORD: &str = "let me in";
/// The same for the registry.
const HTPASSWD: &str = "ada:$2b$05$4P5bRh/DoqIfORqxvVO0Xu0GVTAfH3EKnX48GCCLhI0E.Ew3DAzU.\n";

/// A registry beside the daemon that wants a login. Ended with the value.
struct Registry {
    process: Child,
    host: String,
    _dir: tempfile::TempDir,
}

impl Registry {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (config, users) = (dir.path().join("config.yml"), dir.path().join("htpasswd"));
        let host = format!("localhost:{}", free_port());
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {}\nauth:\n  htpasswd:\n    \
             realm: test\n    path: {}\n",
            dir.path().join("data").display(),
            host.replace("localhost", "127.0.0.1"),
            users.display(),
        );
        fs::write(&config, text).expect("a configuration");
        fs::write(&users, HTPASSWD).expect("users");
        let mut command = shared_docker().beside("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let this = Self { process: spawn_bound_to_us(command, None), host, _dir: dir };
        within::until("a login", async || this.login(this._dir.path(), PASSWORD).status.success()).await;
        this
    }

    /// Leaves a login in a folder, as a person does, if the registry takes it.
    fn login(&self, folder: &Path, password: &str) -> Output {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", shared_docker().host()).env("DOCKER_CONFIG", folder);
        docker.args(["login", "-u", NAME, "-p", password, &self.host]).output().expect("docker")
    }

    /// Leaves an image there and nowhere else, and gives its name.
    fn hold(&self) -> String {
        let name = format!("{}/{}", self.host, token());
        shared_docker().run(&["tag", BUSYBOX, &name]);
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", shared_docker().host()).env("DOCKER_CONFIG", self._dir.path());
        let output = docker.args(["push", "-q", &name]).output().expect("docker");
        assert!(output.status.success(), "{output:?}");
        shared_docker().run(&["rmi", &name]);
        name
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server whose user has this as `config.json`, and these programs.
struct With {
    server: Server,
    dir: tempfile::TempDir,
}

fn with(config: &str, programs: &[(&str, &str)]) -> With {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("config.json"), config).expect("a file");
    for (name, text) in programs {
        program(&dir.path().join(name), text);
    }
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").expect("PATH"));
    let mut options: Options = shared_docker().options();
    options.env.extend([("DOCKER_CONFIG".into(), dir.path().display().to_string()), ("PATH".into(), path)]);
    options.args.extend(["--runtime-option", "pull-stall=3"].map(str::to_owned));
    With { server: Server::start(options), dir }
}

impl With {
    async fn pulls(&self, image: &str) {
        let request = v1::CreateSandboxRequest { image: image.to_owned(), ..Default::default() };
        create_sandbox(&self.server, request).await.run("echo yes").await.expect("yes\n", "", 0);
        shared_docker().run(&["rmi", "-f", image]);
    }

    async fn is_refused(&self, image: &str) -> Status {
        let request = v1::CreateSandboxRequest { image: image.to_owned(), ..Default::default() };
        let mut clients = self.server.connect().await;
        within("a refusal", clients.sandboxes.create_sandbox(request)).await.expect_err("nobody may pull it")
    }

    async fn is_denied(&self, image: &str) {
        let status = self.is_refused(image).await;
        expect_error(&status, Code::NotFound, "IMAGE_NOT_FOUND");
        assert!(status.message().contains("access was denied"), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_in_the_file() {
    let registry = Registry::start().await;
    let image = registry.hold();
    let with = with("{}", &[]);
    with.is_denied(&image).await;
    // The file is read anew for each pull: a login needs no restart.
    let login = registry.login(with.dir.path(), PASSWORD);
    assert!(login.status.success(), "{login:?}");
    with.pulls(&image).await;
    // A password that does not hold any more.
    let config = with.dir.path().join("config.json");
    let wrong = fs::read_to_string(&config).unwrap().replace("YWRhOmxldCBtZSBpbg==", "YWRhOmxldCBtZSBvdXQ=");
    fs::write(&config, wrong).unwrap();
    with.is_denied(&image).await;
    fs::write(&config, r#"{"auths": {"HOST": {"auth": "?"}}}"#.replace("HOST", &registry.host)).unwrap();
    let status = with.is_refused(&image).await;
    assert!(status.message().contains("config.json"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_helper() {
    let registry = Registry::start().await;
    let image = registry.hold();
    let answer =
        |password: &str| format!(r#"echo '{{"ServerURL":"'$server'","Username":"{NAME}","Secret":"{password}"}}'"#);
    // It is asked for this registry, and for nothing else.
    let asks = format!("[ \"$1\" = get ] && read -r server || [ \"$server\" = {} ] || exit 1\n", registry.host);
    let nothing = "echo credentials not found in native keychain; exit 1";
    let one = |name: &str| format!(r#"{{"credHelpers": {{"{}": "{name}"}}, "credsStore": "none"}}"#, registry.host);
    let right =
        [("docker-credential-right", &*(asks.clone() + &answer(PASSWORD))), ("docker-credential-none", nothing)];
    with(r#"{"credsStore": "right"}"#, &right).pulls(&image).await;
    with(&one("right"), &right).pulls(&image).await;
    // It need not listen.
    with(r#"{"credsStore": "deaf"}"#, &[("docker-credential-deaf", &answer(PASSWORD))]).pulls(&image).await;

    with(r#"{"credsStore": "none"}"#, &right).is_denied(&image).await;
    with(r#"{"credsStore": "wrong"}"#, &[("docker-credential-wrong", &answer("let me out"))]).is_denied(&image).await;
    for (helper, text, said) in [
        ("broken", "echo the keychain is locked; exit 1", "the keychain is locked"),
        ("silent", "exit 7", "7"),
        ("chatty", "echo hello", "expected value"),
        // What it has started holds its output open, too.
        ("hanging", "sleep 1000.5 & wait", "no answer for 3s"),
        ("absent", "", "No such file"),
    ] {
        let name = format!("docker-credential-{helper}");
        let programs: &[_] = if helper == "absent" { &[] } else { &[(&*name, text)] };
        let status = with(&one(helper), programs).is_refused(&image).await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains(&name) && status.message().contains(said), "{status:?}");
    }
    within::until("nothing left of a helper", async || host::with_argument("sleep 1000.5").is_empty()).await;
    // The image is the only thing that needs it.
    let request = v1::CreateSandboxRequest { image: BUSYBOX.to_owned(), ..Default::default() };
    create_sandbox(&with(&one("broken"), &[]).server, request).await.run("echo yes").await.expect("yes\n", "", 0);
}
