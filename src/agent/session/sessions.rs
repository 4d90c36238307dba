//! All sessions of the sandbox: found, listed and closed here. [`super::opening`] makes them, [`super::starts`] gives them
//! commands.

use super::{Session, request_ids::RequestIds};
use crate::{
    agent::{
        command::Command,
        config::AgentConfig,
        host::{
            activity::{Activity, OpenSession},
            oom::OomCounter,
        },
        output::Budget,
        shell::{
            Directories,
            environment::{self, Variables},
        },
    },
    api::v1::exited::Reason as ExitReason,
    error::{Error, Kind, Reason, Result},
    sync::lock,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Sessions that may be open at once, direct executions included.
const MOST_SESSIONS: usize = 512;

/// Direct executions whose command is remembered.
const MOST_DIRECT: usize = 1000;

/// All sessions of the sandbox.
pub(in crate::agent) struct Sessions {
    pub(in crate::agent) config: AgentConfig,
    /// The environment that the agent was started with.
    pub(in crate::agent) inherited: Variables,
    /// Where the sessions' private directories are.
    pub(in crate::agent) directories: Arc<Directories>,
    pub(in crate::agent) oom: Arc<OomCounter>,
    budget: Arc<Budget>,
    activity: Activity,
    /// The commands that starts with a `request_id` have become.
    pub(in crate::agent) command_ids: Arc<RequestIds<Arc<Command>>>,
    /// The numbers of the sessions that requests with a `request_id` have opened.
    pub(in crate::agent) session_ids: Arc<RequestIds<u64>>,
    /// Tasks that open sessions.
    pub(in crate::agent) opening: TaskTracker,
    /// Cancelled when everything is to end.
    pub(in crate::agent) stopping: CancellationToken,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last_number: u64,
    open: BTreeMap<u64, Arc<Session>>,
    last_direct: u64,
    direct: VecDeque<(u64, Arc<Session>)>,
    /// Sessions whose shell is being started.
    starting: usize,
}

/// A place among the sessions, given back when it is not used.
pub(in crate::agent) struct Place<'a>(&'a Mutex<Table>, #[expect(dead_code, reason = "counts it as open")] OpenSession);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(self.0).starting -= 1;
    }
}

impl Sessions {
    /// None yet.
    pub(in crate::agent) fn new(mut config: AgentConfig, directories: Directories, oom: OomCounter) -> Self {
        if config.working_directory.is_empty() {
            let own = std::env::current_dir().ok().and_then(|own| own.into_os_string().into_string().ok());
            config.working_directory = own.unwrap_or_else(|| "/".to_owned());
        }
        let background = config.background_is_activity;
        Self {
            budget: Budget::of_sandbox(config.memory_bytes),
            config,
            inherited: environment::inherited(),
            directories: Arc::new(directories),
            oom: Arc::new(oom),
            activity: Activity::new(background),
            command_ids: RequestIds::new("command"),
            session_ids: RequestIds::new("session"),
            opening: TaskTracker::new(),
            stopping: CancellationToken::new(),
            table: Mutex::default(),
        }
    }

    /// The sandbox's id.
    pub(in crate::agent) fn sandbox_id(&self) -> &str {
        &self.config.sandbox_id
    }

    /// What all that is kept is charged to.
    pub(in crate::agent) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// What runs in all of them.
    pub(in crate::agent) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// A session by its id.
    pub(in crate::agent) fn get(&self, id: &str) -> Result<Arc<Session>> {
        let unknown = || Error::not_found(Kind::Session, id);
        self.name(id).and_then(|name| name.parse().ok()).and_then(|number| self.numbered(number)).ok_or_else(unknown)
    }

    /// A session by its number.
    pub(in crate::agent) fn numbered(&self, number: u64) -> Option<Arc<Session>> {
        lock(&self.table).open.get(&number).cloned()
    }

    /// A session, or the direct execution, that a request about processes names, and the command if it names one.
    pub(in crate::agent) fn of_processes(
        &self,
        session_id: &str,
        command_id: &str,
    ) -> Result<(Arc<Session>, Option<Arc<Command>>)> {
        if command_id.is_empty() {
            return Ok((self.get(session_id)?, None));
        }
        let (session, command) = self.session_and_command(command_id)?;
        Ok((session, Some(command)))
    }

    /// A command by its id.
    pub(in crate::agent) fn command(&self, id: &str) -> Result<Arc<Command>> {
        self.session_and_command(id).map(|(_, command)| command)
    }

