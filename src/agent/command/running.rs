//! One command while it runs: its pipes, its input, its time, and the signals that end it.

mod pipes;
mod questions;
mod verdict;

use super::{
    Command, Control, InputPiece, Job, Pty,
    escalation::Escalation,
    input::{Feed, Taken},
    leftovers,
    signals::Signals,
};
use crate::{
    agent::{
        output::Log,
        shell::{self, Event, Fifo, Holder, Moment, ReadEnd, Report, Saved, Shell, Streams, Term},
    },
    api::v1::{Exited, Stream, exited::Reason},
};
use bytes::Bytes;
pub(in crate::agent) use pipes::{LeftOnTerminal, drain_pipe, drain_terminal};
use questions::Questions;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};
pub(in crate::agent) use verdict::{ShellEnd, Verdict};

/// After this time the agent looks whether the shell that it has given a command was stopped before.
const LOOK_FIRST: Duration = Duration::from_millis(30);

/// What an aborted command ends with when no program has ended with anything else.
pub(in crate::agent) const INTERRUPTED: i32 = 128 + libc::SIGINT;

/// After this time of silence the agent looks whether the report can still come.
const LOOK_AFTER: Duration = Duration::from_millis(300);

/// How often a shell that an INT has confused is asked for its report.
const MOST_ASKED: u32 = 10;

/// A command that runs.
pub(in crate::agent) struct Running {
    command: Arc<Command>,
    since: Instant,
    moment: Moment,
    timeout: Option<Duration>,
    grace: Duration,
    pty: bool,
    /// What an earlier command has left on the terminal, which may go on printing there.
    pub(in crate::agent) on_terminal: Option<Arc<Command>>,
    output: Option<Fifo>,
    error: Option<Fifo>,
    feed: Feed,
    questions: Questions,
    /// When to look at them again, before the usual time.
    questions_at: Option<Instant>,
    control: mpsc::Receiver<Control>,
    input: mpsc::UnboundedReceiver<super::QueuedInput>,
    tag: u64,
    /// The last signal that the client sent.
    signalled: i32,
    /// Where the signals went.
    signals: Signals,
    /// Whether the shell ends after it.
    leaves: bool,
    /// How often a shell that seems to ignore our lines was asked for its report again.
    asked_again: u32,
    /// The tag under which a shell that has no reason to owe us a report was asked for `$?`.
    asked: Option<u64>,
    /// The exit status of each part of its last pipeline, where the shell has told them.
    pub(in crate::agent) pipes: Vec<i32>,
}

impl Running {
    /// Gives the command to the shell.
    pub(in crate::agent) fn start(job: Job, shell: &mut Shell, last_status: i32, direct: bool) -> io::Result<Self> {
        let Job { command, spec, control, input } = job;
        // Before the shell is told anything: what it starts from then on is the command's.
        let (since, moment) = (Instant::now(), Moment::now());
        shell.repair()?;
        let feed = Feed::new(spec.input, spec.pty.is_some(), shell.directory())?;
        let (output, error) = match &spec.pty {
            Some(Pty { size, .. }) => {
                shell.terminal.reset();
                shell.terminal.resize(size);
                (None, None)
            }
            // Opened twice by the shell, it is still one pipe.
            None if spec.merge => (Some(shell.pipe("out")?), None),
            None => (Some(shell.pipe("out")?), Some(shell.pipe("err")?)),
        };
        let questions = Questions::new(spec.answers, &shell.terminal);
        shell.forget_own_output();
        let tag = {
            let place = |fifo: &Option<Fifo>| {
                fifo.as_ref().and_then(|f| f.path().to_str()).unwrap_or(shell.terminal.path()).to_owned()
            };
            let input = feed.path(&shell.terminal).to_owned();
            let streams = Streams {
                input: &input,
                output: &place(&output),
                error: &place(if spec.merge { &output } else { &error }),
                last_status,
                term: spec
                    .pty
                    .as_ref()
                    .map(|pty| pty.term.as_deref().map_or(Term::Usual(shell::environment::TERMINAL), Term::Asked)),
                leave: direct,
            };
            shell.run(&spec.text, &streams)?
        };
        for (fifo, stream) in [(&output, Stream::Stdout), (&error, Stream::Stderr)] {
            if let Some(fifo) = fifo {
                command.log.pipe_opened(stream);
                command.set_pipe(stream, Some(fifo.identity()));
            }
        }
        Ok(Self {
            command,
            since,
            moment,
            timeout: spec.timeout,
            grace: spec.grace,
            pty: spec.pty.is_some(),
            on_terminal: None,
            output,
            error,
            feed,
            questions,
            questions_at: None,
            control,
            input,
            tag,
            signalled: 0,
            signals: Signals::default(),
            leaves: direct,
            asked_again: 0,
            asked: None,
            pipes: Vec::new(),
        })
    }

