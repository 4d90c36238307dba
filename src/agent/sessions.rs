//! All sessions of the sandbox: made, found, listed and closed here.

use super::{
    activity::{Activity, OpenSession},
    command::{Command, Spec},
    config::AgentConfig,
    driver::Driver,
    environment::{self, Variables},
    oom::OomCounter,
    output::Budget,
    request_ids::RequestIds,
    session::{About, Session},
    shell::{Directories, Launch, LaunchError},
};
use crate::{
    api::v1::{CreateSessionRequest, ExecStart, IfBusy, OnShellExit, exec_start::Target, exited::Reason as ExitReason},
    error::{Error, Kind, Reason, Result, Violation},
    sync::lock,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

/// Sessions that may be open at once, direct executions included.
const MOST_SESSIONS: usize = 512;

/// Direct executions whose command is remembered.
const MOST_DIRECT: usize = 1000;

/// All sessions of the sandbox.
pub(super) struct Sessions {
    config: AgentConfig,
    /// The environment that the agent was started with.
    inherited: Variables,
    /// Where the sessions' private directories are.
    directories: Arc<Directories>,
    oom: Arc<OomCounter>,
    budget: Arc<Budget>,
    activity: Activity,
    request_ids: Mutex<RequestIds>,
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
    stopping: bool,
}

/// A place among the sessions, given back when it is not used.
struct Place<'a>(&'a Mutex<Table>, #[expect(dead_code, reason = "counts it as open")] OpenSession);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(self.0).starting -= 1;
    }
}

/// How a session is to be.
struct Wanted<'a> {
    shell: &'a str,
    env: &'a Variables,
    directory: &'a str,
    login: bool,
    on_shell_exit: OnShellExit,
    direct: bool,
}

impl Sessions {
    /// None yet.
    pub(super) fn new(mut config: AgentConfig, directories: Directories, oom: OomCounter) -> Self {
        if config.working_directory.is_empty() {
            let own = std::env::current_dir().ok().and_then(|own| own.into_os_string().into_string().ok());
            config.working_directory = own.unwrap_or_else(|| "/".to_owned());
        }
        Self {
            budget: Budget::of_sandbox(config.memory_bytes),
            config,
            inherited: environment::inherited(),
            directories: Arc::new(directories),
            oom: Arc::new(oom),
            activity: Activity::new(),
            request_ids: Mutex::default(),
            table: Mutex::default(),
        }
    }

    /// The sandbox's id.
    pub(super) fn sandbox_id(&self) -> &str {
        &self.config.sandbox_id
    }

    /// What all that is kept is charged to.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// What runs in all of them.
    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Opens a session.
    pub(super) async fn create(&self, request: &CreateSessionRequest) -> Result<Arc<Session>> {
        self.check_sandbox(&request.sandbox_id)?;
        let on_shell_exit = match request.on_shell_exit() {
            OnShellExit::Unspecified => OnShellExit::Restart,
            other => other,
        };
        self.open(Wanted {
            shell: &request.shell,
            env: &request.env.clone().into_iter().collect(),
            directory: &request.working_directory,
            login: request.login,
            on_shell_exit,
            direct: false,
        })
        .await
    }

    /// Starts a command, or finds the one that this request has started before.
    pub(super) async fn start(&self, mut start: ExecStart, input: Option<Bytes>) -> Result<(Arc<Command>, Fresh)> {
        let request_id = std::mem::take(&mut start.request_id);
        if request_id.is_empty() {
            return Ok((self.start_fresh(start, input).await?, Fresh::Yes));
        }
        let claim = lock(&self.request_ids).claim(&request_id, &start, input.as_ref())?;
        match claim {
            super::request_ids::Claim::Known(mut command) => {
                // Two calls at once: the later one waits until the first has made the command, or has failed to.
                match command.wait_for(Option::is_some).await.map(|found| found.clone()) {
                    Ok(Some(command)) => Ok((command, Fresh::No)),
                    Ok(None) | Err(_) => Err(Error::WrongState {
                        reason: Reason::RequestIdReused,
                        message: "the first request with this request_id failed; send it again".into(),
                    }),
                }
            }
            super::request_ids::Claim::New(sender) => match self.start_fresh(start, input).await {
                Ok(command) => {
                    sender.send_replace(Some(Arc::clone(&command)));
                    Ok((command, Fresh::Yes))
                }
                Err(error) => {
                    lock(&self.request_ids).release(&request_id);
                    Err(error)
                }
            },
        }
    }

