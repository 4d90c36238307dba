//! `sandshell run`: commands, one after another, in one session of a fresh sandbox.

use super::{
    client::Client,
    ended,
    error::CliError,
    follow::{exit_code, follow, is_last, say_not_restored},
    inside::Inside,
    sandbox::{How, Options, Work},
    terminal::{self, Outputs},
    trees,
    wanted::Wanted,
};
use crate::api::v1::{CreateSessionRequest, ExecStart, exec_start::Target};
use std::{path::PathBuf, process::ExitCode, sync::OnceLock};
use tokio::sync::{mpsc, watch};

const AFTER_HELP: &str = "\
Each COMMAND is a piece of shell text, given to the same shell like lines typed into it: later ones run even if earlier
ones fail. The exit code is that of the last, or 125 if Sandshell itself failed. ^C cancels the command that runs; a
second one ends it all. With --stdin the last COMMAND reads our standard input as it comes; the standard input of those before
it is empty, as that of all is without --stdin. With --json each command is one line: an object with its ids, exit_code, signal, reason, duration_seconds,
working_directory, stdout, stderr, and whether more than the first 16 MiB of these was printed.";

/// Where a directory is brought to.
const WORKSPACE: &str = "/workspace";

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    script: Script,
}

/// What is run, and with what.
#[derive(Debug, clap::Args)]
struct Script {
    /// Shell of the session: path or name
    #[arg(long, default_value = "/bin/sh")]
    shell: String,
    /// Pass our standard input on to the last command
    #[arg(long, short = 'i', visible_alias = "interactive")]
    stdin: bool,
    /// Write what commands print to standard error to standard output, in order
    #[arg(long)]
    merge_stderr: bool,
    /// Copy this directory to /workspace first, and begin there
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// At the end copy what is in /workspace (with --workspace: what was made or changed there) to this directory, or to an
    /// archive if the name ends with .tar, .tar.gz, .tgz or .tar.zst
    #[arg(long, value_name = "FILE|DIR", value_parser = trees::export_target)]
    export: Option<PathBuf>,
    /// With --export, copy what is in .git directories too: git runs what their configuration and hooks say
    #[arg(long, requires = "export")]
    git: bool,
    /// Copy also what .gitignore files in the directory name
    #[arg(long)]
    ignored: bool,
    /// Print one JSON object for each command, with its outputs in it, instead of the outputs
    #[arg(long)]
    json: bool,
    /// What to run: shell text
    #[arg(required = true, value_name = "COMMAND")]
    commands: Vec<String>,
}

/// Runs the commands.
pub(super) fn main(args: Args) -> Result<ExitCode, CliError> {
    let Args { options, script } = args;
    options.work(async |work| {
        let Work { client, signals, sandbox_id, how, closes } = work;
        let (current, watched) = watch::channel(None);
        let opened = OnceLock::new();
        let outcome = tokio::select! {
            outcome = in_workspace(client, sandbox_id, script, how, &current, &opened) => outcome,
            code = signals.end(client.sessions.clone(), watched) => Ok(code),
        };
        if let Some(session_id) = opened.into_inner().filter(|_| closes) {
            client.close_session(session_id).await;
        }
        outcome
    })
}

/// Brings a directory in, runs the commands, and takes what they made out, whether they succeeded or not.
async fn in_workspace(
    client: &Client,
    sandbox_id: &str,
    mut script: Script,
    mut how: How,
    current: &watch::Sender<Option<String>>,
    opened: &OnceLock<String>,
) -> Result<u8, CliError> {
    let inside = Inside { sandbox_id: sandbox_id.to_owned(), path: WORKSPACE.to_owned() };
    if let Some(to) = &script.export {
        trees::check_export_target(to)?;
    }
    let mut wanted = Wanted { user: how.user.clone(), ignored: script.ignored, git: script.git, ..Wanted::default() };
    if let Some(directory) = script.workspace.take() {
        let brought = trees::bring(client.files.clone(), &directory, inside.clone(), wanted.clone()).await?;
        wanted.since = brought.end_time;
    }
    let export = script.export.take();
    let begin_in = if wanted.since.is_some() { WORKSPACE } else { "" };
    let session_id = open_session(client, sandbox_id, &script.shell, &mut how, begin_in).await?;
    let session_id = opened.get_or_init(|| session_id);
    let code = commands(client, sandbox_id, session_id, script, how.timeout(), current).await?;
    if let Some(to) = export {
        let files = client.files.clone();
        let exported = match trees::archive_kind(&to) {
            Some(kind) => trees::save(files, &inside, wanted, &to, kind).await,
            None => trees::fetch(files, &inside, wanted, &to).await,
        };
        match exported {
            // All else is there, and what the command says of itself tells more.
            Err(error @ CliError::LeftOut { .. }) if code != 0 => eprintln!("sandshell: {error}"),
            exported => exported?,
        }
    }
    Ok(code)
}

async fn open_session(
    client: &Client,
    sandbox_id: &str,
    shell: &str,
    how: &mut How,
    begin_in: &str,
) -> Result<String, CliError> {
    let request = CreateSessionRequest {
        sandbox_id: sandbox_id.to_owned(),
        shell: shell.to_owned(),
        env: how.env(),
        working_directory: how.cwd(begin_in),
        user: how.user.clone(),
        ..CreateSessionRequest::default()
    };
    Ok(client.sessions.clone().create_session(request).await?.into_inner().session_id)
}

async fn commands(
    client: &Client,
    sandbox_id: &str,
    session_id: &str,
    script: Script,
    timeout: Option<prost_types::Duration>,
    current: &watch::Sender<Option<String>>,
) -> Result<u8, CliError> {
    let mut sessions = client.sessions.clone();
    let mut code = 0;
    let mut outputs = if script.json { Outputs::collect() } else { Outputs::new() };
    let mut commands = script.commands.into_iter();
    while let Some(command) = commands.next() {
        let text = script.json.then(|| command.clone());
        let start = ExecStart {
            target: Some(Target::SessionId(session_id.to_owned())),
            command,
            timeout,
            stdin: script.stdin && commands.len() == 0,
            merge_stderr: script.merge_stderr,
            ..ExecStart::default()
        };
        let (requests, sent) = mpsc::channel(8);
        let reads = start.stdin;
        // A command that gets no input is told so by the end of the requests.
        if reads {
            terminal::read_input(requests);
        } else {
            drop(requests);
        }
        let (command_id, end) = follow(&mut sessions, start, sent, current, &mut outputs, false).await?;
        code = exit_code(&end);
        say_not_restored(&end);
        if let Some(text) = text {
            let what = [("session_id", session_id.into()), ("command", text.into())];
            ended::print(sandbox_id, &command_id, &what, &end, &mut outputs)?;
        }
        if is_last(&end) {
            break;
        }
    }
    Ok(code)
}
