//! Bringing a session's shell back: to rest after a signal, and another in its place when it has ended.

use super::{Driver, is_shell_name, stopped};
use crate::{
    agent::{
        command::running::ShellEnd,
        shell::{Event, Holder, Launch, LaunchError, NotRestored, Report, Saved, Shell},
    },
    api::v1::exited::Reason,
};
use std::{path::Path, time::Duration};
use tokio::{sync::watch, time::Instant};

/// How long to wait for a shell to take a signal that may still be on its way, and how often to ask.
const SETTLE_EVERY: Duration = Duration::from_millis(200);
const SETTLE_TIMES: usize = 5;

/// How long a session waits for a sandbox that has no process, memory or room left for a new shell, and how often it tries.
/// What the old shell had is worth more than a moment: another program of the sandbox may just have taken all there is.
const LACKING_WITHIN: Duration = Duration::from_secs(5);
const LACKING_EVERY: Duration = Duration::from_millis(100);

impl Driver {
    /// Waits until no signal of ours can hit the next command.
    pub(super) async fn settle(&mut self) -> Option<ShellEnd> {
        for _ in 0..SETTLE_TIMES {
            // An error means that the shell has ended, which its holder reports.
            let asked = self.shell.settle().unwrap_or(0);
            // One that is stopped says nothing.
            self.holder.wake();
            self.shell.resume();
            let answer = async {
                loop {
                    tokio::select! {
                        event = self.holder.event() => match event {
                            Ok(Event::Ended(status)) => return Some(ShellEnd::new(status)),
                            Ok(Event::Gone) | Err(_) => return Some(ShellEnd::killed()),
                            Ok(Event::Started(_) | Event::Unprepared(_) | Event::Failed(_)) => {}
                        },
                        report = self.shell.reports.next() => {
                            match report {
                                Ok(Report::Done { tag, .. }) if tag == asked => return None,
                                Ok(_) => {}
                                Err(_) => crate::agent::shell::kill(self.shell.pid, libc::SIGKILL),
                            }
                        }
                        saved = self.shell.keeper.next() => if let Ok(Some(saved)) = saved { self.saved = Some(saved) },
                    }
                }
            };
            if let Ok(end) = tokio::time::timeout(SETTLE_EVERY, answer).await {
                return end;
            }
        }
        None
    }

    /// Starts a new shell in the place of one that ended. False when that is not possible, and when the session is closed
    /// meanwhile.
    pub(in crate::agent) async fn restart(&mut self, stop: &mut watch::Receiver<Option<Reason>>) -> bool {
        if let Some(saved) = self.shell.keeper.take() {
            self.saved = Some(saved);
        }
        let unsaved = self.shell.keeper.unsaved();
        // The command that has ended the shell knows that it has.
        let known_to_end = u64::from(self.session.known().running.is_some());
        let mut launch = self.launch.clone();
        launch.login = false;
        if self.saved.is_some() {
            // What was saved is all there was; what the user has unset must not come back. Names that no shell has as a
            // variable cannot have been unset.
            launch.environment.retain(|name, _| !is_shell_name(name));
        }
        let directory = self.session.known().directory;
        if let Some(saved) = &mut self.saved {
            saved.directory.clone_from(&directory);
        }
        let restarted = match start_when_there_is_room(&launch, &directory, self.saved.as_ref(), stop).await {
            // A state that no shell can start from must not end the session.
            Err(_) if self.saved.take().is_some() => {
                let mut started = self.launch.start(&directory, None, stopped(stop)).await;
                if let Ok((shell, _)) = &mut started {
                    shell.not_restored = NotRestored::everything();
                }
                started
            }
            other => other,
        };
        match restarted {
            Ok((mut shell, holder)) => {
                if unsaved > known_to_end {
                    shell.not_restored.add_changes(unsaved);
                }
                let not_restored = shell.not_restored.clone().told().into();
                self.session.update(|known| known.next_shell(shell.pid, holder.name(), not_restored));
                self.shell = shell;
                // It has a terminal of its own.
                self.on_terminal = None;
                self.earlier.push(std::mem::replace(&mut self.holder, holder));
                true
            }
            Err(error) => {
                report_failed_restart(&self.session.about.id, &error);
                false
            }
        }
    }
}

/// Starts a shell, and tries again for a while where the sandbox lacks what it may get back.
async fn start_when_there_is_room(
    launch: &Launch,
    directory: &Path,
    saved: Option<&Saved>,
    stop: &mut watch::Receiver<Option<Reason>>,
) -> Result<(Shell, Holder), LaunchError> {
    let until = Instant::now() + LACKING_WITHIN;
    loop {
        match launch.start(directory, saved, stopped(stop)).await {
            Err(error) if error.is_refused_for_now() && Instant::now() < until => {}
            other => return other,
        }
        tokio::select! {
            () = tokio::time::sleep(LACKING_EVERY) => {}
            () = stopped(stop) => return Err(LaunchError::GivenUp),
        }
    }
}

fn report_failed_restart(session: &str, error: &LaunchError) {
    tracing::warn!(session, %error, "no new shell could be started; the session is closed");
}
