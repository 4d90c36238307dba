//! `sandshell ps` and `sandshell kill`: what runs, down to the processes of a session, and signals.

use super::{
    client::{Client, Remote},
    error::CliError,
    listing::{self, Named},
    log::{self, LogFormat},
    overview, size,
    table::{self, Table},
};
use crate::api::v1::{ListProcessesRequest, Process, SignalCommandRequest, SignalProcessRequest, process::State};
use serde_json::{Value, json};
use std::time::SystemTime;

/// Processes that are asked for at one time.
const PAGE: i32 = 1000;

/// Signals by their names, as kill(1) has them.
const SIGNALS: [(&str, i32); 14] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ABRT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("WINCH", libc::SIGWINCH),
];

const AFTER_HELP: &str = "\
Without an ID, or with that of a sandbox, it shows sandboxes with their sessions and the commands that run in these. With that of a session,
SANDBOX/NAME, or of a command, SANDBOX/NAME/NUMBER, it shows the processes. Direct executions have no session: `stats` counts them.";

/// Options of `ps`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct PsArgs {
    #[command(flatten)]
    remote: Remote,
    /// A sandbox, a session or a command [default: all sandboxes]
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Only sandboxes that have this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = size::pair, conflicts_with = "id")]
    label: Vec<(String, String)>,
    /// Print JSON: one array
    #[arg(long)]
    json: bool,
}

/// Options of `kill`.
#[derive(Debug, clap::Args)]
pub(super) struct KillArgs {
    #[command(flatten)]
    remote: Remote,
    /// A session, SANDBOX/NAME, or a command, SANDBOX/NAME/NUMBER
    #[arg(value_name = "ID")]
    id: String,
    /// The process, as `ps` shows it. Without it the command of that ID gets the signal, or is cancelled
    #[arg(value_name = "PID")]
    pid: Option<i32>,
    /// Name or number of the signal [default: TERM for a process; a command is cancelled: INT, TERM and KILL until it is over]
    #[arg(long, short, value_name = "SIGNAL", value_parser = signal)]
    signal: Option<i32>,
    /// All that the process has started too
    #[arg(long, requires = "pid")]
    tree: bool,
    /// Print JSON: how many processes got the signal
    #[arg(long)]
    json: bool,
}

/// A session's id and a command's, of which one is empty.
fn ids(id: &str) -> (String, String) {
    match listing::named(id) {
        Named::Command => (String::new(), id.to_owned()),
        Named::Session | Named::Sandbox => (id.to_owned(), String::new()),
    }
}

/// Lists sandboxes or processes.
pub(super) fn ps(args: &PsArgs) -> Result<(), CliError> {
    log::start(None, "error", LogFormat::Text)?;
    super::block_on(async {
        let client = args.remote.connect().await?;
        match args.id.as_deref() {
            Some(id) if listing::named(id) != Named::Sandbox => processes(client, id, args.json).await,
            id => overview::print(&client, id, &args.label, args.json).await,
        }
    })
}

async fn processes(mut client: Client, id: &str, json: bool) -> Result<(), CliError> {
    let (session_id, command_id) = ids(id);
    let mut request =
        ListProcessesRequest { session_id, command_id, page_size: PAGE, ..ListProcessesRequest::default() };
    let mut processes = Vec::new();
    loop {
        let page = client.sessions.list_processes(request.clone()).await?.into_inner();
        processes.extend(page.processes);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if json {
        let all: Vec<Value> = processes.iter().map(as_json).collect();
        return table::print(&format!("{}\n", Value::from(all)));
    }
    let mut table = Table::new(["PID", "PARENT", "STATE", "STARTED", "COMMAND_ID", "COMMAND"]);
    for process in processes {
        let mut state = state(&process).to_owned();
        if process.foreground {
            state += "+";
        }
        if let Some(code) = process.exit_code {
            state += &format!("({code})");
        }
        let command_id = if process.command_id.is_empty() { "-".to_owned() } else { process.command_id };
        let started = process.start_time.and_then(|time| SystemTime::try_from(time).ok());
        let started = started.map_or_else(|| "-".to_owned(), table::time);
        // One line each, whatever is in it.
        let command = process.command.escape_debug().to_string();
        table.add([process.pid.to_string(), process.parent_pid.to_string(), state, started, command_id, command]);
    }
    table::print(&table.to_string())
}

/// Sends a signal to a process or a command.
pub(super) fn kill(args: &KillArgs) -> Result<(), CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let Some(pid) = args.pid else { return cancel(args) };
    let signalled = super::block_on(async {
        let mut client = args.remote.connect().await?;
        let (session_id, command_id) = ids(&args.id);
        let signal = args.signal.unwrap_or(libc::SIGTERM);
        let request = SignalProcessRequest { session_id, command_id, pid, signal, tree: args.tree, start_time: None };
        Ok(client.sessions.signal_process(request).await?.into_inner().signalled)
    })?;
    if args.json { table::print(&format!("{}\n", json!({ "signalled": signalled }))) } else { Ok(()) }
}

fn cancel(args: &KillArgs) -> Result<(), CliError> {
    let command_id = args.id.clone();
    if listing::named(&command_id) != Named::Command {
        let message =
            format!("{command_id}: give a PID too, as `sandshell ps {command_id}` shows it, or the id of a command");
        return Err(CliError::option(message));
    }
    // 0 cancels.
    let signal = args.signal.unwrap_or_default();
    super::block_on(async {
        let mut client = args.remote.connect().await?;
        client.sessions.signal_command(SignalCommandRequest { command_id, signal }).await?;
        Ok(())
    })?;
    if args.json { table::print(&format!("{}\n", json!({ "signalled": true }))) } else { Ok(()) }
}

fn state(process: &Process) -> &'static str {
    match process.state() {
        State::Unspecified => "unknown",
        State::Running => "running",
        State::Sleeping => "sleeping",
        State::Stopped => "stopped",
        State::Zombie => "zombie",
        State::Exited => "exited",
    }
}

fn as_json(process: &Process) -> Value {
    json!({
        "pid": process.pid,
        "command_id": process.command_id,
        "command": process.command,
        "state": state(process),
        "start_time": process.start_time.map(|time| time.to_string()),
        "exit_code": process.exit_code,
        "signal": process.signal,
        "parent_pid": process.parent_pid,
        "foreground": process.foreground,
    })
}

fn signal(text: &str) -> Result<i32, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let named = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = named.or_else(|| text.parse().ok().filter(|number| (1..=64).contains(number)));
    number.ok_or_else(|| {
        let names = SIGNALS.map(|(name, _)| name).join(", ");
        format!("is no signal; give a number from 1 to 64, or one of {names}")
    })
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn a_signal_has_a_name_or_a_number() {
        for text in ["TERM", "term", "SIGTERM", "15"] {
            assert_eq!(signal(text), Ok(15), "{text}");
        }
        for text in ["", "0", "65", "-1", "NOSUCH"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