    async fn start_fresh(&self, mut start: ExecStart, input: Option<Bytes>) -> Result<Arc<Command>> {
        let target = start.target.take();
        let if_busy = if start.if_busy() == IfBusy::Refuse { IfBusy::Refuse } else { IfBusy::Queue };
        // Asked for before a shell is started for it.
        let spec = Spec::new(&mut start, input, &self.budget)?;
        let session = match target {
            Some(Target::SessionId(id)) => self.get(&id)?,
            Some(Target::SandboxId(id)) => {
                self.check_sandbox(&id)?;
                let wanted = Wanted {
                    shell: &start.shell,
                    env: &start.env.clone().into_iter().collect(),
                    directory: &start.working_directory,
                    login: false,
                    on_shell_exit: OnShellExit::Close,
                    direct: true,
                };
                self.open(wanted).await.map_err(under_start)?
            }
            None => return Err(Error::invalid("start.target", "set session_id or sandbox_id")),
        };
        session.submit(spec, if_busy)
    }

    /// A session by its id.
    pub(super) fn get(&self, id: &str) -> Result<Arc<Session>> {
        let unknown = || Error::not_found(Kind::Session, id);
        let number = self.name(id).and_then(|name| name.parse().ok()).ok_or_else(unknown)?;
        lock(&self.table).open.get(&number).cloned().ok_or_else(unknown)
    }

    /// A command by its id.
    pub(super) fn command(&self, id: &str) -> Result<Arc<Command>> {
        let unknown = || Error::not_found(Kind::Command, id);
        let (session, number) = self.name(id).and_then(|name| name.split_once('/')).ok_or_else(unknown)?;
        let session = match session.strip_prefix('d') {
            Some(direct) => {
                let direct: u64 = direct.parse().map_err(|_| unknown())?;
                let table = lock(&self.table);
                table.direct.iter().find(|(number, _)| *number == direct).map(|(_, session)| Arc::clone(session))
            }
            None => session.parse().ok().and_then(|number: u64| lock(&self.table).open.get(&number).cloned()),
        };
        session.ok_or_else(unknown)?.command(number, id)
    }

    /// Ends a command that still waits for its turn. False when it does not.
    pub(super) fn cancel_waiting(&self, command: &Command) -> bool {
        let session = command.session_id.as_deref().and_then(|id| self.get(id).ok());
        session.is_some_and(|session| session.cancel_waiting(command))
    }

    /// All sessions with their numbers, oldest first.
    pub(super) fn list(&self, sandbox_id: &str) -> Result<Vec<(u64, Arc<Session>)>> {
        self.check_sandbox(sandbox_id)?;
        Ok(lock(&self.table).open.iter().map(|(number, session)| (*number, Arc::clone(session))).collect())
    }

    /// Closes a session and waits until nothing of it is left.
    pub(super) async fn close(&self, id: &str) -> Result<()> {
        let session = self.get(id)?;
        session.close(ExitReason::Cancelled).await;
        if let Some(number) = self.name(id).and_then(|name| name.parse().ok()) {
            lock(&self.table).open.remove(&number);
        }
        Ok(())
    }

    /// Ends everything, for good.
    pub(super) async fn stop(&self) {
        let sessions: Vec<_> = {
            let mut table = lock(&self.table);
            table.stopping = true;
            let direct = table.direct.iter().map(|(_, session)| session);
            table.open.values().chain(direct).cloned().collect()
        };
        futures_util::future::join_all(sessions.iter().map(|session| session.close(ExitReason::SandboxStopped))).await;
    }