    /// Says something on its standard error.
    pub(in crate::agent) fn complain(&self, text: &'static str) {
        self.command.complain(text);
    }

    /// Runs it to its end.
    pub(in crate::agent) async fn drive(
        &mut self,
        shell: &mut Shell,
        holder: &mut Holder,
        saved: &mut Option<Saved>,
    ) -> Verdict {
        let mut escalation: Option<Escalation> = None;
        let mut aborted = None;
        // Usually its own; whichever it is, room in it is waited for.
        let waiting =
            Arc::clone(self.on_terminal.as_ref().filter(|_| !self.pty).map_or(&self.command.log, |by| &by.log));
        let deadline = self.timeout.map(|timeout| self.since + timeout);
        let mut look_at = Some(self.since + LOOK_FIRST);
        loop {
            let next_step = escalation.as_ref().map(Escalation::next).or(deadline);
            tokio::select! {
                report = shell.reports.next() => match report {
                    Ok(Report::Done { tag, status, directory, told }) if tag == self.tag => {
                        shell.text_was_run();
                        // A shell that had to be asked again has forgotten its status over the INT, as zsh always does.
                        let forgotten = (self.asked_again > 0 && status == 0) || shell.has_forgotten(status);
                        let status = match aborted {
                            Some(aborted) => self.status_of_aborted(aborted),
                            None if self.signals.shell_had() && forgotten => INTERRUPTED,
                            None => status,
                        };
                        let undisturbed = aborted.is_none() && escalation.is_none() && self.signalled == 0;
                        self.pipes = shell.note_told(told, status, undisturbed);
                        return self.verdict(status, Some(directory), escalation, None);
                    }
                    Ok(Report::Done { tag, status, directory, .. }) if Some(tag) == self.asked => {
                        // The shell reads our lines, but the report of the command is lost.
                        if aborted.is_some() || status == INTERRUPTED {
                            // Something inside has sent it an INT.
                            return self.verdict(INTERRUPTED, Some(directory), escalation, None);
                        }
                        // Nobody knows whether the command ran. Whatever took the report would take the next one too.
                        shell::kill(shell.pid, libc::SIGKILL);
                    }
                    Ok(Report::Aborted { status }) => aborted = Some(status),
                    Ok(Report::Done { .. }) => {}
                    // Its end could never be heard of: a shell that the agent cannot hear is replaced.
                    Err(_) => shell::kill(shell.pid, libc::SIGKILL),
                },
                event = holder.event() => {
                    let end = match event {
                        Ok(Event::Ended(status)) => ShellEnd::new(status),
                        Ok(Event::Started(_) | Event::Unprepared(_) | Event::Failed(_)) => continue,
                        Ok(Event::Gone) | Err(_) => {
                            shell::kill(shell.pid, libc::SIGKILL);
                            ShellEnd::killed()
                        }
                    };
                    aborted = shell.reports.say_aborted().or(aborted);
                    // A shell that leaves after its only command says nothing of an INT either.
                    let forgotten = self.signals.shell_had() && shell.has_forgotten(end.code);
                    let status = match aborted {
                        _ if !self.leaves || end.signal != 0 => end.code,
                        Some(aborted) => self.status_of_aborted(aborted),
                        None if forgotten => INTERRUPTED,
                        None => end.code,
                    };
                    return self.verdict(status, None, escalation, Some(end));
                }
                data = read(&self.output, &self.command.log) => self.bring(Stream::Stdout, data),
                data = read(&self.error, &self.command.log) => self.bring(Stream::Stderr, data),
                data = next_output(&shell.terminal.reader, &waiting) => {
                    let by = Arc::clone(self.of_terminal(&shell.terminal));
                    if let Some(data) = data.ok().flatten() {
                        by.log.append(Stream::Terminal, data);
                    }
                    if Arc::ptr_eq(&by, &self.command) {
                        self.feed.terminal_spoke();
                    }
                }
                Some(control) = self.control.recv() => match control {
                    Control::Resize(size) => shell.terminal.resize(&size),
                    // Nobody asks that of a shell. The one who did is told by the end of its channel.
                    Control::Flush(_) => {}
                    Control::Signal(signal) => {
                        self.signalled = signal;
                        self.signals.send(signal, false, shell);
                    }
                    Control::Cancel => {
                        escalation.get_or_insert_with(|| Escalation::new(Reason::Cancelled, self.grace, self.moment));
                    }
                },
                Some(queued) = self.input.recv(), if self.feed.wants_more() => {
                    let ended = matches!(queued.piece, InputPiece::End);
                    if let Some(signal) = self.feed.signal(&queued.piece, &shell.terminal) {
                        self.signals.typed(signal, shell);
                    }
                    self.feed.take(queued.piece, &shell.terminal);
                    if ended && !self.pty {
                        self.input_ended(&shell.terminal);
                    }
                }
                taken = self.feed.advance(&shell.terminal) => match taken {
                    Taken::Typed => self.questions.answered(),
                    Taken::Unwanted => self.command.refuse_input(),
                    Taken::Otherwise => {}
                },
                () = until(self.questions_at) => self.look_for_questions(&shell.terminal),
                // A shell that saves a large state waits for us to read it.
                state = shell.keeper.next() => if let Ok(Some(state)) = state { *saved = Some(state) },
                () = until(next_step) => {
                    let escalation = escalation.get_or_insert_with(|| Escalation::new(Reason::TimedOut, self.grace, self.moment));
                    escalation.step(shell, holder, &mut self.signals);
                }
                () = until(self.signals.at()) => self.signals.look(shell),
                () = until(look_at) => {
                    let now = Instant::now();
                    look_at = Some(now + LOOK_AFTER);
                    holder.wake();
                    shell.resume_between_commands();
                    if now >= self.since + LOOK_AFTER {
                        self.look_for_report(shell);
                        shell.leave_line_editor();
                        self.look_for_questions(&shell.terminal);
                    }
                }
            }
        }
    }

