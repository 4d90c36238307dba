//! A session as the rest of the agent sees it: a queue of commands, a memory of past ones, and what is known of it.
//!
//! ```text
//!            command            command over
//!   IDLE ───────────────▶ BUSY ───────────────▶ IDLE
//!    │                      │ shell ended: a new one (generation + 1), or
//!    └──────── close ───────┴────────────────▶ CLOSED
//! ```
//! One task, the [`driver`], owns the shell and makes every change; others read.

pub(super) mod driver;
pub(super) mod earlier;
pub(super) mod endings;
pub(super) mod opening;
pub(super) mod programs;
pub(super) mod request_ids;
pub(super) mod sessions;
pub(super) mod starter;
pub(super) mod starts;

use super::{
    command::{Command, Job, Spec},
    host::activity::{Activity, OpenSession},
    shell::HolderName,
};
use crate::{
    api::v1::{self, Exited, IfBusy, OnShellExit, exited::Reason as ExitReason, session::State},
    error::{Error, Kind, Reason, Result},
    sync::lock,
};
use programs::Programs;
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::SystemTime,
};
use tokio::sync::{mpsc, watch};

/// Commands that may wait for their turn.
const MOST_QUEUED: usize = 256;

/// Commands that are remembered.
const MOST_REMEMBERED: usize = 1000;

/// A session.
pub(super) struct Session {
    /// What never changes.
    pub(super) about: About,
    known: Mutex<Known>,
    commands: Mutex<Commands>,
    activity: Activity,
    /// The processes that clients were shown.
    pub(super) programs: Programs,
    jobs: mpsc::UnboundedSender<Job>,
    stop: watch::Sender<Option<ExitReason>>,
    ended: watch::Receiver<bool>,
}

/// What never changes of a session.
pub(super) struct About {
    /// `<sandbox>/<name>`.
    pub(super) id: String,
    /// The sandbox it lives in.
    pub(super) sandbox_id: String,
    /// Path of its shell.
    pub(super) shell: String,
    /// Whether it is a direct execution: one command, then it ends.
    pub(super) direct: bool,
    /// What happens when the shell ends.
    pub(super) on_shell_exit: OnShellExit,
    /// When it was created.
    pub(super) create_time: SystemTime,
}

/// What changes of a session.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Where it is in its life.
    pub(super) state: State,
    /// Counts its shells.
    pub(super) generation: i64,
    /// Where the next command runs.
    pub(super) directory: PathBuf,
    /// The process id of its shell.
    pub(super) shell_pid: i32,
    /// The process id of the program, when it was started without a shell and runs.
    pub(super) program: i32,
    /// Commands that wait.
    pub(super) queued: usize,
    /// The command that runs.
    pub(super) running: Option<Arc<str>>,
    /// The holders of its shells, below which all of its processes are: those that live, and perhaps others.
    pub(super) holders: Vec<HolderName>,
    /// What the shell did not get back of the one before it.
    pub(super) not_restored: Arc<[String]>,
}

/// The commands of a session.
#[derive(Default)]
struct Commands {
    last_number: u64,
    remembered: VecDeque<Arc<Command>>,
}

/// The receiving ends that a session's driver holds.
pub(super) struct Inbox {
    /// Commands, in order.
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    /// Set when the session is to end, to the reason that its commands are given.
    pub(super) stop: watch::Receiver<Option<ExitReason>>,
    /// Set when nothing of the session is left.
    pub(super) ended: watch::Sender<bool>,
    /// Counts the session as open for as long as its driver has this.
    _open: OpenSession,
}

impl Session {
    /// A session whose shell has started.
    pub(super) fn new(
        about: About,
        directory: PathBuf,
        (shell_pid, holder): (i32, HolderName),
        activity: Activity,
    ) -> (Arc<Self>, Inbox) {
        let (jobs, jobs_inbox) = mpsc::unbounded_channel();
        let (stop, stop_inbox) = watch::channel(None);
        let (ended_sender, ended) = watch::channel(false);
        let known = Known {
            state: State::Idle,
            generation: 1,
            directory,
            shell_pid,
            program: 0,
            queued: 0,
            running: None,
            holders: vec![holder],
            not_restored: Arc::default(),
        };
        let (known, commands) = (Mutex::new(known), Mutex::default());
        let _open = activity.open_session();
        let programs = Programs::default();
        let session = Self { about, known, commands, activity, programs, jobs, stop, ended };
        (Arc::new(session), Inbox { jobs: jobs_inbox, stop: stop_inbox, ended: ended_sender, _open })
    }

