//! How a session is opened.
//!
//! To open one takes time, and the call that asked for it may be cancelled at any moment of it. So it is done by a task of
//! its own. A session that can still be named is opened all the same: whoever sends the same `request_id` again gets it. One
//! that nobody could ever name is undone, whether its shell has started or not.

use super::{
    About, Session,
    driver::Driver,
    earlier::Earlier,
    request_ids::{Claim, Claimed, fingerprint, not_known},
    sessions::Sessions,
};
use crate::{
    agent::{
        shell::{
            Launch, LaunchError,
            environment::{self, Variables},
        },
        users::User,
    },
    api::v1::{CreateSessionRequest, OnShellExit, exited::Reason as ExitReason},
    error::{Error, Reason, Result, Violation},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_util::sync::CancellationToken;

/// The shell of a session unless the client says otherwise.
pub(in crate::agent) const DEFAULT_SHELL: &str = "/bin/sh";

/// How a session is to be.
pub(in crate::agent) struct Wanted {
    pub(in crate::agent) shell: String,
    pub(in crate::agent) env: Variables,
    pub(in crate::agent) directory: String,
    /// As whom, if not as the agent.
    pub(in crate::agent) user: Option<Arc<User>>,
    pub(in crate::agent) login: bool,
    pub(in crate::agent) on_shell_exit: OnShellExit,
    pub(in crate::agent) direct: bool,
}

/// A session of which nobody has heard yet. When this is dropped, nobody ever will, and the session is closed.
pub(in crate::agent) struct Unheard {
    session: Option<Arc<Session>>,
    sessions: Arc<Sessions>,
}

impl Unheard {
    /// This one.
    pub(in crate::agent) fn of(session: Arc<Session>, sessions: &Arc<Sessions>) -> Self {
        Self { session: Some(session), sessions: Arc::clone(sessions) }
    }

    /// Somebody hears of it, or can ask for it again.
    pub(in crate::agent) fn keep(mut self) -> Option<Arc<Session>> {
        self.session.take()
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        // Without a runtime the agent itself ends.
        if let (Some(session), Ok(runtime)) = (self.session.take(), tokio::runtime::Handle::try_current()) {
            let sessions = Arc::clone(&self.sessions);
            runtime.spawn(async move { sessions.end(&session).await });
        }
    }
}

/// The user that a client asks for, if it does, and if the agent can start programs as that one.
pub(in crate::agent) fn named_user(wanted: &str) -> Result<Option<Arc<User>>> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let user = User::find(wanted).map_err(|unknown| Error::invalid("user", unknown.to_string()))?;
    match user.can_be() {
        Ok(()) => Ok(Some(Arc::new(user))),
        Err(why) => Err(Error::WrongState { reason: Reason::NotSupportedByHost, message: why.to_string() }),
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Resolved when a start is of no use any more: its caller is gone, and nobody else can name it.
pub(in crate::agent) async fn of_no_use<T>(caller_lost: &CancellationToken, claimed: Option<&Claimed<T>>) {
    match claimed {
        Some(_) => std::future::pending().await,
        None => caller_lost.cancelled().await,
    }
}

impl Sessions {
    /// The user that a client asks for, or else the sandbox's own, if it has one.
    pub(in crate::agent) fn user(&self, wanted: &str) -> Result<Option<Arc<User>>> {
        named_user(if wanted.is_empty() { &self.config.user } else { wanted })
    }

    /// Opens a session, or finds the one that this request has opened before; only that with `only_known`.
    pub(in crate::agent) async fn create(
        self: &Arc<Self>,
        mut request: CreateSessionRequest,
        only_known: bool,
    ) -> Result<Arc<Session>> {
        self.check_sandbox(&request.sandbox_id)?;
        // What is not said is what is said of the default, also when the request is repeated.
        if request.on_shell_exit() == OnShellExit::Unspecified {
            request.set_on_shell_exit(OnShellExit::Restart);
        }
        if request.shell.is_empty() {
            request.shell = DEFAULT_SHELL.to_owned();
        }
        let request_id = std::mem::take(&mut request.request_id);
        let env = std::mem::take(&mut request.env);
        let claimed = if request_id.is_empty() {
            None
        } else {
            match self.session_ids.claim(&request_id, fingerprint(&request, &env, ())).await? {
                Claim::Known(number) => return self.numbered(number).ok_or_else(|| was_closed(&request_id)),
                Claim::New(_) if only_known => return Err(not_known()),
                Claim::New(claimed) => Some(claimed),
            }
        };
        if only_known && claimed.is_none() {
            return Err(not_known());
        }
        let on_shell_exit = request.on_shell_exit();
        let wanted = Wanted {
            shell: request.shell,
            env: env.into_iter().collect(),
            directory: request.working_directory,
            user: self.user(&request.user)?,
            login: request.login,
            on_shell_exit,
            direct: false,
        };
        let sessions = Arc::clone(self);
        let (session, unheard) = self
            .in_own_task(|caller_lost| async move {
                let of_no_use = of_no_use(&caller_lost, claimed.as_ref());
                let (number, session) = sessions.open(wanted, of_no_use).await?;
                let unheard = match claimed {
                    Some(claimed) => {
                        claimed.fulfil(number);
                        None
                    }
                    None => Some(Unheard::of(Arc::clone(&session), &sessions)),
                };
                Ok((session, unheard))
            })
            .await?;
        unheard.and_then(Unheard::keep);
        Ok(session)
    }

    /// Does work that owns something in a task of its own, which goes on when the caller is dropped. What it is given is
    /// cancelled then.
    pub(in crate::agent) async fn in_own_task<T, W>(&self, work: impl FnOnce(CancellationToken) -> W) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let caller_lost = CancellationToken::new();
        let task = self.opening.spawn(work(caller_lost.clone()));
        let _cancelled_when_dropped = caller_lost.drop_guard();
        task.await.map_err(|error| Error::internal("open a session", error))?
    }

    /// Opens a session, unless `of_no_use` comes first. To be called from a task of its own: dropped halfway it leaves the
    /// private directory behind.
    pub(in crate::agent) async fn open(
        &self,
        wanted: Wanted,
        of_no_use: impl Future<Output = ()>,
    ) -> Result<(u64, Arc<Session>)> {
        let (number, _place) = self.reserve(wanted.direct)?;
        let name = if wanted.direct { format!("d{number}") } else { number.to_string() };
        let shell = if wanted.shell.is_empty() { DEFAULT_SHELL } else { &wanted.shell };
        let directory = self.config.directory(&wanted.directory);
        let mut violations = Vec::new();
        if !wanted.directory.is_empty() && !directory.is_dir() {
            violations.push(Violation::new(
                "working_directory",
                format!("\"{}\" is not a directory in this sandbox", wanted.directory),
            ));
        }
        let own: Variables = wanted.user.iter().flat_map(|user| user.variables()).map(owned).collect();
        let mut environment = environment::compose(shell, &[&self.inherited, &self.config.env, &own, &wanted.env]);
        let private = self.directories.session(&name);
        let launch = match Launch::new(shell, environment.clone(), wanted.login, private, self.budget()) {
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
        let mut launch = match &wanted.user {
            Some(user) => launch.run_by(user),
            None => launch,
        };
        (launch.only_there, launch.is_last) = (!wanted.directory.is_empty(), wanted.direct);
        let given_up = async {
            tokio::select! {
                () = of_no_use => {}
                () = self.stopping.cancelled() => {}
            }
        };
        let (running, holder) = match launch.start(&directory, None, given_up).await {
            Ok(started) => started,
            Err(error) => {
                // Whatever was made in it is of no use.
                launch.private.remove().await;
                return Err(self.not_launched(error));
            }
        };
        // A later shell starts where the one before was, if it can.
        launch.only_there = false;
        let about = About {
            id: format!("{}/{name}", self.config.sandbox_id),
            sandbox_id: self.config.sandbox_id.clone(),
            shell,
            direct: wanted.direct,
            on_shell_exit: wanted.on_shell_exit,
            create_time: SystemTime::now(),
        };
        let (session, inbox) = Session::new(about, directory, (running.pid, holder.name()), self.activity().clone());
        let driver = Driver {
            session: Arc::clone(&session),
            launch,
            shell: running,
            holder,
            earlier: Earlier::default(),
            oom: Arc::clone(&self.oom),
            last_status: 0,
            saved: None,
            last_command: None,
            on_terminal: None,
            save_timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        tokio::spawn(driver.run(inbox));
        if !self.enter(number, &session) {
            session.close(ExitReason::SandboxStopped).await;
            return Err(self.being_stopped());
        }
        Ok((number, session))
    }

    fn not_launched(&self, error: LaunchError) -> Error {
        let resources = error.is_of_resources();
        match error {
            LaunchError::Unknown(message) | LaunchError::Restricted(message) => Error::invalid("shell", message),
            error @ LaunchError::Directory(_) => Error::invalid("working_directory", error.to_string()),
            LaunchError::StartUp(why) => Error::WrongState {
                reason: Reason::StartUpFileFailed,
                message: format!("{why}; correct that file, or open the session without login"),
            },
            LaunchError::Lacking(why) => Error::WrongState { reason: Reason::ShellNotStarted, message: why },
            // Who gave it up does not listen any more, unless everything is being ended.
            LaunchError::GivenUp => self.being_stopped(),
            error @ (LaunchError::Slow(..) | LaunchError::Ended(..)) if resources => Error::exhausted(
                Reason::SandboxOutOfResources,
                format!("{error}: the sandbox may be out of memory, processes or processor time"),
            ),
            error @ LaunchError::Ended(..) => {
                Error::WrongState { reason: Reason::ShellNotStarted, message: error.to_string() }
            }
            error if resources => Error::exhausted(
                Reason::SandboxOutOfResources,
                format!("{error}; end something in the sandbox, or give it more resources"),
            ),
            error => Error::internal("start a shell", error),
        }
    }
}

fn was_closed(request_id: &str) -> Error {
    Error::WrongState {
        reason: Reason::SessionClosed,
        message: format!("the session that request_id \"{request_id}\" has opened was closed; use a new one"),
    }
}