    fn session_and_command(&self, id: &str) -> Result<(Arc<Session>, Arc<Command>)> {
        let unknown = || Error::not_found(Kind::Command, id);
        let (session, number) = self.name(id).and_then(|name| name.split_once('/')).ok_or_else(unknown)?;
        let session = match session.strip_prefix('d') {
            Some(direct) => {
                let direct: u64 = direct.parse().map_err(|_| unknown())?;
                let table = lock(&self.table);
                table.direct.iter().find(|(number, _)| *number == direct).map(|(_, session)| Arc::clone(session))
            }
            None => session.parse().ok().and_then(|number| self.numbered(number)),
        };
        let session = session.ok_or_else(unknown)?;
        let command = session.command(number, id)?;
        Ok((session, command))
    }

    /// Ends a command that still waits for its turn. False when it does not.
    pub(in crate::agent) fn cancel_waiting(&self, command: &Command) -> bool {
        let session = command.session_id.as_deref().and_then(|id| self.get(id).ok());
        session.is_some_and(|session| session.cancel_waiting(command))
    }

    /// All that are open.
    pub(in crate::agent) fn open_ones(&self) -> Vec<Arc<Session>> {
        lock(&self.table).open.values().cloned().collect()
    }

    /// All sessions with their numbers, oldest first.
    pub(in crate::agent) fn list(&self, sandbox_id: &str) -> Result<Vec<(u64, Arc<Session>)>> {
        self.check_sandbox(sandbox_id)?;
        Ok(lock(&self.table).open.iter().map(|(number, session)| (*number, Arc::clone(session))).collect())
    }

    /// Closes a session by its id and waits until nothing of it is left.
    pub(in crate::agent) async fn close(&self, id: &str) -> Result<()> {
        let session = self.get(id)?;
        self.end(&session).await;
        Ok(())
    }

    /// Closes a session and waits until nothing of it is left.
    pub(in crate::agent) async fn end(&self, session: &Session) {
        session.close(ExitReason::Cancelled).await;
        if let Some(number) = self.name(&session.about.id).and_then(|name| name.parse().ok()) {
            lock(&self.table).open.remove(&number);
        }
    }

    /// Ends everything, for good.
    pub(in crate::agent) async fn stop(&self) {
        let sessions: Vec<_> = {
            let table = lock(&self.table);
            self.stopping.cancel();
            let direct = table.direct.iter().map(|(_, session)| session);
            table.open.values().chain(direct).cloned().collect()
        };
        futures_util::future::join_all(sessions.iter().map(|session| session.close(ExitReason::SandboxStopped))).await;
        self.opening.close();
        self.opening.wait().await;
    }

    /// What a caller is told while everything ends.
    pub(in crate::agent) fn being_stopped(&self) -> Error {
        Error::WrongState {
            reason: Reason::SandboxNotRunning,
            message: format!("sandbox \"{}\" is being stopped", self.config.sandbox_id),
        }
    }

    /// A number for a new session, and a place among those that may be open at once.
    pub(in crate::agent) fn reserve(&self, direct: bool) -> Result<(u64, Place<'_>)> {
        let mut table = lock(&self.table);
        if self.stopping.is_cancelled() {
            return Err(self.being_stopped());
        }
        let running = table.direct.iter().filter(|(_, session)| !session.has_ended()).count();
        if table.open.len() + running + table.starting >= MOST_SESSIONS {
            return Err(Error::exhausted(
                Reason::TooManySessions,
                format!("a sandbox has at most {MOST_SESSIONS} sessions; close one"),
            ));
        }
        table.starting += 1;
        let last = if direct { &mut table.last_direct } else { &mut table.last_number };
        *last += 1;
        Ok((*last, Place(&self.table, self.activity.open_session())))
    }

    /// Makes a new session known. False when everything is being ended, and this one was not there to be ended with it.
    pub(in crate::agent) fn enter(&self, number: u64, session: &Arc<Session>) -> bool {
        let mut table = lock(&self.table);
        if self.stopping.is_cancelled() {
            return false;
        }
        if !session.about.direct {
            table.open.insert(number, Arc::clone(session));
            return true;
        }
        if table.direct.len() >= MOST_DIRECT
            && let Some(at) = table.direct.iter().position(|(_, session)| session.has_ended())
        {
            table.direct.remove(at);
        }
        table.direct.push_back((number, Arc::clone(session)));
        true
    }

    pub(in crate::agent) fn check_sandbox(&self, id: &str) -> Result<()> {
        if id == self.config.sandbox_id { Ok(()) } else { Err(Error::not_found(Kind::Sandbox, id)) }
    }

    /// What comes after the sandbox in an id.
    fn name<'a>(&self, id: &'a str) -> Option<&'a str> {
        id.strip_prefix(self.config.sandbox_id.as_str())?.strip_prefix('/')
    }
}
