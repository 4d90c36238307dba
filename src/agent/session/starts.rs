//! How a command is started: in a session, or directly in a fresh shell.

use super::{
    opening::{DEFAULT_SHELL, Unheard, Wanted, named_user, of_no_use},
    request_ids::{Claim, Claimed, fingerprint, not_known},
    sessions::Sessions,
    starter::{Starter, WhenLost},
};
use crate::{
    agent::{
        command::{Command, DEFAULT_SIZE, Follower, KILL_GRACE, Spec, no_room},
        line::Line,
        output::{Budget, Charge},
        shell::Loan,
    },
    api::v1::{ExecStart, IfBusy, OnShellExit, OutputOffsets, exec_start::Target},
    error::{Error, Kind, Result, Violation},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// A command that was started, and the stream of who has started it. When that is dropped unread the command waits for
/// nobody.
pub(in crate::agent) struct Started {
    pub(in crate::agent) command: Arc<Command>,
    pub(in crate::agent) follower: Follower,
    /// The call.
    pub(in crate::agent) starter: Starter,
}

impl Started {
    pub(in crate::agent) fn now(command: Arc<Command>, sessions: &Arc<Sessions>, when_lost: WhenLost) -> Self {
        let starter = Starter::new(Arc::clone(&command), sessions, when_lost);
        Self { follower: Follower::starter(Arc::clone(&command)), command, starter }
    }

    fn before(
        command: Arc<Command>,
        sessions: &Arc<Sessions>,
        when_lost: WhenLost,
        from: Option<OutputOffsets>,
    ) -> Self {
        let starter = Starter::new(Arc::clone(&command), sessions, when_lost);
        let from = from.unwrap_or_default();
        let from = [from.stdout_offset, from.stderr_offset, from.terminal_offset].map(|at| at.max(0) as u64);
        Self { follower: Follower::returning(Arc::clone(&command), from), command, starter }
    }
}

impl Sessions {
    /// Starts a command, or finds the one that this request has started before; only that with `only_known`.
    pub(in crate::agent) async fn start(
        self: &Arc<Self>,
        mut start: ExecStart,
        input: Option<Bytes>,
        only_known: bool,
        default_timeout: Option<Duration>,
        line: Line,
    ) -> Result<Started> {
        let when_lost = WhenLost { cancel: start.cancel_on_disconnect, repeatable: !start.request_id.is_empty(), line };
        let request_id = std::mem::take(&mut start.request_id);
        let resume_from = start.resume_from.take();
        let claimed = if request_id.is_empty() {
            None
        } else {
            // No input is the same as an empty one, and `Run` implies `stdin`.
            let content = content(&mut start, input.as_ref().filter(|input| !input.is_empty()));
            match self.command_ids.claim(&request_id, content).await? {
                Claim::Known(command) => return Ok(Started::before(command, self, when_lost, resume_from)),
                Claim::New(_) if resume_from.is_some() => return Err(forgotten(request_id)),
                Claim::New(_) if only_known => return Err(not_known()),
                Claim::New(claimed) => Some(claimed),
            }
        };
        if only_known && claimed.is_none() {
            return Err(not_known());
        }
        let target = start.target.take();
        let if_busy = if start.if_busy() == IfBusy::Refuse { IfBusy::Refuse } else { IfBusy::Queue };
        // Asked for before a shell is started for it.
        let mut spec = Spec::new(&mut start, input, self.budget())?;
        // Not part of the request: the same one may come again under another server.
        spec.timeout = spec.timeout.or(default_timeout);
        match target {
            // Nothing waits here, so nothing can be left half done.
            Some(Target::SessionId(_)) if spec.arguments.is_some() => {
                Err(Error::invalid("start.argv", "a program is executed directly: give sandbox_id"))
            }
            Some(Target::SessionId(id)) => {
                let session = self.get(&id)?;
                spec.loan = loan(&mut start, self.budget())?;
                spec.user = named_user(&start.user).map_err(under_start)?;
                let command = session.submit(spec, if_busy)?;
                if let Some(claimed) = claimed {
                    claimed.fulfil(Arc::clone(&command));
                }
                Ok(Started::now(command, self, when_lost))
            }
            Some(Target::SandboxId(id)) => {
                self.check_sandbox(&id)?;
                if spec.arguments.is_some() {
                    let command = self.execute(start, spec, claimed, None)?;
                    return Ok(Started::now(command, self, when_lost));
                }
                self.start_directly(start, spec, claimed, when_lost).await
            }
            None => Err(Error::invalid("start.target", "set session_id or sandbox_id")),
        }
    }

    /// Starts a command in a fresh shell, of which nothing is kept. A command that nobody can name is given up with its
    /// caller: nobody could ever cancel it.
    async fn start_directly(
        self: &Arc<Self>,
        mut start: ExecStart,
        spec: Spec,
        claimed: Option<Claimed<Arc<Command>>>,
        when_lost: WhenLost,
    ) -> Result<Started> {
        let wanted = Wanted {
            shell: std::mem::take(&mut start.shell),
            env: std::mem::take(&mut start.env).into_iter().collect(),
            directory: std::mem::take(&mut start.working_directory),
            user: self.user(&start.user).map_err(under_start)?,
            login: false,
            on_shell_exit: OnShellExit::Close,
            direct: true,
        };
        let sessions = Arc::clone(self);
        let (started, unheard) = self
            .in_own_task(|caller_lost| async move {
                let of_no_use = of_no_use(&caller_lost, claimed.as_ref());
                let (_, session) = sessions.open(wanted, of_no_use).await.map_err(under_start)?;
                let unheard = Unheard::of(Arc::clone(&session), &sessions);
                let command = session.submit(spec, IfBusy::Queue)?;
                let started = Started::now(Arc::clone(&command), &sessions, when_lost);
                let unheard = match claimed {
                    Some(claimed) => {
                        claimed.fulfil(command);
                        unheard.keep();
                        None
                    }
                    None => Some(unheard),
                };
                Ok((started, unheard))
            })
            .await?;
        unheard.and_then(Unheard::keep);
        Ok(started)
    }
}

/// What stands for all that is in a start but its id. What is not said is what is said of the default.
fn content(start: &mut ExecStart, input: Option<&Bytes>) -> u64 {
    // The text may be long, and is not copied.
    let (env, text) = (std::mem::take(&mut start.env), std::mem::take(&mut start.command));
    let arguments = std::mem::take(&mut start.argv);
    let mut rest = start.clone();
    if rest.if_busy() == IfBusy::Unspecified {
        rest.set_if_busy(IfBusy::Queue);
    }
    if rest.kill_grace.is_none() {
        rest.kill_grace = KILL_GRACE.try_into().ok();
    }
    if matches!(rest.target, Some(Target::SandboxId(_))) && rest.shell.is_empty() && arguments.is_empty() {
        rest.shell = DEFAULT_SHELL.to_owned();
    }
    if let Some(pty) = &mut rest.pty {
        pty.size.get_or_insert(DEFAULT_SIZE);
    }
    let content = fingerprint(&rest, &env, (&text, &arguments, input));
    (start.env, start.command, start.argv) = (env, text, arguments);
    content
}

/// What a command in a session has of its own, charged for until it is over.
fn loan(start: &mut ExecStart, budget: &Arc<Budget>) -> Result<Option<Box<(Loan, Charge)>>> {
    let env = std::mem::take(&mut start.env).into_iter().collect();
    let Some(loan) = Loan::new(env, &start.working_directory) else { return Ok(None) };
    let charge = budget.hold(loan.length()).ok_or_else(|| no_room(loan.length(), budget))?;
    Ok(Some(Box::new((loan, charge))))
}

/// A start that says that it was sent before, and of which nothing is known.
fn forgotten(request_id: String) -> Error {
    let hint = "; a sandbox remembers its last 10 000 request ids, and none of these is a start with this one";
    Error::NotFound { kind: Kind::Command, id: request_id, hint: Some(hint.to_owned()) }
}

/// A direct execution's fields are those of its start.
pub(in crate::agent) fn under_start(error: Error) -> Error {
    match error {
        Error::Invalid(violations) => Error::Invalid(
            violations.into_iter().map(|v| Violation::new(format!("start.{}", v.field), v.description)).collect(),
        ),
        other => other,
    }
}
