//! Types commands into a session: from a person's lines, or from all of standard input.

use super::super::{
    credentials::Channel,
    error::CliError,
    follow::{End, Signals, exit_code, follow, is_last, say_not_restored},
    terminal::{self, Outputs, RawMode},
};
use crate::api::v1::{
    ExecRequest, ExecStart, GetCommandRequest, GetSessionRequest, Pty, Session, SignalCommandRequest, command::State,
    exec_request::Request, exec_start::Target, session_service_client::SessionServiceClient,
};
use std::{env, time::Duration};
use tokio::{
    io::AsyncReadExt,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

type Sessions = SessionServiceClient<Channel>;

/// Exit code when ^C ends us.
const INTERRUPTED: u8 = 130;

/// What comes within this time after a line was pasted with it.
const PASTED: Duration = Duration::from_millis(20);

/// What a command's text may have, and a byte more, so that the server says that there is too much.
const MOST_TEXT: u64 = (4 << 20) + 1;

/// How often it is asked whether the turn of a command has come.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads lines and runs each, until there are no more.
pub(super) async fn converse(mut sessions: Sessions, session: Session, signals: &mut Signals) -> Result<u8, CliError> {
    let id = &session.session_id;
    eprintln!("sandshell: typing into session {id}; ^D or `exit` leaves it, and it goes on");
    let (give, mut keys) = mpsc::channel(8);
    terminal::read_input(give);
    let name = id.rsplit('/').next().unwrap_or_default();
    let mut directory = session.working_directory.clone();
    loop {
        eprint!("{name}:{directory}$ ");
        let line = tokio::select! {
            line = read_line(&mut keys) => line,
            code = signals.next() => match code {
                // The terminal has forgotten the line.
                INTERRUPTED => {
                    eprintln!();
                    continue;
                }
                code => return Ok(code),
            },
        };
        let Some(line) = line else {
            eprintln!();
            return Ok(0);
        };
        match line.trim() {
            "" => continue,
            "exit" => return Ok(0),
            _ => {}
        }
        let now = sessions.get_session(GetSessionRequest { session_id: id.clone() }).await?.into_inner();
        if !now.running_command_id.is_empty() {
            eprintln!("sandshell: {} runs; yours waits for its turn, and ^C cancels it", now.running_command_id);
        }
        match type_command(&mut sessions, id, line, &mut keys, signals).await? {
            Ended::Command(end) => {
                say_not_restored(&end);
                let code = exit_code(&end);
                if is_last(&end) {
                    return Ok(code);
                }
                if let End::Exited(exited) = end {
                    directory = exited.working_directory;
                }
            }
            Ended::Us(code) => return Ok(code),
        }
    }
}

/// A line, with what was pasted after it. None at the end of our input.
async fn read_line(keys: &mut mpsc::Receiver<ExecRequest>) -> Option<String> {
    let mut line = Vec::new();
    loop {
        // The terminal gives whole lines; a longer one, or one that ^D was pressed in, comes in parts.
        let more = if line.ends_with(b"\n") {
            match timeout(PASTED, keys.recv()).await {
                Ok(more) => more,
                Err(_) => break,
            }
        } else {
            keys.recv().await
        };
        match more.and_then(|more| more.request) {
            Some(Request::Stdin(bytes)) => line.extend_from_slice(&bytes),
            // What was typed before the end is not lost; the end is found again at the next line.
            _ if line.is_empty() => return None,
            _ => break,
        }
    }
    Some(String::from_utf8_lossy(&line).into_owned())
}

/// What ended first.
enum Ended {
    Command(End),
    Us(u8),
}

/// Runs a command that has our terminal.
async fn type_command(
    sessions: &mut Sessions,
    session_id: &str,
    command: String,
    keys: &mut mpsc::Receiver<ExecRequest>,
    signals: &mut Signals,
) -> Result<Ended, CliError> {
    let term = env::var("TERM").unwrap_or_default();
    let pty = Some(Pty { size: terminal::size(), term });
    let target = Some(Target::SessionId(session_id.to_owned()));
    let start = ExecStart { target, command, pty, ..ExecStart::default() };
    let (requests, sent) = mpsc::channel(8);
    let (current, watched) = watch::channel(None);
    let (mut asking, mut turn) = (sessions.clone(), watched.clone());
    let mut outputs = Outputs::new();
    let following = follow(sessions, start, sent, &current, &mut outputs, true);
    tokio::pin!(following);
    // A command can be cancelled once it has an id.
    let mut is_unwanted = false;
    let command_id = loop {
        tokio::select! {
            end = &mut following => return end.map(|(_, end)| Ended::Command(end)),
            // It is not closed before `following` has ended.
            Ok(id) = turn.wait_for(Option::is_some) => break id.clone().unwrap_or_default(),
            code = signals.next() => match code {
                INTERRUPTED if !is_unwanted => is_unwanted = true,
                code => return Ok(Ended::Us(code)),
            },
        }
    };
    if is_unwanted {
        // One that is over by now needs no cancelling.
        let _ = asking.signal_command(SignalCommandRequest { command_id: command_id.clone(), signal: 0 }).await;
    }
    let ending = signals.end(asking.clone(), watched);
    tokio::pin!(ending);
    // Until its turn has come, keys and ^C are for our own terminal.
    tokio::select! {
        end = &mut following => return end.map(|(_, end)| Ended::Command(end)),
        code = &mut ending => return Ok(Ended::Us(code)),
        () = turn_of(&mut asking, &command_id) => {}
    }
    let raw = RawMode::enter().map_err(|source| CliError::io("set up the terminal", source))?;
    let ended = tokio::select! {
        end = &mut following => end.map(|(_, end)| Ended::Command(end)),
        code = &mut ending => Ok(Ended::Us(code)),
        error = terminal::resizes(requests.clone()) => Err(error),
        () = pass_on(keys, &requests) => Ok(Ended::Us(0)),
    };
    drop(raw);
    ended
}

/// Returns when a command does not wait any more.
async fn turn_of(sessions: &mut Sessions, command_id: &str) {
    let request = GetCommandRequest { command_id: command_id.to_owned() };
    while let Ok(command) = sessions.get_command(request.clone()).await
        && command.get_ref().state() == State::Queued
    {
        sleep(PAUSE).await;
    }
}

/// Passes keys on. Only ends when nobody takes them.
async fn pass_on(keys: &mut mpsc::Receiver<ExecRequest>, requests: &mpsc::Sender<ExecRequest>) {
    while let Some(request) = keys.recv().await {
        if requests.send(request).await.is_err() {
            break;
        }
    }
    // Its end is told by what follows the command.
    std::future::pending().await
}

/// Runs all of standard input as one command.
pub(super) async fn read_script(
    mut sessions: Sessions,
    session: Session,
    signals: &mut Signals,
) -> Result<u8, CliError> {
    let (mut script, mut input) = (Vec::new(), tokio::io::stdin().take(MOST_TEXT));
    tokio::select! {
        read = input.read_to_end(&mut script) => read.map_err(|error| CliError::io("read standard input", error))?,
        code = signals.next() => return Ok(code),
    };
    let command = String::from_utf8(script)
        .map_err(|_| CliError::option("standard input: is not UTF-8, so it cannot be a command"))?;
    let target = Some(Target::SessionId(session.session_id));
    let start = ExecStart { target, command, ..ExecStart::default() };
    // It gets no input.
    let (_, nothing) = mpsc::channel(1);
    let (current, watched) = watch::channel(None);
    let ending = sessions.clone();
    let mut outputs = Outputs::new();
    let end = tokio::select! {
        end = follow(&mut sessions, start, nothing, &current, &mut outputs, false) => end?.1,
        code = signals.end(ending, watched) => return Ok(code),
    };
    say_not_restored(&end);
    Ok(exit_code(&end))
}
