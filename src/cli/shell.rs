//! `sandshell shell`: an interactive terminal in a sandbox.

use super::{
    client::{Client, Place},
    creation,
    error::CliError,
    follow::{Signals, exit_code, follow},
    log::{self, LogFormat},
    terminal::{self, Outputs, RawMode},
};
use crate::api::v1::{CreateSandboxRequest, ExecRequest, ExecStart, Pty, exec_request::Request, exec_start::Target};
use std::{env, process::ExitCode};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

const AFTER_HELP: &str = "\
On a terminal, the shell is interactive and every key goes to it. Otherwise it reads commands from standard input. The
exit code is the shell's, or 125 if Sandshell itself failed.";

/// Options of `shell`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Shell to start, by path or name [default: /bin/bash, or /bin/sh where there is none]
    #[arg(long)]
    shell: Option<String>,
    /// Existing sandbox to enter; it is not deleted afterwards
    #[arg(long, value_name = "ID", requires = "server", conflicts_with = "image")]
    sandbox: Option<String>,
}

/// Opens the shell, and deletes the sandbox if it was made for it.
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
    if let Some(sandbox_id) = &args.sandbox {
        return shell(client, signals, sandbox_id, args.shell.as_deref()).await;
    }
    let request = CreateSandboxRequest { image: args.place.image, ..CreateSandboxRequest::default() };
    let sandbox_id = tokio::select! {
        sandbox = creation::create(&mut client.sandboxes, request) => sandbox?.sandbox_id,
        code = signals.next() => return Ok(code),
    };
    let outcome = shell(client, signals, &sandbox_id, args.shell.as_deref()).await;
    client.delete(sandbox_id).await;
    outcome
}

async fn shell(client: &Client, signals: &mut Signals, sandbox_id: &str, shell: Option<&str>) -> Result<u8, CliError> {
    let interactive = terminal::is_interactive();
    let term = env::var("TERM").unwrap_or_default();
    let start = ExecStart {
        target: Some(Target::SandboxId(sandbox_id.to_owned())),
        command: command(shell, interactive),
        stdin: true,
        pty: interactive.then(|| Pty { size: terminal::size(), term }),
        ..ExecStart::default()
    };
    let (requests, sent) = mpsc::channel(8);
    // The channel is empty, so there is room.
    let _ = requests.try_send(ExecRequest { request: Some(Request::Start(start)) });
    let (current, watched) = watch::channel(None);
    let mut sessions = client.sessions.clone();
    let raw = if interactive {
        Some(RawMode::enter().map_err(|source| CliError::io("set up the terminal", source))?)
    } else {
        None
    };
    terminal::read_input(requests.clone());
    let mut outputs = Outputs::new();
    let end = tokio::select! {
        end = follow(&mut sessions, ReceiverStream::new(sent), &current, &mut outputs, interactive) => end?.1,
        code = signals.end(client.sessions.clone(), watched) => return Ok(code),
        error = terminal::resizes(requests) => return Err(error),
    };
    drop(raw);
    Ok(exit_code(&end))
}

/// The shells that a sandbox may have, for whoever asked for another one.
const SHELLS: &str = "for s in bash zsh dash busybox sh; do command -v $s; done";

/// The shell as a command. Not `exec`: its end is then told apart from that of the shell around it.
fn command(shell: Option<&str>, interactive: bool) -> String {
    let flag = if interactive { " -i" } else { "" };
    let Some(shell) = shell else {
        return format!("if [ -x /bin/bash ]; then /bin/bash{flag}; else /bin/sh{flag}; fi");
    };
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let missing = quoted(&format!("sandshell: there is no \"{shell}\" in this sandbox; it has"));
    let shell = quoted(shell);
    format!("command -v {shell} >/dev/null || {{ echo {missing} $({SHELLS}) >&2; exit 127; }}; {shell}{flag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_one_word_whatever_its_name() {
        assert!(command(Some("/opt/my shell's"), true).ends_with(r"; '/opt/my shell'\''s' -i"));
        assert!(command(Some("zsh"), false).ends_with("; 'zsh'"));
        assert!(command(None, true).contains("/bin/bash -i"));
    }
}
