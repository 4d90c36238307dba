//! `sandshell attach`: a person joins a session that is there, to type commands into it or to watch it.

mod prompt;
mod watch;

use super::{
    client::Remote,
    error::CliError,
    follow::Signals,
    log::{self, LogFormat},
    terminal,
};
use crate::api::v1::GetSessionRequest;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
On a terminal, each line that is typed is one command of the session: it finds the session's directory, variables and functions, and what it
changes stays. Lines that are pasted together are one command. It has our terminal while it runs. A command that somebody else
has started goes first. ^D, or `exit` on a line of its own, leaves; the session goes on. Where standard input is no terminal, all of it is one command,
and the exit code is that command's.

With --watch nothing is typed: the output of each command comes as it is printed, whoever has started it, with lines on standard error that
say which command it is and how it has ended. It ends when the session is closed.";

/// Options of `attach`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The session: SANDBOX/NAME, as `ps` shows it
    #[arg(value_name = "SESSION")]
    session_id: String,
    /// Only show what the session does
    #[arg(long)]
    watch: bool,
    /// With --watch, print one JSON object for each command when it has ended, with its outputs in it
    #[arg(long, requires = "watch")]
    json: bool,
}

/// Joins it.
pub(super) fn main(args: &Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let code = super::block_on(async {
        let mut signals = Signals::new()?;
        let mut client = args.remote.connect().await?;
        let request = GetSessionRequest { session_id: args.session_id.clone() };
        let session = client.sessions.get_session(request).await?.into_inner();
        if args.watch {
            tokio::select! {
                outcome = watch::watch(client.sessions, session, args.json) => outcome,
                code = signals.next() => Ok(code),
            }
        } else if terminal::is_interactive() {
            prompt::converse(client.sessions, session, &mut signals).await
        } else {
            prompt::read_script(client.sessions, session, &mut signals).await
        }
    })?;
    Ok(ExitCode::from(code))
}
