//! One command: what was asked, what it printed, how it ended, and the way to reach it while it runs.

mod arrived;
mod escalation;
mod follower;
pub(super) mod input;
mod leftovers;
pub(super) mod running;
mod signals;
mod spec;
mod ways;

use super::{
    host::activity::Ongoing,
    output::{Budget, Charge, Log},
    shell::Moment,
};
use crate::{
    api::v1::{self, Exited, TerminalSize},
    sync::lock,
};
use arrived::Arrived;
pub(super) use arrived::Missing;
use bytes::Bytes;
pub(super) use follower::Follower;
pub(super) use spec::{Answers, DEFAULT_SIZE, Input, KILL_GRACE, Pty, Spec, no_room};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::sync::{mpsc, oneshot};
pub(super) use ways::QueuedInput;
use ways::Ways;

/// How much of a command's text is kept to be shown, and how much at least: sessions remember many commands.
const SHOWN_TEXT: usize = 4096;
const SHOWN_AT_LEAST: usize = 64;

/// What the client says to a command that runs.
#[derive(Debug)]
pub(super) enum Control {
    /// Send this signal to the foreground.
    Signal(i32),
    /// End it: INT, TERM, KILL.
    Cancel,
    /// The terminal has a new size.
    Resize(TerminalSize),
    /// Take what it has printed until now, and say when that is done. Of a program without a shell.
    Flush(oneshot::Sender<()>),
}

/// Input that the client sends.
#[derive(Debug)]
pub(super) enum InputPiece {
    /// Bytes.
    Data(Bytes),
    /// No more.
    End,
}

/// One command.
pub(super) struct Command {
    /// `<session>/<number>`.
    pub(super) id: String,
    /// The session it runs in; `None` for a direct execution.
    pub(super) session_id: Option<String>,
    /// What it printed.
    pub(super) log: Arc<Log>,
    /// Longest run time.
    timeout: Option<Duration>,
    /// The beginning of its text.
    shown: Shown,
    phase: Mutex<Phase>,
    /// Device and number of the pipes that only what it has started can have open: of both outputs.
    pipes: Mutex<[Option<(u64, u64)>; 2]>,
    /// Calls that started it, or repeat its start, and wait for its end.
    starters: AtomicUsize,
    /// Where complaints about it belong: its standard error, or the one stream of both outputs.
    error_stream: v1::Stream,
    /// Taken when it is over.
    ongoing: Mutex<Option<Ongoing>>,
    /// Taken when it is over: sessions remember many commands, and this is most of the memory that one takes.
    ways: Mutex<Option<Ways>>,
    arrived: Mutex<Arrived>,
}

/// The beginning of a command's text, charged for as long as the command is remembered.
struct Shown {
    text: String,
    arguments: Vec<String>,
    _charge: Option<Charge>,
}

impl Shown {
    fn of(text: &[u8], arguments: &[String], budget: &Arc<Budget>) -> Self {
        let beginning = |most: usize| {
            let text = cut(text, most);
            let mut left = most;
            let words = arguments.iter().map_while(|word| {
                let shown = (left > 0).then(|| cut(word.as_bytes(), left))?;
                left = left.saturating_sub(shown.len() + size_of::<String>());
                Some(shown)
            });
            (text, words.collect::<Vec<_>>())
        };
        let (text, words) = beginning(SHOWN_TEXT);
        let length = text.len() + words.iter().map(|word| word.len() + size_of::<String>()).sum::<usize>();
        if let Some(charge) = budget.hold_of_plenty(length) {
            return Self { text, arguments: words, _charge: Some(charge) };
        }
        let (text, arguments) = beginning(SHOWN_AT_LEAST);
        Self { text, arguments, _charge: None }
    }
}

