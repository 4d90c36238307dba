//! A real SSH server on this host, which lets in whoever has the key that is made with it.

use super::{docker::Docker, server::spawn_bound_to_us, within};
use std::{
    fs::{self, Permissions},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running server, ended on drop.
pub struct Sshd {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Sshd {
    /// One on whose host `docker` finds this daemon.
    pub async fn start(docker: &Docker) -> Self {
        // The user who is let in is looked for by name: "root" has no other home here either.
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        for name in ["host_key", "key", "another_key"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(name)]).status();
            assert!(made.expect("`apt-get install openssh-client`").success());
        }
        fs::copy(at("key.pub"), at("authorized_keys")).expect("a key");
        // Where sshd without privileges goes, as its package's service makes it.
        fs::create_dir_all("/run/sshd").expect("a directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             MaxStartups 10\nSetEnv DOCKER_HOST={}\n",
            at("host_key"),
            at("authorized_keys"),
            docker.host()
        );
        fs::write(at("sshd_config"), config).expect("a configuration");
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", &at("sshd_config")]).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(at("log")).expect("a log"));
        let process = spawn_bound_to_us(command, None);
        let host_key = fs::read_to_string(at("host_key.pub")).expect("a key");
        fs::write(at("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).expect("a file");
        fs::write(at("no_hosts"), "").expect("a file");
        let this = Self { process, port, dir };
        within::until("a greeting of sshd", async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        this
    }

    /// Where it is, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("ssh://root@127.0.0.1:{}", self.port)
    }

    /// A `PATH` whose `ssh` shows this key (`key` is let in, `another_key` is not) and knows these hosts (`known_hosts`, or
    /// `no_hosts`). ssh takes its configuration from the user's home as the system knows it, whatever `HOME` says.
    pub fn path(&self, key: &str, hosts: &str) -> String {
        let programs = self.dir.path().join(format!("{key}-{hosts}"));
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        fs::create_dir_all(&programs).expect("a directory");
        let config = format!(
            "IdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {}\nGlobalKnownHostsFile none\n\
             StrictHostKeyChecking yes\n",
            at(key),
            at(hosts)
        );
        fs::write(programs.join("config"), config).expect("a configuration");
        program(&programs.join("ssh"), &format!("exec /usr/bin/ssh -F {}/config \"$@\"", programs.display()));
        format!("{}:{}", programs.display(), std::env::var("PATH").expect("PATH"))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- sshd's log ---\n{}", fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
        }
    }
}

/// Writes a shell script.
pub fn program(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("a program");
}
