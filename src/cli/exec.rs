//! `sandshell exec`: one program with its arguments, exactly as given, in a fresh sandbox or in one that is there.

use super::{
    ended,
    error::CliError,
    follow::{exit_code, follow},
    sandbox::{Options, Work},
    terminal::{self, Outputs, RawMode},
};
use crate::api::v1::{ExecStart, Pty, exec_start::Target};
use std::{env, process::ExitCode};
use tokio::sync::{mpsc, watch};

const AFTER_HELP: &str = "\
No shell is involved: each ARGUMENT arrives as it is. The exit code is the program's, 127 if it is not there, 126 if it
cannot be executed, or 125 if Sandshell itself failed. ^C cancels the program; a second one ends it all. With --tty it is a key like any other.
With --json one object is printed: its ids, argv, exit_code, signal, reason, duration_seconds, working_directory, stdout, stderr,
and whether more than the first 16 MiB of these was printed.";

/// Options of `exec`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    program: Program,
}

/// What is executed, and with what.
#[derive(Debug, clap::Args)]
struct Program {
    /// Pass our standard input on
    #[arg(long, short, visible_alias = "stdin")]
    interactive: bool,
    /// Run it on a terminal: ours, with its keys, if we have one
    #[arg(long, short)]
    tty: bool,
    /// Write what it prints to standard error to standard output, in order
    #[arg(long)]
    merge_stderr: bool,
    /// Print one JSON object when it has ended, with its outputs in it, instead of the outputs
    #[arg(long, conflicts_with = "tty")]
    json: bool,
    /// The program and its arguments
    #[arg(required = true, value_names = ["PROGRAM", "ARGUMENT"], trailing_var_arg = true, allow_hyphen_values = true)]
    argv: Vec<String>,
}

/// Runs the program.
pub(super) fn main(args: Args) -> Result<ExitCode, CliError> {
    let Args { options, program } = args;
    options.work(async |work| execute(work, program).await)
}

async fn execute(work: Work<'_>, program: Program) -> Result<u8, CliError> {
    let Work { client, signals, sandbox_id, mut how, .. } = work;
    let raw = (program.tty && terminal::is_interactive()).then(RawMode::enter).transpose();
    let raw = raw.map_err(|source| CliError::io("set up the terminal", source))?;
    let mut outputs = if program.json { Outputs::collect() } else { Outputs::new() };
    let argv = program.json.then(|| program.argv.clone());
    let start = ExecStart {
        target: Some(Target::SandboxId(sandbox_id.to_owned())),
        argv: program.argv,
        env: how.env(),
        working_directory: how.cwd(""),
        timeout: how.timeout(),
        user: how.user,
        stdin: program.interactive && !program.tty,
        pty: program.tty.then(|| Pty { size: terminal::size(), term: env::var("TERM").unwrap_or_default() }),
        merge_stderr: program.merge_stderr,
        ..ExecStart::default()
    };
    let (requests, sent) = mpsc::channel(8);
    if program.interactive || raw.is_some() {
        terminal::read_input(requests.clone());
    }
    let (current, watched) = watch::channel(None);
    let mut sessions = client.sessions.clone();
    let (command_id, end) = tokio::select! {
        end = follow(&mut sessions, start, sent, &current, &mut outputs, program.tty) => end?,
        code = signals.end(client.sessions.clone(), watched) => return Ok(code),
        error = terminal::resizes(requests), if program.tty => return Err(error),
    };
    drop(raw);
    if let Some(argv) = argv {
        ended::print(sandbox_id, &command_id, &[("argv", argv.into())], &end, &mut outputs)?;
    }
    Ok(exit_code(&end))
}
