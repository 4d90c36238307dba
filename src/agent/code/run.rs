//! One piece of code while it runs.

use super::{
    channel::{Channel, Said},
    interpreter::Interpreter,
};
use crate::{
    agent::command::Control,
    api::v1::{
        CodeDone, CodeError, CodeStarted, Exited, RunCodeResponse, exec_response::Response,
        run_code_response::Response as Told,
    },
    error::Result,
};
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// How long interrupted code may take to end before its interpreter is ended.
const INTERRUPTED_WITHIN: Duration = Duration::from_secs(5);

/// How long it may take to hear of what was printed last. The agent itself does that.
const FLUSHED_WITHIN: Duration = Duration::from_secs(5);

/// Where what comes of code goes.
pub(super) type Answers = mpsc::Sender<Result<RunCodeResponse>>;

/// Code that runs.
pub(super) struct Run<'a> {
    interpreter: &'a mut Interpreter,
    answers: &'a Answers,
    since: Instant,
    /// When it is interrupted, or ended when it was interrupted before.
    next: Option<Instant>,
    interrupted: bool,
    timed_out: bool,
    failed: bool,
}

impl<'a> Run<'a> {
    /// Code whose turn has come.
    pub(super) fn new(interpreter: &'a mut Interpreter, answers: &'a Answers, timeout: Option<Duration>) -> Self {
        let since = Instant::now();
        let next = timeout.map(|timeout| since + timeout);
        Self { interpreter, answers, since, next, interrupted: false, timed_out: false, failed: false }
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self, code: &str, generation: i64) {
        let command_id = self.interpreter.command.id.clone();
        self.tell(Told::Started(CodeStarted { command_id, generation })).await;
        if let Some(channel) = &mut self.interpreter.channel {
            channel.give(code);
        }
        let mut exit_code = None;
        loop {
            tokio::select! {
                said = said(&mut self.interpreter.channel) => match said {
                    Some(Said::Result(result)) => {
                        self.tell_what_was_printed().await;
                        self.tell(Told::Result(result)).await;
                    }
                    Some(Said::Error(error)) => {
                        self.failed = true;
                        self.tell_what_was_printed().await;
                        self.tell(Told::Error(error)).await;
                    }
                    Some(Said::Done) => {
                        self.tell_what_was_printed().await;
                        break;
                    }
                    // Nothing more is heard of it: its end is.
                    None => self.interpreter.channel = None,
                },
                message = self.interpreter.follower.message() => match message {
                    Some(Response::Exited(exited)) => {
                        exit_code = self.ended(&exited).await;
                        break;
                    }
                    Some(message) => self.pass(message).await,
                    None => {
                        exit_code = self.ended(&Exited::default()).await;
                        break;
                    }
                },
                () = until(self.next) => self.end_it().await,
                // Nobody could ever hear of what it does.
                () = self.answers.closed(), if !self.interrupted => self.end_it().await,
            }
        }
        let duration = prost_types::Duration::try_from(self.since.elapsed()).ok();
        let exit_code = exit_code.unwrap_or(i32::from(self.failed));
        let done = CodeDone { exit_code, timed_out: self.timed_out, duration };
        self.tell(Told::Done(done)).await;
    }

    /// The process has ended. Of one that was to be kept that is a mistake.
    async fn ended(&mut self, exited: &Exited) -> Option<i32> {
        if !self.interpreter.keeps {
            return Some(exited.exit_code);
        }
        self.failed = true;
        let how = if exited.signal != 0 {
            format!("signal {}", exited.signal)
        } else {
            format!("exit code {}", exited.exit_code)
        };
        self.tell(Told::Error(CodeError {
            name: "InterpreterEnded".to_owned(),
            message: format!(
                "the interpreter has ended ({how}); its variables are lost, and the next call starts another"
            ),
            traceback: String::new(),
        }))
        .await;
        None
    }

    /// What was printed before the code was over comes before that is told.
    async fn tell_what_was_printed(&mut self) {
        let (done, flushed) = oneshot::channel();
        if self.interpreter.command.say(Control::Flush(done)).await {
            // An error means that the process has ended.
            let _ = tokio::time::timeout(FLUSHED_WITHIN, flushed).await;
        }
        let end = self.interpreter.command.log.end();
        while self.interpreter.follower.reached().iter().zip(end).any(|(reached, end)| *reached < end) {
            match self.interpreter.follower.message().await {
                // The interpreter's end is for the next one who uses it.
                Some(Response::Exited(_)) | None => return,
                Some(message) => self.pass(message).await,
            }
        }
    }

    async fn pass(&mut self, message: Response) {
        match message {
            Response::Output(output) => self.tell(Told::Output(output)).await,
            Response::Gap(gap) => self.tell(Told::Gap(gap)).await,
            Response::KeepAlive(alive) => self.tell(Told::KeepAlive(alive)).await,
            Response::Started(_) | Response::Exited(_) => {}
        }
    }

    /// Tells the client, and waits until it takes that; meanwhile the code's time goes on. A client that is gone is told nothing.
    async fn tell(&mut self, told: Told) {
        let answers = self.answers;
        loop {
            tokio::select! {
                place = answers.reserve() => {
                    if let Ok(place) = place {
                        place.send(Ok(RunCodeResponse { response: Some(told) }));
                    }
                    return;
                }
                () = until(self.next) => self.end_it().await,
            }
        }
    }

    /// Interrupts it; and ends its interpreter if it was interrupted before.
    async fn end_it(&mut self) {
        self.timed_out |= !self.answers.is_closed();
        let control = if self.interrupted || !self.interpreter.keeps {
            self.next = None;
            Control::Cancel
        } else {
            self.next = Some(Instant::now() + INTERRUPTED_WITHIN);
            Control::Signal(libc::SIGINT)
        };
        self.interrupted = true;
        self.interpreter.command.say(control).await;
    }
}

async fn said(channel: &mut Option<Channel>) -> Option<Said> {
    match channel {
        Some(channel) => channel.next().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
