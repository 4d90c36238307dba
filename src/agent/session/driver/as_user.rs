//! A command as another user in a session's turn: in a shell of its own, which begins with what a new shell of the session
//! would get, and of which nothing is kept.

use super::{Driver, Session, Turn, is_shell_name, stopped, wait_for_stop};
use crate::{
    agent::{
        command::{
            Command, Job,
            running::{Running, Verdict},
        },
        output::Charge,
        shell::{Holder, Launch, LaunchError, Loan, Saved, Shell, environment::Variables},
        users::User,
    },
    api::v1::{Exited, exited::Reason, session::State},
};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::watch;

/// What the name of such a shell's private directory ends with.
const SUFFIX: &str = "user";

impl Driver {
    /// Gives a command its turn as another user.
    pub(in crate::agent) async fn turn_as(
        &mut self,
        user: &Arc<User>,
        job: Job,
        loan: Option<Box<(Loan, Charge)>>,
        stop: &mut watch::Receiver<Option<Reason>>,
    ) -> Turn {
        let command = Arc::clone(&job.command);
        let loan = loan.map(|loan| loan.0);
        let saved = tokio::select! {
            saved = self.save_now() => saved,
            reason = wait_for_stop(stop) => return self.never_began(&command, reason),
        };
        match saved {
            Ok(true) => {}
            Ok(false) => return self.not_started_by_ended_shell(&command, stop).await,
            Err(error) => return self.not_started(&command, &error),
        }
        let (launch, directory, saved) = match self.prepare(user, loan) {
            Ok(prepared) => prepared,
            Err(why) => return self.not_started(&command, &why),
        };
        let started = launch.start(&directory, saved.as_ref(), stopped(stop)).await;
        let turn = match started {
            Ok((shell, holder)) => self.run_as(job, shell, holder, stop).await,
            Err(error) => match *stop.borrow() {
                Some(reason) => self.never_began(&command, reason),
                None if matches!(error, LaunchError::Directory(_)) => {
                    self.not_started(&command, &format!("{error} ({})", directory.display()))
                }
                None => self.not_started(&command, &error),
            },
        };
        launch.private.remove().await;
        turn
    }

    /// How the shell is started, where, and what it begins with.
    fn prepare(&self, user: &Arc<User>, loan: Option<Loan>) -> Result<(Launch, PathBuf, Option<Saved>), String> {
        let (own, directory) = loan.map_or_else(Default::default, |loan| (loan.env, loan.directory));
        let is_own_directory = directory.is_some();
        let directory = match directory {
            Some(directory) if !directory.is_dir() => {
                return Err(format!("its working directory {directory:?} is not a directory"));
            }
            Some(directory) => directory,
            None => self.session.known().directory,
        };
        let mut launch = self.launch.clone();
        launch.private = launch.private.beside(SUFFIX);
        launch.login = false;
        launch.only_there = is_own_directory;
        let mut variables: Variables =
            user.variables().map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        variables.extend(own);
        let saved = self.saved.clone().map(|mut saved| {
            // What was saved is all there was; what the user has unset must not come back.
            launch.environment.retain(|name, _| !is_shell_name(name));
            saved.directory.clone_from(&directory);
            launch.seen_by_programs(saved, &variables)
        });
        launch.environment.extend(variables);
        Ok((launch.run_by(user), directory, saved))
    }

    async fn run_as(
        &mut self,
        job: Job,
        mut shell: Shell,
        mut holder: Holder,
        stop: &mut watch::Receiver<Option<Reason>>,
    ) -> Turn {
        let command = Arc::clone(&job.command);
        self.session.update(|known| known.one_more_holder(holder.name()));
        let kills = self.oom.kills();
        let mut running = match Running::start(job, &mut shell, self.last_status, true) {
            Ok(running) => running,
            Err(error) => {
                holder.end().await;
                return self.not_started(&command, &error);
            }
        };
        let mut nothing_kept = None;
        let verdict = tokio::select! {
            verdict = running.drive(&mut shell, &mut holder, &mut nothing_kept) => verdict,
            reason = wait_for_stop(stop) => {
                holder.end().await;
                running.drain(&mut shell);
                running.leave_background();
                command.set_over(exited(&self.session, &running, &Verdict::stopped(reason), false));
                return Turn::Closed(reason);
            }
        };
        let out_of_memory = verdict.status != 0 && self.oom.kills() > kills;
        tokio::select! {
            () = running.end_leftovers(verdict.reason.is_some(), &shell) => {}
            _ = wait_for_stop(stop) => {}
        }
        running.drain(&mut shell);
        running.take_last_words(&shell);
        // What it has left in the background is the session's, and ends with it.
        self.earlier.push(holder);
        self.last_status = verdict.status;
        self.session.update(|known| {
            known.state = State::Idle;
            known.running = None;
        });
        let exited = exited(&self.session, &running, &verdict, out_of_memory);
        running.over(exited);
        Turn::Next
    }

    fn never_began(&self, command: &Command, reason: Reason) -> Turn {
        command.set_over(self.session.known().never_ran(reason));
        Turn::Closed(reason)
    }
}

/// The end of a command whose shell was its own.
fn exited(session: &Session, running: &Running, verdict: &Verdict, out_of_memory: bool) -> Exited {
    let known = session.known();
    let shell_signal = verdict.shell_end.as_ref().map_or(0, |end| end.signal);
    let reason = match verdict.reason {
        Some(reason) => reason,
        None if out_of_memory => Reason::OutOfMemory,
        None if verdict.signalled != 0 || shell_signal != 0 => Reason::Signaled,
        None => Reason::Exited,
    };
    Exited {
        exit_code: verdict.status,
        signal: if shell_signal != 0 { shell_signal } else { verdict.signalled },
        reason: reason.into(),
        duration: prost_types::Duration::try_from(running.elapsed()).ok(),
        working_directory: known.directory.to_string_lossy().into_owned(),
        generation: known.generation,
        ..Exited::default()
    }
}
