//! The program inside a sandbox that owns its sessions and commands, and what lives and dies with them.
//!
//! It has one thread: forking a shell is safe then, and it costs little memory in each of many sandboxes.

mod asked;
mod calls;
mod code;
mod command;
pub mod config;
pub mod file;
mod host;
mod line;
mod output;
mod peers;
mod program;
mod resources;
mod session;
mod shell;
mod users;

use config::AgentConfig;
pub use peers::Peers;
use std::{
    fs::File,
    io,
    io::Read,
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::ExitCode,
    sync::Arc,
};
use tokio::signal::unix::{SignalKind, signal};

/// What the agent is handed when it starts.
pub struct Handed {
    /// Where the server connects.
    pub listener: UnixListener,
    /// [`AgentConfig`] as JSON.
    pub config: File,
    /// The cgroup file that counts out-of-memory kills.
    pub oom: Option<File>,
    /// Where the agent writes what programs see, read-only, at `/run/sandshell`.
    pub private: Option<OwnedFd>,
    /// Who may connect.
    pub peers: Peers,
}

/// Why the agent cannot serve.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("read the configuration: {0}")]
    Config(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the agent until it is killed.
pub fn main(handed: Handed) -> ExitCode {
    match serve(handed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the agent ends");
            ExitCode::FAILURE
        }
    }
}

fn serve(handed: Handed) -> Result<(), Failure> {
    shell::protect();
    shell::bind_this_process()?;
    let mut text = String::new();
    let mut config = handed.config;
    config.read_to_string(&mut text)?;
    let config: AgentConfig = serde_json::from_str(&text)?;
    handed.listener.set_nonblocking(true)?;
    let directories = shell::Directories::open(handed.private)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut children = signal(SignalKind::child())?;
        tokio::spawn(async move {
            loop {
                shell::reap();
                children.recv().await;
            }
        });
        let listener = tokio::net::UnixListener::from_std(handed.listener)?;
        let files = calls::file_process::FileProcess::new(&config);
        let sessions =
            Arc::new(session::sessions::Sessions::new(config, directories, host::oom::OomCounter::new(handed.oom)));
        tokio::spawn(host::memory::trim_when_quiet(sessions.activity().clone()));
        if sessions.config.background_is_activity {
            tokio::spawn(session::programs::count_background(Arc::clone(&sessions)));
        }
        let incoming = calls::connections::take(listener, handed.peers, files);
        calls::service::Service { sessions }.serve(incoming).await;
        Ok(())
    })
}
