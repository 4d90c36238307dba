//! Follows one command to its end: writes its output, and comes back when the connection is lost.

use super::{credentials::Channel, error::CliError, sending::Sending, terminal::Outputs};
use crate::api::v1::{
    AttachRequest, Command, ExecRequest, ExecResponse, ExecStart, Exited, SignalCommandRequest, Stream,
    exec_response::Response, exited::Reason, session_service_client::SessionServiceClient,
};
use std::time::Duration;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::sleep,
};
use tonic::{Code, Status, Streaming};

type Sessions = SessionServiceClient<Channel>;

/// How often it is tried to take up a lost stream, and how long before each time.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// Exit code of a program that signal N ends.
const SIGNALLED: u8 = 128;

/// How following a command came to its end.
pub(super) enum End {
    /// It exited.
    Exited(Exited),
    /// All that was wanted of its output is there, and it goes on.
    SoFar,
    /// Nobody reads our output any more.
    NobodyReads,
}

/// Starts a command and follows it; `input` is what is sent after the start. `current` is its id while it runs. Returns its id too.
pub(super) async fn follow(
    sessions: &mut Sessions,
    start: ExecStart,
    input: mpsc::Receiver<ExecRequest>,
    current: &watch::Sender<Option<String>>,
    outputs: &mut Outputs,
    terminal: bool,
) -> Result<(String, End), CliError> {
    let sending = Sending::new(start, input);
    let stream = sessions.exec(sending.begin()).await?.into_inner();
    let mut position = AttachRequest::default();
    let end = go_on(sessions, stream, &mut position, Want::Command(&sending), current, outputs, terminal).await?;
    Ok((position.command_id, end))
}

/// Follows a command that is there from a position in its output: to its end, or until so much was printed.
pub(super) async fn follow_from(
    sessions: &mut Sessions,
    mut position: AttachRequest,
    until: Option<&Command>,
    outputs: &mut Outputs,
) -> Result<End, CliError> {
    let stream = sessions.attach(position.clone()).await?.into_inner();
    let (current, _) = watch::channel(None);
    go_on(sessions, stream, &mut position, Want::Output(until), &current, outputs, true).await
}

