//! One piece of code while it runs.

use super::{
    channel::{Channel, Said},
    interpreter::{ENDS_WITHIN, Interpreter},
};
use crate::{
    agent::command::Control,
    api::v1::{
        CodeDone, CodeStarted, Exited, RunCodeResponse, exec_response::Response, run_code_response::Response as Told,
    },
    error::Result,
};
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

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
    deleted: &'a CancellationToken,
    since: Instant,
    /// When it is interrupted, or ended when it was interrupted before.
    next: Option<Instant>,
    interrupted: bool,
    /// Whether its context is deleted.
    leaving: bool,
    timed_out: bool,
    failed: bool,
}

impl<'a> Run<'a> {
    /// Code whose turn has come. When `deleted` is cancelled, its context is to end.
    pub(super) fn new(
        interpreter: &'a mut Interpreter,
        answers: &'a Answers,
        timeout: Option<Duration>,
        deleted: &'a CancellationToken,
    ) -> Self {
        let since = Instant::now();
        let next = timeout.map(|timeout| since + timeout);
        Self {
            interpreter,
            answers,
            deleted,
            since,
            next,
            interrupted: false,
            leaving: false,
            timed_out: false,
            failed: false,
        }
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self, code: &str, mut started: CodeStarted) {
        started.command_id.clone_from(&self.interpreter.command.id);
        self.tell(Told::Started(started)).await;
        let keeps = self.interpreter.keeps;
        if let Some(channel) = &mut self.interpreter.channel {
            channel.give(code, !keeps);
        }
        let exit_code = loop {
            tokio::select! {
                said = said(&mut self.interpreter.channel) => match said {
                    Some(Said::Done) => {
                        self.tell_what_was_printed().await;
                        if self.leaving {
                            // With its other end closed the interpreter ends in order.
                            self.interpreter.channel = None;
                        } else if keeps {
                            break i32::from(self.failed);
                        }
                    }
                    Some(said) => self.tell_said(said).await,
                    // Nothing more is heard of it: its end is.
                    None => self.interpreter.channel = None,
                },
                message = self.interpreter.follower.message() => match message {
                    Some(Response::Exited(exited)) => break self.ended(&exited).await,
                    Some(message) => self.pass(message).await,
                    None => {
                        let exited = self.interpreter.command.exited().unwrap_or_default();
                        break self.ended(&exited).await;
                    }
                },
                () = until(self.next) => self.end_it().await,
                () = self.deleted.cancelled(), if !self.leaving => self.leave().await,
                // Nobody could ever hear of what it does.
                () = self.answers.closed(), if !self.interrupted => self.end_it().await,
            }
        };
        let duration = prost_types::Duration::try_from(self.since.elapsed()).ok();
        let done = CodeDone { exit_code, timed_out: self.timed_out, duration };
        self.tell(Told::Done(done)).await;
    }

    /// What the driver says of the code.
    async fn tell_said(&mut self, said: Said) {
        let told = match said {
            Said::Result(result) => Told::Result(result),
            // Of code whose context is deleted the end of the interpreter is told.
            Said::Error(_) if self.leaving => return,
            Said::Error(error) => {
                self.failed = true;
                Told::Error(error)
            }
            Said::Done => return,
        };
        self.tell_what_was_printed().await;
        self.tell(told).await;
    }

    /// The process has ended. Of one that was to be kept that is a mistake. Answers the exit code.
    async fn ended(&mut self, exited: &Exited) -> i32 {
        // What it said last may be heard of after its end. Then the channel ends too, unless something else has it open.
        while let Some(channel) = &mut self.interpreter.channel {
            match timeout(FLUSHED_WITHIN, channel.next()).await {
                Ok(Some(said)) => self.tell_said(said).await,
                Ok(None) | Err(_) => self.interpreter.channel = None,
            }
        }
        let error = match (self.interpreter.keeps, self.leaving) {
            (true, true) => Some("; its context was deleted"),
            (true, false) => Some("; its variables are lost, and the next call starts another"),
            // Who interrupts it knows why it has ended.
            (false, _) if self.interpreter.is_driven && exited.signal != 0 && !self.interrupted => Some(""),
            (false, _) => None,
        };
        if let Some(meaning) = error {
            self.failed = true;
            self.tell(Told::Error(Interpreter::ending(exited, meaning))).await;
            self.interpreter.end_is_told = !self.answers.is_closed();
        }
        match exited.exit_code {
            _ if self.interpreter.keeps => 1,
            0 => i32::from(self.failed || self.timed_out),
            other => other,
        }
    }

    /// What was printed before the code was over comes before that is told.
    async fn tell_what_was_printed(&mut self) {
        let (done, flushed) = oneshot::channel();
        if self.interpreter.command.say(Control::Flush(done)).await {
            // An error means that the process has ended.
            let _ = timeout(FLUSHED_WITHIN, flushed).await;
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
                () = self.deleted.cancelled(), if !self.leaving => self.leave().await,
            }
        }
    }

    /// Its context is deleted: interrupts the code, so that the interpreter can end in order.
    async fn leave(&mut self) {
        self.leaving = true;
        self.next = Some(Instant::now() + ENDS_WITHIN);
        if !std::mem::replace(&mut self.interrupted, true) {
            self.interpreter.command.say(Control::Signal(libc::SIGINT)).await;
        }
    }

    /// Interrupts it; and ends its interpreter if it was interrupted before.
    async fn end_it(&mut self) {
        self.timed_out |= !self.answers.is_closed() && !self.leaving;
        let control = if self.interrupted || !self.interpreter.is_driven {
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
