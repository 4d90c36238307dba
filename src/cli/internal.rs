//! Hidden subcommands: what Sandshell starts of itself.

use clap::Args;
use std::{
    os::fd::{FromRawFd, OwnedFd, RawFd},
    process::ExitCode,
};

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
    // Its standard error is a file of the sandbox, on the host.
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).with_writer(std::io::stderr).init();
    crate::agent::main(crate::agent::Handed {
        listener: handed(args.listen_fd).into(),
        config: handed(args.config_fd).into(),
        oom: args.oom_fd.map(|fd| handed(fd).into()),
    })
}

fn handed(fd: RawFd) -> OwnedFd {
    // SAFETY: the runtime opened this descriptor for the agent, and nothing else in this process knows its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Runs the zygote.
pub(super) fn zygote(args: &ZygoteArgs) -> ExitCode {
    crate::runtime::linux::zygote_main(args.control_fd)
}
