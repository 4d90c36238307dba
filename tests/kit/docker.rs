//! A real Docker daemon: its own data, socket and network, with images made of this host's programs.

use super::{
    Options, Runtime, Server, create_sandbox, host,
    within::{USUAL, ask_until},
};
use rustix::{
    fs::{FlockOperation, flock},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    fs::{self, File},
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
    thread,
};

/// An image with all shells of the contract.
pub const DEBIAN: &str = "sandshell-test/debian";
/// An image with busybox's shell and nothing else.
pub const BUSYBOX: &str = "sandshell-test/busybox";

/// A daemon that runs.
pub struct Docker {
    dir: PathBuf,
    /// The process that it lives as long as, if it is this value's own.
    life: Option<std::process::Child>,
}

/// The daemon that most tests share: with `cargo nextest` each is a process of its own, and their parent is the run.
pub fn shared_docker() -> &'static Docker {
    static SHARED: LazyLock<Docker> = LazyLock::new(|| {
        let run = rustix::process::getppid().expect("a parent").as_raw_pid();
        let base = base();
        let lock = File::create(base.join("lock")).expect("a lock");
        flock(&lock, FlockOperation::LockExclusive).expect("the lock");
        let dir = base.join(format!("run-{run}"));
        if !dir.join("ready").exists() {
            // What a run left that was killed, under a number that is used again.
            let _ = fs::remove_dir_all(&dir);
            start(&dir, run as u32, &[]);
        }
        Docker { dir, life: None }
    });
    &SHARED
}

/// The server with sandboxes on that daemon that most tests share.
pub fn shared_server() -> &'static Server {
    static SHARED: LazyLock<Server> = LazyLock::new(|| Server::start(shared_docker().options()).until_exit());
    &SHARED
}

/// How a server is started for which that daemon is on another host: by TCP, through the test that runs. There, no file and no
/// socket of this host's can be shown to a container.
pub async fn options_from_elsewhere() -> Options {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let socket = shared_docker().host().replace("unix://", "");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                let mut far = tokio::net::UnixStream::connect(socket).await.expect("the daemon");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    Options { env: vec![("DOCKER_HOST".into(), format!("tcp://{address}"))], ..shared_docker().options() }
}

/// A sandbox of this server's does all that one does.
pub async fn works(server: &Server) {
    let s = create_sandbox(server, Runtime::Docker.request()).await;
    let session = s.session("/bin/bash").await;
    session.run("cd /usr; A=1").await.expect("", "", 0);
    session.run("echo $A $PWD; echo e >&2; (exit 3)").await.expect("1 /usr\n", "e\n", 3);
    session.run("echo hello >/root/f; chown 1234:5678 /root/f; stat -c '%u %g' /root/f").await.expect(
        "1234 5678\n",
        "",
        0,
    );
    assert_eq!(session.run("seq 1 100000").await.out().lines().count(), 100_000);
    let mut running = session.exec_text("echo a; sleep 0.2; echo b").await;
    running.until_out("a\n").await;
    running.finish().await.expect("a\nb\n", "", 0);
    session.run("kill -9 $$").await;
    session.alive().await;
    s.delete().await;
}

fn base() -> PathBuf {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/docker");
    fs::create_dir_all(&base).expect("a directory for daemons");
    base
}

fn start(dir: &Path, parent: u32, options: &[&str]) {
    assert!(super::host::pids().len() > 1 && rustix::process::geteuid().is_root(), "these tests run as root");
    let log = base().join(format!("{}.log", dir.file_name().unwrap().to_string_lossy()));
    let out = File::create(&log).expect("a log");
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/dockerd"));
    command.arg(dir).arg(parent.to_string()).args(options).stdin(Stdio::null());
    command.stdout(out.try_clone().expect("a log")).stderr(out).process_group(0);
    // It ends by itself when its parent does.
    drop(command.spawn().expect("tests/docker/dockerd"));
    until_ready(dir, &|| fs::read_to_string(&log).unwrap_or_default(), || dir.join("ready").exists());
    let _ = fs::remove_file(log);
}

/// Waits for a daemon, and says what it and its starter said if it does not come.
fn until_ready(dir: &Path, starter: &dyn Fn() -> String, is_ready: impl Fn() -> bool) {
    let said = || starter() + &fs::read_to_string(dir.join("log")).unwrap_or_default();
    let ready = ask_until(USUAL * 2, || {
        assert!(!dir.join("failed").exists(), "no Docker daemon (`apt-get install docker.io`?):\n{}", said());
        is_ready().then_some(())
    });
    assert!(ready.is_some(), "a Docker daemon did not become ready:\n{}", said());
}

impl Docker {
    /// A daemon for one test alone, which may ill-treat it.
    pub fn own(options: &[&str]) -> Self {
        let life = Command::new("sleep").arg("infinity").spawn().expect("sleep");
        let dir = base().join(format!("own-{}", life.id()));
        start(&dir, life.id(), options);
        Self { dir, life: Some(life) }
    }

    /// Where it listens, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}/sock", self.dir.display())
    }

    /// How a server with sandboxes on it is started.
    pub fn options(&self) -> Options {
        Options {
            args: ["--runtime", "docker"].map(str::to_owned).to_vec(),
            env: vec![("DOCKER_HOST".into(), self.host())],
            ..Options::default()
        }
    }

    /// Runs Docker's own command line, which must succeed, and returns what it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs Docker's own command line.
    pub fn try_run(&self, arguments: &[&str]) -> Output {
        Command::new("docker").env("DOCKER_HOST", self.host()).args(arguments).output().expect("docker")
    }

    /// The container of a sandbox.
    pub fn container(&self, sandbox_id: &str) -> String {
        self.run(&["ps", "-aq", "--no-trunc", "--filter", &format!("label=sandshell.sandbox={sandbox_id}")])
    }

    /// A program that runs in the daemon's network.
    pub fn beside(&self, program: &str) -> Command {
        let network = fs::read_to_string(self.dir.join("network")).expect("the network's holder");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", network.trim())).arg(program);
        command
    }

    /// Makes a port of the daemon's network reachable from here, at the address that is returned.
    pub fn forward(&self, port: u16) -> SocketAddr {
        let network = fs::read_to_string(self.dir.join("network")).expect("the network's holder");
        let network = File::open(format!("/proc/{}/ns/net", network.trim())).expect("a network");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        // A thread that has gone there: what it connects stays there.
        thread::spawn(move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("to be root");
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (mut from, mut to) in
                    [(near.try_clone().expect("a socket"), far.try_clone().expect("a socket")), (far, near)]
                {
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        address
    }

    /// Kills the daemon, as a crash would.
    pub fn crash(&self) {
        let pid = fs::read_to_string(self.dir.join("pid")).expect("the daemon's pid").trim().parse().expect("a number");
        host::signal(pid, libc::SIGKILL);
        ask_until(USUAL, || (!host::lives(pid)).then_some(())).expect("a killed daemon's end");
    }

    /// Starts it again after a crash.
    pub fn again(&self) {
        let ask = self.dir.join("again");
        fs::write(&ask, "").expect("a file");
        until_ready(&self.dir, &String::new, || self.dir.exists() && !ask.exists());
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let Some(life) = &mut self.life else { return };
        let _ = life.kill();
        let _ = life.wait();
        // A test that fails drops this too, and must not panic once more.
        let _ = ask_until(USUAL, || (!self.dir.exists()).then_some(()));
    }
}