    /// Queues a command.
    pub(super) fn submit(&self, spec: Spec, if_busy: IfBusy) -> Result<Arc<Command>> {
        let mut known = lock(&self.known);
        let refuse = |reason, message: String| Err(Error::WrongState { reason, message });
        if known.state == State::Closed {
            return refuse(
                Reason::SessionClosed,
                format!("session \"{}\" is closed, because its shell ended; create another one", self.about.id),
            );
        }
        if if_busy == IfBusy::Refuse && (known.state == State::Busy || known.queued > 0) {
            let running = known.running.as_deref().map(|id| format!(" command \"{id}\"")).unwrap_or_default();
            let refused = refuse(
                Reason::SessionBusy,
                format!(
                    "session \"{}\" is busy{}; wait for it, cancel it, or queue with if_busy",
                    self.about.id,
                    if running.is_empty() { " with commands that wait".to_owned() } else { format!(" with{running}") }
                ),
            );
            return match known.running.as_deref() {
                Some(id) => refused.map_err(|error| error.about(id)),
                None => refused,
            };
        }
        if known.queued >= MOST_QUEUED {
            return Err(Error::exhausted(
                Reason::QueueFull,
                format!("{MOST_QUEUED} commands wait in session \"{}\"; try again later", self.about.id),
            ));
        }
        known.queued += 1;
        let mut commands = lock(&self.commands);
        commands.last_number += 1;
        let id = format!("{}/{}", self.about.id, commands.last_number);
        let session_id = (!self.about.direct).then(|| self.about.id.clone());
        let job = Command::create(id, session_id, spec, self.activity.begin());
        let command = Arc::clone(&job.command);
        commands.remember(Arc::clone(&command));
        // The driver may have ended between the two locks of a racing close: it then says so to the command itself.
        if let Err(unsent) = self.jobs.send(job) {
            unsent.0.command.set_over(known.never_ran(ExitReason::Cancelled));
        }
        Ok(command)
    }

    /// A command by its number.
    pub(super) fn command(&self, number: &str, id: &str) -> Result<Arc<Command>> {
        let commands = lock(&self.commands);
        let found = commands.remembered.iter().rev().find(|command| command.id == id);
        found.cloned().ok_or_else(|| {
            let was = number.parse().is_ok_and(|number: u64| (1..=commands.last_number).contains(&number));
            let hint = was.then(|| format!(": only the last {MOST_REMEMBERED} commands of a session are remembered"));
            Error::NotFound { kind: Kind::Command, id: id.to_owned(), hint }
        })
    }

    /// Ends a command that still waits for its turn. False when it does not.
    pub(super) fn cancel_waiting(&self, command: &Command) -> bool {
        let mut known = lock(&self.known);
        let cancelled = command.cancel_queued(known.never_ran(ExitReason::Cancelled));
        if cancelled {
            known.queued -= 1;
        }
        cancelled
    }

    /// All commands that are remembered, oldest first.
    pub(super) fn commands(&self) -> Vec<Arc<Command>> {
        lock(&self.commands).remembered.iter().cloned().collect()
    }

    /// What is known now.
    pub(super) fn known(&self) -> Known {
        lock(&self.known).clone()
    }

    /// Looks at what is known now, without a copy of it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&lock(&self.known))
    }

    /// Changes what is known. Only for the driver.
    pub(super) fn update(&self, change: impl FnOnce(&mut Known)) {
        change(&mut lock(&self.known));
    }

    /// Ends the session and all that it started, and waits for it.
    pub(super) async fn close(&self, reason: ExitReason) {
        self.stop.send_if_modified(|stop| stop.is_none() && stop.replace(reason).is_none());
        // An error means that the driver is gone, which is what is waited for.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Whether nothing of it is left.
    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// As clients see it.
    pub(super) fn describe(&self) -> v1::Session {
        let known = self.known();
        v1::Session {
            session_id: self.about.id.clone(),
            sandbox_id: self.about.sandbox_id.clone(),
            shell: self.about.shell.clone(),
            state: known.state.into(),
            generation: known.generation,
            working_directory: known.directory.to_string_lossy().into_owned(),
            create_time: Some(self.about.create_time.into()),
            on_shell_exit: self.about.on_shell_exit.into(),
            shell_pid: known.shell_pid,
            queued_commands: known.queued as i32,
            running_command_id: known.running.map(|id| id.to_string()).unwrap_or_default(),
            not_restored: known.not_restored.to_vec(),
        }
    }
}

impl Known {
    /// Another shell takes the place of one that has ended.
    pub(super) fn next_shell(&mut self, pid: i32, holder: HolderName, not_restored: Arc<[String]>) {
        self.generation += 1;
        self.shell_pid = pid;
        self.not_restored = not_restored;
        self.one_more_holder(holder);
    }

    /// A shell of the session was started. What earlier ones have started may live on below their holders.
    pub(super) fn one_more_holder(&mut self, holder: HolderName) {
        self.holders.retain(|holder| holder.pid().is_some());
        self.holders.push(holder);
    }

    /// The end of a command that never had its turn.
    pub(super) fn never_ran(&self, reason: ExitReason) -> Exited {
        Exited {
            // As a program that TERM had ended: nothing that did not run may look like a success.
            exit_code: 128 + libc::SIGTERM,
            reason: reason.into(),
            working_directory: self.directory.to_string_lossy().into_owned(),
            generation: self.generation,
            duration: Some(prost_types::Duration::default()),
            ..Exited::default()
        }
    }
}

impl Commands {
    fn remember(&mut self, command: Arc<Command>) {
        if self.remembered.len() >= MOST_REMEMBERED {
            // The oldest that is over; those that wait or run are few.
            if let Some(at) = self.remembered.iter().position(|command| command.exited().is_some()) {
                self.remembered.remove(at);
            }
        }
        self.remembered.push_back(command);
    }
}