    async fn open(&self, wanted: Wanted<'_>) -> Result<Arc<Session>> {
        let (number, _place) = self.reserve(wanted.direct)?;
        let name = if wanted.direct { format!("d{number}") } else { number.to_string() };
        let shell = if wanted.shell.is_empty() { "/bin/sh" } else { wanted.shell };
        let directory = if wanted.directory.is_empty() { &self.config.working_directory } else { wanted.directory };
        let mut violations = Vec::new();
        if !wanted.directory.is_empty() && !Path::new(directory).is_dir() {
            violations.push(Violation::new(
                "working_directory",
                format!("\"{directory}\" is not a directory in this sandbox"),
            ));
        }
        let mut environment = environment::compose(shell, &[&self.inherited, &self.config.env, wanted.env]);
        let private = self.directories.session(&name);
        let launch = match Launch::new(shell, environment.clone(), wanted.login, private) {
            Ok(launch) if violations.is_empty() => launch,
            Ok(_) => return Err(Error::Invalid(violations)),
            Err(error) => {
                violations.push(Violation::new("shell", error.to_string()));
                return Err(Error::Invalid(violations));
            }
        };
        let shell = launch.program.display().to_string();
        if !wanted.env.contains_key("SHELL") {
            environment.insert("SHELL".into(), shell.clone());
        }
        let launch = launch.with_environment(environment);
        let directory = PathBuf::from(directory);
        let (running, holder) = launch.start(&directory, None, std::future::pending()).await.map_err(not_launched)?;
        let about = About {
            id: format!("{}/{name}", self.config.sandbox_id),
            sandbox_id: self.config.sandbox_id.clone(),
            shell,
            direct: wanted.direct,
            on_shell_exit: wanted.on_shell_exit,
            create_time: SystemTime::now(),
        };
        let (session, inbox) = Session::new(about, directory, running.pid, self.activity.clone());
        let driver = Driver {
            session: Arc::clone(&session),
            launch,
            shell: running,
            holder,
            earlier: super::earlier::Earlier::default(),
            oom: Arc::clone(&self.oom),
            last_status: 0,
            saved: None,
            last_command: None,
            save_timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        tokio::spawn(driver.run(inbox));
        self.enter(number, &session);
        Ok(session)
    }

    fn reserve(&self, direct: bool) -> Result<(u64, Place<'_>)> {
        let mut table = lock(&self.table);
        if table.stopping {
            return Err(Error::WrongState {
                reason: Reason::SandboxNotRunning,
                message: format!("sandbox \"{}\" is being stopped", self.config.sandbox_id),
            });
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

    fn enter(&self, number: u64, session: &Arc<Session>) {
        let mut table = lock(&self.table);
        if !session.about.direct {
            table.open.insert(number, Arc::clone(session));
            return;
        }
        if table.direct.len() >= MOST_DIRECT
            && let Some(at) = table.direct.iter().position(|(_, session)| session.has_ended())
        {
            table.direct.remove(at);
        }
        table.direct.push_back((number, Arc::clone(session)));
    }

    fn check_sandbox(&self, id: &str) -> Result<()> {
        if id == self.config.sandbox_id { Ok(()) } else { Err(Error::not_found(Kind::Sandbox, id)) }
    }

    /// What comes after the sandbox in an id.
    fn name<'a>(&self, id: &'a str) -> Option<&'a str> {
        id.strip_prefix(self.config.sandbox_id.as_str())?.strip_prefix('/')
    }
}

/// Whether a start has made its command, or was a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fresh {
    /// It has.
    Yes,
    /// It was sent before.
    No,
}

/// A direct execution's fields are those of its start.
fn under_start(error: Error) -> Error {
    match error {
        Error::Invalid(violations) => Error::Invalid(
            violations.into_iter().map(|v| Violation::new(format!("start.{}", v.field), v.description)).collect(),
        ),
        other => other,
    }
}

fn not_launched(error: LaunchError) -> Error {
    let resources = matches!(&error, LaunchError::System(_, cause) if matches!(
        cause.raw_os_error(),
        Some(libc::EAGAIN | libc::ENOMEM | libc::ENOSPC | libc::EMFILE | libc::ENFILE)
    ));
    match error {
        LaunchError::Unknown(message) => Error::invalid("shell", message),
        error @ (LaunchError::Slow(_) | LaunchError::Ended) => Error::exhausted(
            Reason::SandboxOutOfResources,
            format!("{error}: the sandbox may be out of memory, processes or processor time"),
        ),
        error if resources => Error::exhausted(
            Reason::SandboxOutOfResources,
            format!("{error}; end something in the sandbox, or give it more resources"),
        ),
        error => Error::internal("start a shell", error),
    }
}
