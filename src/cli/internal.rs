//! Hidden subcommands: what Sandshell starts of itself.

use crate::{
    agent::{self, Handed, Peers},
    runtime::docker,
};
use clap::Args;
use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    path::PathBuf,
    process::ExitCode,
};

/// What a runtime gives the agent, in one of three ways: descriptors, a socket that gives them, or files.
#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// The listening socket.
    #[arg(long, requires = "config_fd", required_unless_present_any = ["start_socket", "start_config"])]
    listen_fd: Option<RawFd>,
    /// Its configuration.
    #[arg(long)]
    config_fd: Option<RawFd>,
    /// Where the kernel counts processes killed for memory.
    #[arg(long)]
    oom_fd: Option<RawFd>,
    /// Where it writes what programs see read-only.
    #[arg(long)]
    private_fd: Option<RawFd>,
    /// Where the server hands both over.
    #[arg(long, conflicts_with = "listen_fd")]
    start_socket: Option<PathBuf>,
    /// The configuration as a file.
    #[arg(long, requires = "socket", conflicts_with = "listen_fd")]
    start_config: Option<PathBuf>,
    /// Where to listen then.
    #[arg(long)]
    socket: Option<PathBuf>,
}

/// What the agent tells the program for files. It gets connections through its standard input.
#[derive(Debug, Args)]
pub(super) struct FilesArgs {
    /// Where relative paths begin. Without it: where it was started.
    #[arg(long)]
    working_directory: Option<PathBuf>,
    /// The sandbox's memory limit.
    #[arg(long)]
    memory_bytes: Option<u64>,
    /// As whom calls work that name nobody.
    #[arg(long, default_value = "")]
    user: String,
}

/// Descriptors of the zygote, opened by the server.
#[derive(Debug, Args)]
pub(super) struct ZygoteArgs {
    /// The socket on which it is told what to make.
    #[arg(long)]
    control_fd: RawFd,
}

/// What a relay connects to.
#[derive(Debug, Args)]
pub(super) struct RelayArgs {
    /// The agent's socket.
    socket: PathBuf,
}

/// Runs the agent.
pub(super) fn agent(args: AgentArgs) -> ExitCode {
    // Its standard error is kept for the operator.
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).with_writer(io::stderr).init();
    match given(args) {
        Ok(handed) => agent::main(handed),
        Err(error) => {
            tracing::error!(%error, "the agent was given nothing to start from");
            ExitCode::FAILURE
        }
    }
}

fn given(args: AgentArgs) -> io::Result<Handed> {
    let from = |received: docker::Received, peers| Handed {
        listener: received.listener,
        config: received.config,
        oom: received.oom,
        private: received.private,
        peers,
    };
    match args {
        AgentArgs { listen_fd: Some(listen), config_fd: Some(config), oom_fd, private_fd, .. } => Ok(Handed {
            listener: handed(listen).into(),
            config: handed(config).into(),
            oom: oom_fd.map(|fd| handed(fd).into()),
            private: private_fd.map(handed),
            peers: Peers::Any,
        }),
        AgentArgs { start_socket: Some(path), .. } => Ok(from(docker::receive(&path)?, Peers::Any)),
        AgentArgs { start_config: Some(config), socket: Some(socket), .. } => {
            Ok(from(docker::unpack(&config, &socket)?, Peers::FromOutside))
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn handed(fd: RawFd) -> OwnedFd {
    // SAFETY: the runtime opened this descriptor for the agent, and nothing else in this process knows its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Runs the program for files.
pub(super) fn files(args: FilesArgs) -> ExitCode {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).with_writer(io::stderr).init();
    let FilesArgs { working_directory, memory_bytes, user } = args;
    let settings = agent::file::Settings { working_directory, memory_bytes, user };
    match rustix::io::dup(rustix::stdio::stdin()) {
        Ok(agent) => agent::file::main(agent, &settings),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs the zygote.
pub(super) fn zygote(args: &ZygoteArgs) -> ExitCode {
    crate::runtime::linux::zygote_main(args.control_fd)
}

/// Runs a relay.
pub(super) fn relay(args: &RelayArgs) -> ExitCode {
    docker::relay_main(&args.socket)
}
