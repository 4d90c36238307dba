//! `sandshell logs`: the output of a command that runs or has run.

use super::{
    client::{Client, Remote},
    ended,
    error::CliError,
    follow::{End, Signals, exit_code, follow_from},
    listing,
    log::{self, LogFormat},
    terminal::Outputs,
};
use crate::api::v1::{AttachRequest, Command, GetCommandRequest, command::State};
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Standard output and standard error come as the command's own; what went to its terminal comes on standard output. Of much output the
server keeps the latest, and what is missing is told. The exit code is 0, or with --follow the command's; it is 125 if Sandshell
itself failed. ^C ends `logs`, and never the command.";

/// Options of `logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The command: SANDBOX/NAME/NUMBER, as `run --json` and `ps` show it
    #[arg(value_name = "COMMAND_ID")]
    command_id: String,
    /// Stay until the command has ended
    #[arg(long, short)]
    follow: bool,
    /// Stay on until its background processes print no more
    #[arg(long, requires = "follow")]
    background: bool,
    /// Print one JSON object, with the outputs in it; what is not known before the command's end is null
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub(super) fn main(args: &Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let code = super::block_on(async {
        let mut signals = Signals::new()?;
        let client = args.remote.connect().await?;
        tokio::select! {
            code = print(client, args) => code,
            code = signals.next() => Ok(code),
        }
    })?;
    Ok(ExitCode::from(code))
}

async fn print(mut client: Client, args: &Args) -> Result<u8, CliError> {
    let command_id = args.command_id.clone();
    let request = GetCommandRequest { command_id: command_id.clone() };
    let command = client.sessions.get_command(request).await?.into_inner();
    let mut outputs = if args.json { Outputs::collect() } else { Outputs::new() };
    let position = AttachRequest { command_id, follow_background: args.background, ..AttachRequest::default() };
    let until = (!args.follow && command.state() != State::Exited).then_some(&command);
    let end = follow_from(&mut client.sessions, position, until, &mut outputs).await?;
    describe(&command, &end, &mut outputs)?;
    Ok(if args.follow || matches!(end, End::NobodyReads) { exit_code(&end) } else { 0 })
}

/// Prints the object, if there is to be one. Whether somebody reads it.
pub(super) fn describe(command: &Command, end: &End, outputs: &mut Outputs) -> Result<bool, CliError> {
    let id = &command.command_id;
    let mut what = vec![("session_id", command.session_id.as_str().into())];
    if command.argv.is_empty() {
        what.push(("command", command.command.as_str().into()));
    } else {
        what.push(("argv", command.argv.clone().into()));
    }
    ended::print(listing::sandbox_of(id), id, &what, end, outputs)
}