    /// The status of a command that the shell has aborted, which says what it was then. That tells something when it is a
    /// program's: one that was ended may say so in its own way.
    fn status_of_aborted(&self, status: i32) -> i32 {
        let by_program = status != 0 && !self.signals.groups().is_empty();
        if by_program { status } else { INTERRUPTED }
    }

    fn verdict(
        &self,
        status: i32,
        directory: Option<PathBuf>,
        escalation: Option<Escalation>,
        shell_end: Option<ShellEnd>,
    ) -> Verdict {
        // What was ended before its time is no success, whatever its program says.
        let status = if escalation.is_some() && status == 0 { INTERRUPTED } else { status };
        Verdict {
            status,
            directory,
            reason: escalation.map(|escalation| escalation.reason()),
            signalled: if self.signalled != 0 && status == 128 + self.signalled { self.signalled } else { 0 },
            signal_under_way: self.signals.shell_had(),
            shell_end,
        }
    }

    /// Looks whether the report can still come.
    fn look_for_report(&mut self, shell: &mut Shell) {
        if let Err(error) = shell.repair() {
            // What the shell reports to was removed from inside.
            tracing::warn!(%error, "the private directory of a session cannot be repaired");
        }
        if !shell.has_lost_report() {
            return;
        }
        // It has read all our lines and reported nothing.
        if self.signals.shell_had() {
            // An INT has made it drop one. What an INT tore in two may have opened a quotation, which another one ends.
            match self.asked_again {
                0 => {}
                1..MOST_ASKED => shell::kill(shell.pid, libc::SIGINT),
                _ => shell::kill(shell.pid, libc::SIGKILL),
            }
            self.asked_again += 1;
            let _ = shell.ask_again(self.tag);
        } else if self.asked.is_none() {
            // Something else has read our lines or its report, or something inside has sent it an INT.
            self.asked = shell.ask().ok();
        } else {
            // Not that one either; or it executes nothing any more (`set -n`).
            shell::kill(shell.pid, libc::SIGKILL);
        }
    }

    fn bring(&mut self, stream: Stream, data: Option<Bytes>) {
        if let Some(data) = data {
            self.feed.pipe_spoke();
            self.command.log.append(stream, data);
        }
    }

    /// Ends what its programs and the shell have left in the foreground. `ended` tells whether it was us who ended it.
    pub(in crate::agent) async fn end_leftovers(&self, ended: bool, shell: &Shell) {
        leftovers::end(&self.signals, ended, shell, self.grace).await;
    }

    /// Reports its end.
    pub(in crate::agent) fn over(mut self, exited: Exited) {
        self.command.set_over(exited);
        self.leave_background();
    }

    /// How long it has run.
    pub(in crate::agent) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

pub(in crate::agent) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn read(fifo: &Option<Fifo>, log: &Log) -> Option<Bytes> {
    match fifo {
        Some(fifo) => next_output(&fifo.reader, log).await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// Waits for bytes of a program, and before that until its log has room for them. May be cancelled without loss.
pub(in crate::agent) async fn next_output(reader: &ReadEnd, log: &Log) -> io::Result<Option<Bytes>> {
    loop {
        log.wait_for_room().await;
        match reader.data_within(|| log.room()).await? {
            // Others have taken the room while there was nothing to read.
            Some(data) if data.is_empty() => {}
            data => return Ok(data),
        }
    }
}
