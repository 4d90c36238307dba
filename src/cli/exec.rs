//! `sandshell exec`: one program with its arguments, exactly as given, in a fresh sandbox or in one that is there.

use super::{
    client::{Client, Place},
    creation, ended,
    error::CliError,
    follow::{Signals, exit_code, follow},
    log::{self, LogFormat},
    run::{pair, seconds},
    terminal::{self, Outputs, RawMode},
};
use crate::api::v1::{CreateSandboxRequest, ExecRequest, ExecStart, Pty, exec_request::Request, exec_start::Target};
use std::{collections::HashMap, env, process::ExitCode, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

const AFTER_HELP: &str = "\
No shell is involved: each ARGUMENT arrives as it is. The exit code is the program's, 127 if it is not there, 126 if it
cannot be executed, or 125 if Sandshell itself failed. ^C cancels the program; a second one ends it all.
With --json one object is printed: its ids, argv, exit_code, signal, reason, duration_seconds, working_directory, stdout, stderr,
and whether more than the first 16 MiB of these was printed.";

/// Options of `exec`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Existing sandbox to run it in; it is not deleted afterwards
    #[arg(long, value_name = "ID", requires = "server", conflicts_with = "image")]
    sandbox: Option<String>,
    /// Longest time, in seconds
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Environment of the program; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Where it runs
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    directory: String,
    /// As whom: name or number, and :GROUP if wanted
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    user: String,
    /// Pass our standard input on
    #[arg(long, short)]
    interactive: bool,
    /// Run it on a terminal, which our own becomes a part of
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

/// Runs the program, and deletes the sandbox if it was made for it.
pub(super) fn main(mut args: Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let prepared = args.place.prepare()?;
    let code = super::block_on(async {
        let mut signals = Signals::new()?;
        let mut client = prepared.connect().await?;
        let outcome = enter(&mut client, &mut signals, args).await;
        client.close().await.and(outcome)
    })?;
    Ok(ExitCode::from(code))
}

async fn enter(client: &mut Client, signals: &mut Signals, args: Args) -> Result<u8, CliError> {
    if let Some(sandbox_id) = args.sandbox.clone() {
        return execute(client, signals, &sandbox_id, args).await;
    }
    let request = CreateSandboxRequest { image: args.place.image.clone(), ..CreateSandboxRequest::default() };
    let sandbox_id = tokio::select! {
        sandbox = creation::create(&mut client.sandboxes, request) => sandbox?.sandbox_id,
        code = signals.next() => return Ok(code),
    };
    let outcome = execute(client, signals, &sandbox_id, args).await;
    client.delete(sandbox_id).await;
    outcome
}

async fn execute(client: &Client, signals: &mut Signals, sandbox_id: &str, args: Args) -> Result<u8, CliError> {
    let raw = (args.tty && terminal::is_interactive()).then(RawMode::enter).transpose();
    let raw = raw.map_err(|source| CliError::io("set up the terminal", source))?;
    let mut outputs = if args.json { Outputs::collect() } else { Outputs::new() };
    let argv = args.json.then(|| args.argv.clone());
    let start = ExecStart {
        target: Some(Target::SandboxId(sandbox_id.to_owned())),
        argv: args.argv,
        env: HashMap::from_iter(args.env),
        working_directory: args.directory,
        user: args.user,
        timeout: args.timeout.and_then(|timeout| timeout.try_into().ok()),
        stdin: args.interactive && !args.tty,
        pty: args.tty.then(|| Pty { size: terminal::size(), term: env::var("TERM").unwrap_or_default() }),
        merge_stderr: args.merge_stderr,
        ..ExecStart::default()
    };
    let (requests, sent) = mpsc::channel(8);
    // The channel is empty, so there is room.
    let _ = requests.try_send(ExecRequest { request: Some(Request::Start(start)) });
    if args.interactive {
        terminal::read_input(requests.clone());
    }
    let (current, watched) = watch::channel(None);
    let mut sessions = client.sessions.clone();
    let (command_id, end) = tokio::select! {
        end = follow(&mut sessions, ReceiverStream::new(sent), &current, &mut outputs, args.tty) => end?,
        code = signals.end(client.sessions.clone(), watched) => return Ok(code),
        error = terminal::resizes(requests), if args.tty => return Err(error),
    };
    drop(raw);
    if let Some(argv) = argv {
        ended::print(sandbox_id, &command_id, &[("argv", argv.into())], &end, &mut outputs)?;
    }
    Ok(exit_code(&end))
}
