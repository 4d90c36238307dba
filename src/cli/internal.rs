//! Hidden subcommands: what Sandshell starts of itself.

use clap::Args;
use std::{os::fd::RawFd, process::ExitCode};

/// Descriptors of the agent, opened by the runtime.
#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// The listening socket.
    #[arg(long)]
    listen_fd: RawFd,
    /// Its configuration.
    #[arg(long)]
    config_fd: RawFd,
    /// Where the kernel counts processes killed for memory.
    #[arg(long)]
    oom_fd: Option<RawFd>,
}

/// Descriptors of the zygote, opened by the server.
#[derive(Debug, Args)]
pub(super) struct ZygoteArgs {
    /// The socket on which it is told what to make.
    #[arg(long)]
    control_fd: RawFd,
}

/// Runs the agent.
pub(super) fn agent(args: &AgentArgs) -> ExitCode {
    eprintln!("sandshell: no agent in this build (descriptors {:?})", (args.listen_fd, args.config_fd, args.oom_fd));
    ExitCode::FAILURE
}

/// Runs the zygote.
pub(super) fn zygote(args: &ZygoteArgs) -> ExitCode {
    eprintln!("sandshell: no zygote in this build (descriptor {})", args.control_fd);
    ExitCode::FAILURE
}
