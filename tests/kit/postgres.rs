//! A PostgreSQL of our own, from Debian's package, on a Unix socket.

use super::{host, server::spawn_bound_to_us, within};
use std::{
    os::unix::fs::chown,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// `nobody`: PostgreSQL refuses to run as root.
const USER: u32 = 65534;

/// A running database, ended on drop.
pub struct Postgres {
    process: Child,
    dir: tempfile::TempDir,
}

impl Postgres {
    /// Makes a database and starts it.
    pub async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("pg").tempdir().expect("a directory");
        chown(dir.path(), Some(USER), Some(USER)).expect("a directory of that user's");
        let data = dir.path().join("data");
        let mut init = Command::new(program("initdb"));
        init.args(["-A", "trust", "-U", "sandshell", "-N", "-E", "UTF8", "--locale=C", "-D"]).arg(&data);
        init.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let made = spawn_bound_to_us(init, Some(USER)).wait().expect("initdb's end");
        assert!(made.success(), "initdb: {made}");
        let process = serve(&dir);
        let postgres = Self { process, dir };
        postgres.answers().await;
        postgres
    }

    /// What `--database` takes.
    pub fn url(&self) -> String {
        format!("postgres://sandshell@localhost/postgres?host={}", self.dir.path().display())
    }

    /// Stops it at once.
    pub async fn stop(&mut self) {
        host::signal(self.process.id(), libc::SIGINT);
        within::until("the end of PostgreSQL", async || matches!(self.process.try_wait(), Ok(Some(_)))).await;
    }

    /// Starts it again.
    pub async fn start_again(&mut self) {
        self.process = serve(&self.dir);
        self.answers().await;
    }

    /// Freezes it with all its processes: connections stay, and nobody answers on them.
    pub fn freeze(&self) {
        self.signal_all(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal_all(libc::SIGCONT);
    }

    fn signal_all(&self, signal: i32) {
        let main = self.process.id();
        // The first process first, so that it starts no more.
        host::signal(main, signal);
        let children = std::fs::read_to_string(format!("/proc/{main}/task/{main}/children")).expect("its children");
        children.split_whitespace().for_each(|pid| host::signal(pid.parse().expect("a process id"), signal));
    }

    async fn answers(&self) {
        within::until("an answer of PostgreSQL", async || {
            let mut ready = Command::new(program("pg_isready"));
            ready.args(["-q", "-U", "sandshell", "-h"]).arg(self.dir.path());
            ready.status().expect("pg_isready").success()
        })
        .await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        host::signal(self.process.id(), libc::SIGINT);
        let _ = self.process.wait();
    }
}

fn serve(dir: &tempfile::TempDir) -> Child {
    let mut serve = Command::new(program("postgres"));
    serve.arg("-D").arg(dir.path().join("data")).arg("-k").arg(dir.path());
    serve.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "log_min_messages=fatal"]);
    serve.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    spawn_bound_to_us(serve, Some(USER))
}

/// Where Debian keeps programs of which several versions may be there.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("there is no {name}: run ./test, or `apt-get install postgresql`"))
}
