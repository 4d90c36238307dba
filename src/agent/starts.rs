//! How a command is started: in a session, or directly in a fresh shell.

use super::{
    command::{Command, Spec, loan},
    opening::{Unheard, Wanted, of_no_use},
    output::Follower,
    request_ids::{Claim, Claimed, fingerprint},
    sessions::Sessions,
};
use crate::{
    api::v1::{ExecStart, IfBusy, OnShellExit, exec_start::Target},
    error::{Error, Result, Violation},
};
use bytes::Bytes;
use std::sync::Arc;

/// A command that was started, and the stream of who has started it. When that is dropped unread the command waits for
/// nobody.
pub(super) struct Started {
    pub(super) command: Arc<Command>,
    pub(super) follower: Follower,
}

impl Started {
    fn now(command: Arc<Command>) -> Self {
        Self { follower: Follower::starter(Arc::clone(&command)), command }
    }

    fn before(command: Arc<Command>) -> Self {
        Self { follower: Follower::returning(Arc::clone(&command)), command }
    }
}

impl Sessions {
    /// Starts a command, or finds the one that this request has started before.
    pub(super) async fn start(self: &Arc<Self>, mut start: ExecStart, input: Option<Bytes>) -> Result<Started> {
        let request_id = std::mem::take(&mut start.request_id);
        let claimed = if request_id.is_empty() {
            None
        } else {
            let env = std::mem::take(&mut start.env);
            // No input is the same as an empty one, and `Run` implies `stdin`.
            let content = fingerprint(&start, &env, input.as_ref().filter(|input| !input.is_empty()));
            start.env = env;
            match self.command_ids.claim(&request_id, content).await? {
                Claim::Known(command) => return Ok(Started::before(command)),
                Claim::New(claimed) => Some(claimed),
            }
        };
        let target = start.target.take();
        let if_busy = if start.if_busy() == IfBusy::Refuse { IfBusy::Refuse } else { IfBusy::Queue };
        // Asked for before a shell is started for it.
        let mut spec = Spec::new(&mut start, input, self.budget())?;
        match target {
            // Nothing waits here, so nothing can be left half done.
            Some(Target::SessionId(id)) => {
                let session = self.get(&id)?;
                spec.loan = loan(&mut start, self.budget())?;
                let command = session.submit(spec, if_busy)?;
                if let Some(claimed) = claimed {
                    claimed.fulfil(Arc::clone(&command));
                }
                Ok(Started::now(command))
            }
            Some(Target::SandboxId(id)) => {
                self.check_sandbox(&id)?;
                self.start_directly(start, spec, claimed).await
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
    ) -> Result<Started> {
        let wanted = Wanted {
            shell: std::mem::take(&mut start.shell),
            env: std::mem::take(&mut start.env).into_iter().collect(),
            directory: std::mem::take(&mut start.working_directory),
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
                let started = Started::now(Arc::clone(&command));
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

/// A direct execution's fields are those of its start.
fn under_start(error: Error) -> Error {
    match error {
        Error::Invalid(violations) => Error::Invalid(
            violations.into_iter().map(|v| Violation::new(format!("start.{}", v.field), v.description)).collect(),
        ),
        other => other,
    }
}
