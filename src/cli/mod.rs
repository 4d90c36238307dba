//! The command line: a file per subcommand.

mod attach;
mod changes;
mod client;
mod code;
mod config;
mod copy_target;
mod creation;
mod credentials;
mod database;
mod doctor;
mod edit;
mod ended;
mod error;
mod eval;
mod exec;
mod exposure;
mod files;
mod follow;
mod image;
mod inside;
mod internal;
mod janitor;
mod key;
mod launch;
mod left_inside;
mod listen;
mod listing;
mod log;
mod logs;
mod manual;
mod named_image;
mod overview;
mod processes;
mod progress;
mod records;
mod rm;
mod run;
mod sample;
mod sandbox;
mod sending;
mod serve;
mod serve_args;
mod shell;
mod size;
mod source_id;
mod span;
mod stats;
mod storage;
mod table;
mod tenant;
mod terminal;
mod trees;
mod verify;
mod volume;
mod wanted;
mod watch;

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
    command: Box<Public>,
}

/// What people use.
#[derive(Debug, Subcommand)]
enum Public {
    /// Serve the gRPC API.
    Serve(serve_args::Args),
    /// Run commands, one after another, in one session of a fresh sandbox.
    Run(run::Args),
    /// Run a piece of code in a language, in an interpreter that may keep its variables.
    Code(code::Args),
    /// Run one program with its arguments, exactly as given, without a shell.
    Exec(exec::Args),
    /// Open an interactive shell in a sandbox.
    Shell(shell::Args),
    /// Type commands into a session that is there, or watch it.
    Attach(attach::Args),
    /// List sandboxes with their sessions and running commands, or the processes of a session.
    Ps(processes::PsArgs),
    /// Print the output of a command that runs or has run.
    Logs(logs::Args),
    /// Send a signal to a process or a command, or cancel a command.
    Kill(processes::KillArgs),
    /// Say what sandboxes use.
    Stats(stats::Args),
    /// Delete sandboxes and close sessions.
    Rm(rm::Args),
    /// List a directory of a sandbox.
    Ls(files::LsArgs),
    /// Print a file of a sandbox.
    Cat(files::CatArgs),
    /// Copy a file or a directory into a sandbox or out of it.
    Cp(files::CpArgs),
    /// Edit a file of a sandbox in your editor.
    Edit(edit::Args),
    /// Tell what changes in a directory of a sandbox, as it happens.
    Watch(watch::Args),
    /// Say what a sandbox has added, modified and removed, compared with its image.
    Changes(changes::Args),
    /// List the images that sandboxes can be made from.
    Image(image::Args),
    /// Make, list, show and delete volumes: named data that outlives sandboxes.
    Volume(volume::Args),
    /// List, show, check and import samples: code bases with a task and its verification.
    Sample(sample::Args),
    /// Verify what was done in a sandbox that was made from a sample, or a patch for a sample, test by test.
    Verify(verify::Args),
    /// Verify a patch for each sample of a dataset, and write a report.
    Eval(eval::Args),
    /// Make, list and revoke API keys.
    Key(key::Args),
    /// List tenants and set their limits.
    Tenant(tenant::Args),
    /// Say what each runtime can do on this host, what is missing, and how to get it.
    Doctor(doctor::Args),
    /// Print what makes a shell complete the words of this command line.
    Completions(manual::CompletionsArgs),
    /// Write manual pages into a directory.
    Man(manual::ManArgs),
}

