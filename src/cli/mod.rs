//! The command line: a file per subcommand.

mod client;
mod code;
mod config;
mod creation;
mod credentials;
mod database;
mod doctor;
mod ended;
mod error;
mod exec;
mod exposure;
mod files;
mod follow;
mod internal;
mod janitor;
mod key;
mod launch;
mod listen;
mod log;
mod processes;
mod progress;
mod run;
mod serve;
mod shell;
mod span;
mod table;
mod tenant;
mod terminal;
mod trees;

use clap::{Parser, Subcommand};
use error::CliError;
use std::{process::ExitCode, time::Duration};

/// Exit code when Sandshell itself fails, as env(1) and docker(1) have it: no command uses it by habit.
const FAILED: u8 = 125;

/// How long threads may take to end once their work is done.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// Run a piece of code in a language, in an interpreter that may keep its variables.
    Code(code::Args),
    /// Run one program with its arguments, exactly as given, without a shell.
    Exec(exec::Args),
    /// Open an interactive shell in a sandbox.
    Shell(shell::Args),
    /// List the processes of a session or of a command.
    Ps(processes::PsArgs),
    /// Send a signal to a process of a session.
    Kill(processes::KillArgs),
    /// List a directory of a sandbox.
    Ls(files::LsArgs),
    /// Print a file of a sandbox.
    Cat(files::CatArgs),
    /// Copy a file or a directory into a sandbox or out of it.
    Cp(files::CpArgs),
    /// Make, list and revoke API keys.
    Key(key::Args),
    /// List tenants and set their limits.
    Tenant(tenant::Args),
    /// Say what each runtime can do on this host, what is missing, and how to get it.
    Doctor(doctor::Args),
    /// The program inside every sandbox.
    #[command(hide = true)]
    Agent(internal::AgentArgs),
    /// The program beside the agent that works on files.
    #[command(hide = true)]
    Files(internal::FilesArgs),
    /// The process that makes sandboxes.
    #[command(hide = true)]
    Zygote(internal::ZygoteArgs),
    /// The program that carries bytes to an agent that is elsewhere.
    #[command(hide = true)]
    Relay(internal::RelayArgs),
    /// The process that clears up after a private server.
    #[command(hide = true)]
    Janitor(janitor::Args),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    // No thread and no tokio runtime exists here: the agent and the zygote fork, and need it so.
    let outcome = match Cli::parse().command {
        Command::Agent(args) => return internal::agent(args),
        Command::Files(args) => return internal::files(args),
        Command::Zygote(args) => return internal::zygote(&args),
        Command::Relay(args) => return internal::relay(&args),
        Command::Serve(args) => serve::main(args).map(|()| ExitCode::SUCCESS),
        Command::Run(args) => run::main(args),
        Command::Code(args) => code::main(args),
        Command::Exec(args) => exec::main(args),
        Command::Shell(args) => shell::main(args),
        Command::Ps(args) => processes::ps(&args).map(|()| ExitCode::SUCCESS),
        Command::Kill(args) => processes::kill(&args).map(|()| ExitCode::SUCCESS),
        Command::Ls(args) => files::ls(&args).map(|()| ExitCode::SUCCESS),
        Command::Cat(args) => files::cat(&args).map(|()| ExitCode::SUCCESS),
        Command::Cp(args) => files::cp(args).map(|()| ExitCode::SUCCESS),
        Command::Doctor(args) => doctor::main(&args),
        Command::Janitor(args) => janitor::main(&args),
        Command::Key(args) => key::main(args).map(|()| ExitCode::SUCCESS),
        Command::Tenant(args) => tenant::main(args).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("sandshell: {error}");
        ExitCode::from(FAILED)
    })
}

/// Runs a future on a new tokio runtime. Called only after the sandbox runtime's zygote was started, which must be forked
/// from a single thread.
fn block_on<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    // Half of the processors: whoever is served needs the others for agents and commands, and a call that is handed from
    // thread to thread costs more than it gains. Nothing blocks these threads, so one is enough.
    let workers = std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).max(1));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(|source| CliError::io("start threads", source))?;
    let outcome = runtime.block_on(future);
    // Waits until all tasks are gone, and with them the sandbox runtime, but not for a pipe that nobody reads.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    outcome
}
