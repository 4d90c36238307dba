//! `sandshell run`: commands, one after another, in one session of a fresh sandbox.

use super::{
    client::{Client, Place},
    creation, ended,
    error::CliError,
    files::Inside,
    follow::{Signals, exit_code, follow, is_last, say_not_restored},
    log::{self, LogFormat},
    terminal::Outputs,
    trees::{self, Wanted},
};
use crate::api::v1::{
    CreateSandboxRequest, CreateSessionRequest, ExecRequest, ExecStart, exec_request::Request, exec_start::Target,
};
use std::{collections::HashMap, path::PathBuf, process::ExitCode, time::Duration};
use tokio::sync::watch;

const AFTER_HELP: &str = "\
Each COMMAND is a piece of shell text, given to the same shell like lines typed into it: later ones run even if earlier
ones fail. The exit code is that of the last, or 125 if Sandshell itself failed. ^C cancels the command that runs; a
second one ends it all. With --json each command is one line: an object with its ids, exit_code, signal, reason, duration_seconds,
working_directory, stdout, stderr, and whether more than the first 16 MiB of these was printed.";

/// Where a directory is brought to.
const WORKSPACE: &str = "/workspace";

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Shell of the session: path or name
    #[arg(long, default_value = "/bin/sh")]
    shell: String,
    /// Longest time for each command, in seconds
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Environment of the session; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// As whom: name or number, and :GROUP if wanted
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    user: String,
    /// Write what commands print to standard error to standard output, in order
    #[arg(long)]
    merge_stderr: bool,
    /// Copy this directory to /workspace first, and begin there
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// At the end copy what is in /workspace (with --workspace: what was made or changed there) to this directory, or to an
    /// archive if the name ends with .tar, .tar.gz, .tgz or .tar.zst
    #[arg(long, value_name = "FILE|DIR")]
    export: Option<PathBuf>,
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

/// Runs the commands and deletes the sandbox.
pub(super) fn main(mut args: Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let prepared = args.place.prepare()?;
    let code = super::block_on(async {
        let mut signals = Signals::new()?;
        let mut client = prepared.connect().await?;
        let outcome = run(&mut client, &mut signals, args).await;
        client.close().await.and(outcome)
    })?;
    Ok(ExitCode::from(code))
}

async fn run(client: &mut Client, signals: &mut Signals, args: Args) -> Result<u8, CliError> {
    let request = CreateSandboxRequest { image: args.place.image.clone(), ..CreateSandboxRequest::default() };
    let sandbox_id = tokio::select! {
        sandbox = creation::create(&mut client.sandboxes, request) => sandbox?.sandbox_id,
        // The server removes what nobody waits for any more.
        code = signals.next() => return Ok(code),
    };
    let (current, watched) = watch::channel(None);
    let outcome = tokio::select! {
        outcome = in_workspace(client, &sandbox_id, args, &current) => outcome,
        code = signals.end(client.sessions.clone(), watched) => Ok(code),
    };
    client.delete(sandbox_id).await;
    outcome
}

/// Brings a directory in, runs the commands, and takes what they made out, whether they succeeded or not.
async fn in_workspace(
    client: &Client,
    sandbox_id: &str,
    mut args: Args,
    current: &watch::Sender<Option<String>>,
) -> Result<u8, CliError> {
    let inside = Inside { sandbox_id: sandbox_id.to_owned(), path: WORKSPACE.to_owned() };
    let mut wanted = Wanted { user: args.user.clone(), ignored: args.ignored, ..Wanted::default() };
    if let Some(directory) = args.workspace.take() {
        let brought = trees::bring(client.files.clone(), &directory, inside.clone(), wanted.clone()).await?;
        wanted.since = brought.end_time;
    }
    let export = args.export.take();
    let code = commands(client, sandbox_id, args, current, wanted.since.is_some()).await?;
    if let Some(to) = export {
        let files = client.files.clone();
        match trees::archive_kind(&to) {
            Some(kind) => trees::save(files, &inside, wanted, &to, kind).await?,
            None => trees::fetch(files, &inside, wanted, &to).await?,
        }
    }
    Ok(code)
}

async fn commands(
    client: &Client,
    sandbox_id: &str,
    args: Args,
    current: &watch::Sender<Option<String>>,
    in_workspace: bool,
) -> Result<u8, CliError> {
    let mut sessions = client.sessions.clone();
    let request = CreateSessionRequest {
        sandbox_id: sandbox_id.to_owned(),
        shell: args.shell,
        env: HashMap::from_iter(args.env),
        user: args.user,
        working_directory: if in_workspace { WORKSPACE.to_owned() } else { String::new() },
        ..CreateSessionRequest::default()
    };
    let session_id = sessions.create_session(request).await?.into_inner().session_id;
    let timeout = args.timeout.and_then(|timeout| timeout.try_into().ok());
    let mut code = 0;
    let mut outputs = if args.json { Outputs::collect() } else { Outputs::new() };
    for command in args.commands {
        let target = Some(Target::SessionId(session_id.clone()));
        let merge_stderr = args.merge_stderr;
        let text = args.json.then(|| command.clone());
        let start = ExecStart { target, command, timeout, merge_stderr, ..ExecStart::default() };
        let requests = tokio_stream::once(ExecRequest { request: Some(Request::Start(start)) });
        let (command_id, end) = follow(&mut sessions, requests, current, &mut outputs, false).await?;
        code = exit_code(&end);
        say_not_restored(&end);
        if let Some(text) = text {
            let what = [("session_id", session_id.as_str().into()), ("command", text.into())];
            ended::print(sandbox_id, &command_id, &what, &end, &mut outputs)?;
        }
        if is_last(&end) {
            break;
        }
    }
    Ok(code)
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|_| "is not a number of seconds".to_owned())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(1) { Err("must be 0.001 or more".to_owned()) } else { Ok(duration) }
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    if name.is_empty() { Err("the name is empty".to_owned()) } else { Ok((name.to_owned(), value.to_owned())) }
}