/// Subcommands that only Sandshell itself uses, to start its own processes. They are a command line of their own, because the agent of each
/// sandbox is started in this way, and to describe all the other subcommands first would take it a millisecond.
#[derive(Debug, Parser)]
enum Internal {
    /// The program inside every sandbox.
    Agent(internal::AgentArgs),
    /// The program beside the agent that works on files.
    Files(internal::FilesArgs),
    /// The process that makes sandboxes.
    Zygote(internal::ZygoteArgs),
    /// The program that carries bytes to an agent that is elsewhere.
    Relay(internal::RelayArgs),
    /// The process that clears up after a private server.
    Janitor(janitor::Args),
    /// The process that reads a Parquet file for an import.
    ParquetRows,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    // No thread and no tokio runtime exists here: the agent and the zygote fork, and need it so.
    if std::env::var_os("SANDSHELL_SERVER").is_some_and(|server| server.is_empty()) {
        // As if it were not set. SAFETY: no other thread could be reading the environment.
        unsafe { std::env::remove_var("SANDSHELL_SERVER") };
    }
    let is_internal =
        std::env::args_os().nth(1).is_some_and(|name| name.to_str().is_some_and(Internal::has_subcommand));
    let outcome = if is_internal { Internal::parse().main() } else { Cli::parse().command.main() };
    outcome.unwrap_or_else(|error| {
        eprintln!("sandshell: {error}");
        ExitCode::from(FAILED)
    })
}

impl Internal {
    fn main(self) -> Result<ExitCode, CliError> {
        match self {
            Self::Agent(args) => Ok(internal::agent(args)),
            Self::Files(args) => Ok(internal::files(args)),
            Self::Zygote(args) => Ok(internal::zygote(&args)),
            Self::Relay(args) => Ok(internal::relay(&args)),
            Self::Janitor(args) => janitor::main(&args),
            Self::ParquetRows => Ok(sample::parquet_rows()),
        }
    }
}

impl Public {
    fn main(self) -> Result<ExitCode, CliError> {
        match self {
            Self::Serve(args) => serve::main(args).map(|()| ExitCode::SUCCESS),
            Self::Run(args) => run::main(args),
            Self::Code(args) => code::main(args),
            Self::Exec(args) => exec::main(args),
            Self::Shell(args) => shell::main(args),
            Self::Attach(args) => attach::main(&args),
            Self::Logs(args) => logs::main(&args),
            Self::Stats(args) => stats::main(args),
            Self::Rm(args) => rm::main(args),
            Self::Ps(args) => processes::ps(&args).map(|()| ExitCode::SUCCESS),
            Self::Kill(args) => processes::kill(&args).map(|()| ExitCode::SUCCESS),
            Self::Ls(args) => files::ls(&args).map(|()| ExitCode::SUCCESS),
            Self::Cat(args) => files::cat(&args).map(|()| ExitCode::SUCCESS),
            Self::Cp(args) => files::cp(args).map(|()| ExitCode::SUCCESS),
            Self::Edit(args) => edit::main(&args).map(|()| ExitCode::SUCCESS),
            Self::Watch(args) => watch::main(&args).map(|()| ExitCode::SUCCESS),
            Self::Changes(args) => changes::main(&args).map(|()| ExitCode::SUCCESS),
            Self::Image(args) => image::main(&args).map(|()| ExitCode::SUCCESS),
            Self::Volume(args) => volume::main(args),
            Self::Sample(args) => sample::main(&args),
            Self::Verify(args) => verify::main(args),
            Self::Eval(args) => eval::main(&args),
            Self::Doctor(args) => doctor::main(&args),
            Self::Key(args) => key::main(args).map(|()| ExitCode::SUCCESS),
            Self::Tenant(args) => tenant::main(args).map(|()| ExitCode::SUCCESS),
            Self::Completions(args) => manual::completions(&args).map(|()| ExitCode::SUCCESS),
            Self::Man(args) => manual::man(&args).map(|()| ExitCode::SUCCESS),
        }
    }
}

/// Runs a future on a new tokio runtime. Called only after the sandbox runtime's zygote was started, which must be forked
/// from a single thread.
fn block_on<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()
        .map_err(|source| CliError::io("start threads", source))?;
    let outcome = runtime.block_on(future);
    // Waits until all tasks are gone, and with them the sandbox runtime, but not for a pipe that nobody reads.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    outcome
}

/// How many threads wait for events. Half of the processors: whoever is served needs the others for agents and commands, and
/// a call that is handed from thread to thread costs more than it gains. Nothing blocks these threads, so one is enough.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).max(1))
}
