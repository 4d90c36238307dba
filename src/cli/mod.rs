//! The command line: a file per subcommand.

mod client;
mod config;
mod error;
mod follow;
mod internal;
mod launch;
mod log;
mod run;
mod serve;
mod shell;
mod terminal;

use clap::{Parser, Subcommand};
use error::CliError;
use std::process::ExitCode;

/// Exit code when Sandshell itself fails, as env(1) and docker(1) have it: no command uses it by habit.
const FAILED: u8 = 125;

/// Sandboxes with shells that stay.
#[derive(Debug, Parser)]
#[command(name = "sandshell", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the gRPC API.
    Serve(serve::Args),
    /// Run commands, one after another, in one session of a fresh sandbox.
    Run(run::Args),
    /// Open an interactive shell in a sandbox.
    Shell(shell::Args),
    /// The program inside every sandbox.
    #[command(hide = true)]
    Agent(internal::AgentArgs),
    /// The process that makes sandboxes.
    #[command(hide = true)]
    Zygote(internal::ZygoteArgs),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    // No thread and no tokio runtime exists here: the agent and the zygote fork, and need it so.
    let outcome = match Cli::parse().command {
        Command::Agent(args) => return internal::agent(&args),
        Command::Zygote(args) => return internal::zygote(&args),
        Command::Serve(args) => serve::main(args).map(|()| ExitCode::SUCCESS),
        Command::Run(args) => run::main(args),
        Command::Shell(args) => shell::main(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("sandshell: {error}");
        ExitCode::from(FAILED)
    })
}

/// A tokio runtime. Made only after the sandbox runtime's zygote, which must be forked from a single thread.
fn tokio_runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let workers = std::thread::available_parallelism().map_or(2, |count| count.get().max(2));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(|source| CliError::io("start threads", source))
}
