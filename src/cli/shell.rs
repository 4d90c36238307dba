//! `sandshell shell`: an interactive terminal in a sandbox.

use super::{
    error::CliError,
    follow::{exit_code, follow},
    sandbox::{Options, Work},
    terminal::{self, Outputs, RawMode},
};
use crate::api::v1::{ExecStart, Pty, exec_start::Target};
use std::{env, process::ExitCode};
use tokio::sync::{mpsc, watch};

const AFTER_HELP: &str = "\
On a terminal, the shell is interactive and every key goes to it. Otherwise it reads commands from standard input. The
exit code is the shell's, or 125 if Sandshell itself failed.";

/// Options of `shell`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    options: Options,
    /// Shell to start, by path or name [default: /bin/bash, or /bin/sh where there is none]
    #[arg(long)]
    shell: Option<String>,
}

/// Opens the shell.
pub(super) fn main(args: Args) -> Result<ExitCode, CliError> {
    let Args { options, shell } = args;
    options.work(async |work| open(work, shell.as_deref()).await)
}

async fn open(work: Work<'_>, shell: Option<&str>) -> Result<u8, CliError> {
    let Work { client, signals, sandbox_id, mut how, .. } = work;
    let interactive = terminal::is_interactive();
    let term = env::var("TERM").unwrap_or_default();
    let start = ExecStart {
        target: Some(Target::SandboxId(sandbox_id.to_owned())),
        command: command(shell, interactive),
        env: how.env(),
        working_directory: how.cwd(""),
        timeout: how.timeout(),
        user: how.user,
        stdin: true,
        pty: interactive.then(|| Pty { size: terminal::size(), term }),
        ..ExecStart::default()
    };
    let (requests, sent) = mpsc::channel(8);
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
        end = follow(&mut sessions, start, sent, &current, &mut outputs, interactive) => end?.1,
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
