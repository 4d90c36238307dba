//! A real registry beside the shared Docker daemon, and a link to it that can be as slow as a test wants.

use super::{
    docker::{self, shared_docker},
    server::spawn_bound_to_us,
    token, within,
};
use std::{
    fs,
    process::{Child, Command, Stdio},
};

/// A registry, ended with the value.
pub struct Registry {
    process: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

/// A link to a registry that stops in the middle of what is large.
pub struct SlowLink {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

/// A port that nobody has taken in the daemon's network.
pub fn free_port() -> u16 {
    let ask = "import socket; print(socket.create_server(('127.0.0.1', 0)).getsockname()[1])";
    let output = shared_docker().beside("/usr/bin/python3").args(["-c", ask]).output().expect("python3");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a port")
}

impl Registry {
    /// Starts it; it answers soon.
    pub fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a directory"), free_port());
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            dir.path().join("data").display()
        );
        fs::write(&config, text).expect("a configuration");
        let mut command = shared_docker().beside("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        Self { process: spawn_bound_to_us(command, None), port, _dir: dir }
    }

    /// Takes an image away from the daemon and into the registry. Returns its name there, without the registry's.
    pub async fn take(&self, image: &str) -> String {
        let (docker, repository) = (shared_docker(), token());
        let name = format!("localhost:{}/{repository}", self.port);
        docker.run(&["tag", image, &name]);
        within::until("a push", async || docker.try_run(&["push", &name]).status.success()).await;
        docker.run(&["rmi", "-f", &name, image]);
        repository
    }

    /// Makes an image with so many bytes in it that cannot be compressed, and takes it. As [`Self::take`].
    pub async fn take_one_of(&self, bytes: usize) -> String {
        let folder = tempfile::tempdir().expect("a directory");
        let archive = folder.path().join("image.tar");
        let script = "set -e; mkdir -p $1/root/bin; cp /bin/busybox $1/root/bin/; ln -s busybox $1/root/bin/sh; \
                      head -c $2 /dev/urandom >$1/root/ballast; tar -C $1/root -cf $1/image.tar .";
        let made = Command::new("sh").args(["-c", script, "sh"]).arg(folder.path()).arg(bytes.to_string()).status();
        assert!(made.expect("sh").success());
        let name = format!("sandshell-test/{}", token());
        shared_docker().run(&["import", archive.to_str().expect("a path"), &name]);
        self.take(&name).await
    }

    /// A link that stops after so many bytes of each connection.
    pub async fn behind(&self, bytes: usize) -> SlowLink {
        let (dir, port) = (tempfile::tempdir().expect("a directory"), free_port());
        let mut command = shared_docker().beside(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/slow-link"));
        command.args([port.to_string(), self.port.to_string(), bytes.to_string()]).arg(dir.path());
        let process = spawn_bound_to_us(command, None);
        let answers = format!("http://127.0.0.1:{port}/v2/");
        within::until("a link", async || {
            shared_docker()
                .beside("curl")
                .args(["-fsS", "-m", "5", "-o", "/dev/null", &answers])
                .status()
                .is_ok_and(|s| s.success())
        })
        .await;
        SlowLink { process, port, dir }
    }

    /// The whole name of what was taken.
    pub fn name(&self, repository: &str) -> String {
        format!("localhost:{}/{repository}", self.port)
    }
}

impl SlowLink {
    /// The whole name of what was taken, by way of this link.
    pub fn name(&self, repository: &str) -> String {
        format!("localhost:{}/{repository}", self.port)
    }

    /// Lets everything pass.
    pub fn go(&self) {
        fs::write(self.dir.path().join("go"), "").expect("a file");
    }

    /// Breaks all connections off, and takes no more.
    pub fn cut(&self) {
        fs::write(self.dir.path().join("cut"), "").expect("a file");
    }

    /// How often a manifest was asked for.
    pub fn manifests(&self) -> usize {
        fs::read_to_string(self.dir.path().join("manifests")).unwrap_or_default().lines().count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An image that nobody else has, of busybox and with more said about it.
pub fn made(changes: &[&str]) -> String {
    let name = format!("sandshell-test/{}", token());
    let root = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/busybox")).output().expect("an archive");
    let archive = tempfile::NamedTempFile::new().expect("a file");
    fs::write(archive.path(), root.stdout).expect("an archive");
    let mut arguments = vec!["import"];
    arguments.extend(changes);
    arguments.extend([archive.path().to_str().expect("a path"), name.as_str()]);
    docker::shared_docker().run(&arguments);
    name
}