/// The beginning of a text, in whole characters.
fn cut(text: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(&text[..most.min(text.len())]);
    text.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

/// What the session needs to run a command, and only as long as it waits and runs.
pub(super) struct Job {
    /// The command.
    pub(super) command: Arc<Command>,
    /// What was asked.
    pub(super) spec: Spec,
    /// Signals and sizes.
    pub(super) control: mpsc::Receiver<Control>,
    /// Input.
    pub(super) input: mpsc::UnboundedReceiver<QueuedInput>,
}

enum Phase {
    Queued,
    Running(SystemTime, Moment),
    Over(SystemTime, Option<(Moment, Moment)>, Exited),
}

impl Command {
    /// A command that waits for its turn.
    pub(super) fn create(id: String, session_id: Option<String>, spec: Spec, ongoing: Ongoing) -> Job {
        let (ways, control, input) = Ways::new();
        let arguments = spec.arguments.as_ref().map_or(&[][..], |arguments| &arguments.0);
        let shown = Shown::of(&spec.text, arguments, spec.log.budget());
        let (phase, ongoing) = (Mutex::new(Phase::Queued), Mutex::new(Some(ongoing)));
        let log = Arc::clone(&spec.log);
        let command = Self {
            id,
            session_id,
            log,
            timeout: spec.timeout,
            shown,
            phase,
            pipes: Mutex::default(),
            starters: AtomicUsize::new(0),
            error_stream: if spec.merge { v1::Stream::Stdout } else { v1::Stream::Stderr },
            ongoing,
            ways: Mutex::new(Some(ways)),
            arrived: Mutex::default(),
        };
        Job { command: Arc::new(command), spec, control, input }
    }

    /// Its turn has come. False when it was cancelled before.
    pub(super) fn set_running(&self) -> bool {
        let mut phase = lock(&self.phase);
        let waits = matches!(*phase, Phase::Queued);
        if waits {
            *phase = Phase::Running(SystemTime::now(), Moment::now());
        }
        waits
    }

    /// Ends it if it still waits for its turn.
    pub(super) fn cancel_queued(&self, mut exited: Exited) -> bool {
        exited.timeout = self.timeout();
        let mut phase = lock(&self.phase);
        if !matches!(*phase, Phase::Queued) {
            return false;
        }
        *phase = Phase::Over(SystemTime::now(), None, exited);
        drop(phase);
        self.close();
        true
    }

    /// That it runs is no use of the sandbox: it waits to be given something to do.
    pub(super) fn is_no_use(&self) {
        lock(&self.ongoing).take();
    }

    /// It is over.
    pub(super) fn set_over(&self, mut exited: Exited) {
        exited.timeout = self.timeout();
        let mut phase = lock(&self.phase);
        let (started, turn) = match &*phase {
            Phase::Running(at, began) => (*at, Some((*began, Moment::now()))),
            Phase::Over(at, turn, _) => (*at, *turn),
            Phase::Queued => (SystemTime::now(), None),
        };
        *phase = Phase::Over(started, turn, exited);
        drop(phase);
        self.close();
    }

    /// Nothing more can be said to it, and nothing more comes but what its background processes print.
    fn close(&self) {
        drop((lock(&self.ongoing).take(), lock(&self.ways).take()));
        self.log.set_over();
    }

    /// How it ended, when it has.
    pub(super) fn exited(&self) -> Option<Exited> {
        match &*lock(&self.phase) {
            Phase::Over(_, _, exited) => Some(exited.clone()),
            Phase::Queued | Phase::Running(..) => None,
        }
    }

    /// A call waits for its end.
    pub(super) fn starter_came(&self) {
        self.starters.fetch_add(1, Relaxed);
    }

    /// A call waits no more. Whether others do.
    pub(super) fn starter_left(&self) -> bool {
        self.starters.fetch_sub(1, Relaxed) > 1
    }

    /// Whether a call that started it, or repeats its start, waits for its end.
    pub(super) fn has_starters(&self) -> bool {
        self.starters.load(Relaxed) > 0
    }

    /// Adds to its standard error.
    pub(super) fn complain(&self, text: impl Into<Bytes>) {
        self.log.append(self.error_stream, text.into());
    }

    /// Whether the session's shell was in its turn at this moment.
    pub(super) fn had_its_turn_at(&self, moment: Moment) -> bool {
        match &*lock(&self.phase) {
            Phase::Running(_, began) => *began <= moment,
            Phase::Over(_, Some((began, over)), _) => *began <= moment && moment <= *over,
            Phase::Queued | Phase::Over(_, None, _) => false,
        }
    }

    /// One of its outputs is written to this pipe from now on, or to none any more.
    pub(super) fn set_pipe(&self, stream: v1::Stream, pipe: Option<(u64, u64)>) {
        lock(&self.pipes)[usize::from(stream == v1::Stream::Stderr)] = pipe;
    }

    /// The pipes that only what it has started can have open.
    pub(super) fn pipes(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        lock(&self.pipes).into_iter().flatten()
    }

    /// Longest run time, as clients see it.
    fn timeout(&self) -> Option<prost_types::Duration> {
        self.timeout.and_then(|timeout| timeout.try_into().ok())
    }

    /// Its number in its session.
    pub(super) fn number(&self) -> u64 {
        self.id.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// As clients see it.
    pub(super) fn describe(&self) -> v1::Command {
        use v1::command::State;
        let (state, start_time, exited) = match &*lock(&self.phase) {
            Phase::Queued => (State::Queued, None, None),
            Phase::Running(at, _) => (State::Running, Some(*at), None),
            Phase::Over(at, _, exited) => (State::Exited, Some(*at), Some(exited.clone())),
        };
        let [stdout, stderr, terminal] = self.log.end().map(|bytes| bytes as i64);
        v1::Command {
            command_id: self.id.clone(),
            session_id: self.session_id.clone().unwrap_or_default(),
            state: state.into(),
            command: self.shown.text.clone(),
            argv: self.shown.arguments.clone(),
            start_time: start_time.map(Into::into),
            exited,
            stdout_bytes: stdout,
            stderr_bytes: stderr,
            terminal_bytes: terminal,
            timeout: self.timeout(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_remembered_leave_half_of_the_budget_free() {
        let budget = Budget::of(100_000);
        let shown: Vec<_> = (0..100).map(|_| Shown::of(&[b'x'; 5000], &[], &budget)).collect();
        let whole = shown.iter().filter(|shown| shown.text.len() == SHOWN_TEXT).count();
        assert_eq!(whole, 50_000 / SHOWN_TEXT);
        assert!(shown[whole..].iter().all(|shown| shown.text.len() == SHOWN_AT_LEAST));
        assert_eq!(budget.used(), whole * SHOWN_TEXT);
        drop(shown);
        assert_eq!(budget.used(), 0);
    }
}