/// What is followed.
#[derive(Clone, Copy)]
enum Want<'a> {
    /// A command of our own, with what it is sent.
    Command(&'a Sending),
    /// The output of a command that is there: to its end, or until there is as much as this says.
    Output(Option<&'a Command>),
}

async fn go_on(
    sessions: &mut Sessions,
    mut stream: Streaming<ExecResponse>,
    position: &mut AttachRequest,
    want: Want<'_>,
    current: &watch::Sender<Option<String>>,
    outputs: &mut Outputs,
    terminal: bool,
) -> Result<End, CliError> {
    let mut exited = None;
    loop {
        if let Want::Output(Some(so_far)) = want
            && has_reached(position, so_far)
        {
            return Ok(End::SoFar);
        }
        let message = stream.message().await;
        if let (Want::Command(sending), false) = (want, position.command_id.is_empty())
            && let Ok(Some(ExecResponse { response: Some(Response::Started(started)) })) = &message
        {
            sending.goes_on(started.stdin_offset)?;
        }
        match message {
            Ok(Some(message)) => match take(message, position, current, outputs, terminal).await {
                Some(End::Exited(how)) if position.follow_background => exited = Some(how),
                Some(end) => {
                    current.send_replace(None);
                    return Ok(end);
                }
                None => {}
            },
            Ok(None) => match exited {
                Some(how) => return Ok(End::Exited(how)),
                None => return Err(Status::unavailable("the stream ended before the command did").into()),
            },
            Err(status) if can_resume(&status) && !position.command_id.is_empty() => {
                stream = resume(sessions, position, want).await.ok_or(status)?;
            }
            Err(status) => return Err(status.into()),
        }
    }
}

/// Whether all that a command had printed is there.
fn has_reached(position: &AttachRequest, so_far: &Command) -> bool {
    position.stdout_offset >= so_far.stdout_bytes
        && position.stderr_offset >= so_far.stderr_bytes
        && position.terminal_offset >= so_far.terminal_bytes
}

fn can_resume(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
}

/// The stream from where it broke off, if the sandbox can be reached again soon.
async fn resume(sessions: &mut Sessions, position: &AttachRequest, want: Want<'_>) -> Option<Streaming<ExecResponse>> {
    let mut with_input = true;
    for _ in 0..ATTEMPTS {
        sleep(PAUSE).await;
        let requests = match want {
            Want::Command(sending) if with_input => sending.again(position),
            _ => None,
        };
        let is_start = requests.is_some();
        let answer = match requests {
            Some(requests) => sessions.exec(requests).await,
            None => sessions.attach(position.clone()).await,
        };
        match answer {
            Ok(response) => return Some(response.into_inner()),
            Err(status) if can_resume(&status) => {}
            // Its output is there all the same.
            Err(status) if is_start => {
                eprintln!("sandshell: the connection was lost, and the input cannot go on: {}", status.message());
                with_input = false;
            }
            Err(_) => return None,
        }
    }
    None
}

async fn take(
    message: ExecResponse,
    position: &mut AttachRequest,
    current: &watch::Sender<Option<String>>,
    outputs: &mut Outputs,
    terminal: bool,
) -> Option<End> {
    match message.response? {
        Response::Started(started) => {
            position.command_id.clone_from(&started.command_id);
            current.send_replace(Some(started.command_id));
            None
        }
        Response::Output(output) => {
            advance(position, output.stream(), output.offset + output.data.len() as i64);
            outputs.write(&output, terminal).await.err().map(|_| End::NobodyReads)
        }
        Response::Gap(gap) => {
            eprintln!("sandshell: {} bytes of output are no longer kept", gap.to.saturating_sub(gap.from));
            advance(position, gap.stream(), gap.to);
            None
        }
        Response::Exited(exited) => Some(End::Exited(exited)),
        Response::KeepAlive(_) => None,
    }
}

fn advance(position: &mut AttachRequest, stream: Stream, next: i64) {
    match stream {
        Stream::Stderr => position.stderr_offset = next,
        Stream::Terminal => position.terminal_offset = next,
        Stream::Stdout | Stream::Unspecified => position.stdout_offset = next,
    }
}

/// Whether nothing can follow.
pub(super) fn is_last(end: &End) -> bool {
    match end {
        End::Exited(exited) => exited.reason() == Reason::SandboxStopped,
        End::SoFar => false,
        End::NobodyReads => true,
    }
}

/// Our exit code for a command's end. Says why if it was not the command's own.
pub(super) fn exit_code(end: &End) -> u8 {
    let exited = match end {
        End::Exited(exited) => exited,
        End::SoFar => return 0,
        End::NobodyReads => return SIGNALLED + 13,
    };
    match exited.reason() {
        Reason::TimedOut => eprintln!("sandshell: the command's time was over"),
        Reason::OutOfMemory => eprintln!("sandshell: the sandbox's memory limit was reached"),
        Reason::SandboxStopped => eprintln!("sandshell: the sandbox was stopped"),
        Reason::Unspecified | Reason::Exited | Reason::Signaled | Reason::Cancelled | Reason::ShellExited => {}
    }
    u8::try_from(exited.exit_code).unwrap_or(u8::MAX)
}

/// Says what a new shell could not be given back, if the command has ended the one before it.
pub(super) fn say_not_restored(end: &End) {
    if let End::Exited(exited) = end
        && !exited.not_restored.is_empty()
    {
        eprintln!("sandshell: the new shell could not be given back: {}", exited.not_restored.join(", "));
    }
}

/// The signals that end `run` and `shell`.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, CliError> {
        let open = |kind| signal(kind).map_err(|source| CliError::io("listen to signals", source));
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
            hang_up: open(SignalKind::hangup())?,
        })
    }

    /// The exit code of the next signal.
    pub(super) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => SIGNALLED + 2,
            _ = self.terminate.recv() => SIGNALLED + 15,
            _ = self.hang_up.recv() => SIGNALLED + 1,
        }
    }

    /// Waits for what ends us: the first ^C only cancels the current command, if there is one.
    pub(super) async fn end(&mut self, mut sessions: Sessions, current: watch::Receiver<Option<String>>) -> u8 {
        let mut cancelled = false;
        loop {
            let code = self.next().await;
            let command_id = current.borrow().clone();
            match command_id {
                Some(command_id) if code == SIGNALLED + 2 && !cancelled => {
                    cancelled = true;
                    eprintln!("sandshell: the command is being cancelled; a second ^C ends it all");
                    // One that is over by now needs no cancelling.
                    let _ = sessions.signal_command(SignalCommandRequest { command_id, signal: 0 }).await;
                }
                _ => return code,
            }
        }
    }
}
