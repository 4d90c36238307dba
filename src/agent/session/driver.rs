//! The task that owns a session's shell: takes commands in order, runs each, and brings the shell back when it ended.

mod again;
mod as_user;
mod lending;

use super::{Inbox, Session, earlier::Earlier};
use crate::{
    agent::{
        command::{
            Command, Job,
            running::{LeftOnTerminal, Running, ShellEnd, Verdict, next_output},
        },
        host::oom::OomCounter,
        shell::{Before, Event, Holder, Launch, ReadEnd, Report, Saved, Shell},
    },
    api::v1::{OnShellExit, Stream, exited::Reason, session::State},
};
use lending::Lent;
use std::{io, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, Sleep},
};

/// An idle shell saves its state after this time, for the case that it is killed or that the user's own EXIT trap took
/// the place of ours.
const SAVE_AFTER: Duration = Duration::from_millis(50);

/// A shell with a large state saves it only once it has been idle for so many times as long as that takes: a command that
/// comes meanwhile would have to wait for it.
const SAVE_SHARE: u32 = 20;

/// How often at most a shell is given a line that would end for want of one.
const NUDGE_AT_MOST_EVERY: Duration = Duration::from_millis(400);

/// A session's driver.
pub(in crate::agent) struct Driver {
    /// The session, as others see it.
    pub(in crate::agent) session: Arc<Session>,
    /// How its shells are started.
    pub(in crate::agent) launch: Launch,
    /// The shell and its holder.
    pub(in crate::agent) shell: Shell,
    /// As above.
    pub(in crate::agent) holder: Holder,
    /// Holders of earlier shells, whose background processes may live.
    pub(in crate::agent) earlier: Earlier,
    /// What the kernel killed.
    pub(in crate::agent) oom: Arc<OomCounter>,
    /// `$?` for the next command.
    pub(in crate::agent) last_status: i32,
    /// What the shell saved last.
    pub(in crate::agent) saved: Option<Saved>,
    /// Gets what the terminal says between commands.
    pub(in crate::agent) last_command: Option<Arc<Command>>,
    /// A command whose programs are still on the terminal.
    pub(in crate::agent) on_terminal: Option<LeftOnTerminal>,
    /// Rings when an idle shell may be due to save its state. It is kept, and set again only after it has rung: a timer
    /// that is set anew for each command wakes the runtime each time.
    pub(in crate::agent) save_timer: Pin<Box<Sleep>>,
}

impl Driver {
    /// Runs until the session is closed.
    pub(in crate::agent) async fn run(mut self, mut inbox: Inbox) {
        let reason = loop {
            let job = match self.idle(&mut inbox).await {
                Idle::Job(job) => job,
                Idle::Closed(reason) => break reason,
            };
            let command = Arc::clone(&job.command);
            let turn = self.turn(job, &mut inbox.stop).await;
            self.last_command = Some(command);
            if let Turn::Closed(reason) = turn {
                break reason;
            }
        };
        self.close(inbox, reason).await;
    }

    /// Waits for the next command, and looks after the shell meanwhile.
    async fn idle(&mut self, inbox: &mut Inbox) -> Idle {
        let mut save_at = Some(Instant::now() + SAVE_AFTER.max(self.shell.keeper.took() * SAVE_SHARE));
        let (mut asked, mut nudge) = (None, None);
        loop {
            if let Some(at) = save_at.filter(|_| self.save_timer.is_elapsed()) {
                self.save_timer.as_mut().reset(at);
            }
            let of_terminal =
                self.on_terminal.as_ref().map(|left| &left.command).or(self.last_command.as_ref()).cloned();
            tokio::select! {
                biased;
                reason = wait_for_stop(&mut inbox.stop) => return Idle::Closed(reason),
                event = self.holder.event() => match event {
                    Ok(Event::Ended(_) | Event::Gone) | Err(_) => {
                        let close = self.session.about.on_shell_exit == OnShellExit::Close;
                        if close || !self.restart(&mut inbox.stop).await {
                            self.session.update(|known| {
                                known.state = State::Closed;
                                known.shell_pid = 0;
                            });
                            return Idle::Closed(Reason::Cancelled);
                        }
                    }
                    Ok(Event::Started(_) | Event::Unprepared(_) | Event::Failed(_)) => {}
                },
                job = inbox.jobs.recv() => return job.map_or(Idle::Closed(Reason::Cancelled), Idle::Job),
                saved = self.shell.keeper.next() => if let Ok(Some(saved)) = saved { self.saved = Some(saved) },
                report = self.shell.reports.next() => match report {
                    Ok(Report::Done { tag, status, .. }) if Some(tag) == asked => nudge = Nudge::new(status),
                    Ok(_) => {}
                    // No later command's end could be heard of: the holder reports the shell's, and a new one is started.
                    Err(_) => crate::agent::shell::kill(self.shell.pid, libc::SIGKILL),
                },
                () = Nudge::due(&nudge) => {
                    let _ = self.shell.nudge();
                    nudge = nudge.and_then(Nudge::again);
                }
                data = idle_terminal(&self.shell.terminal.reader, of_terminal.as_deref()) => {
                    if let (Ok(Some(data)), Some(command)) = (data, &of_terminal) {
                        command.log.append(Stream::Terminal, data);
                    }
                }
                // Prompts, notices of jobs, traces of our own lines: nobody's.
                _ = self.shell.own_output.data() => {}
                _ = self.shell.own_error.data() => {}
                () = &mut self.save_timer, if save_at.is_some() => {
                    if save_at.is_some_and(|at| Instant::now() < at) {
                        // It was set for an earlier command.
                        continue;
                    }
                    save_at = None;
                    // A shell that cannot be told anything is about to end, which the holder reports.
                    asked = self.shell.save().ok().map(|saving| saving.patience);
                }
            }
        }
    }

    /// Gives a command its turn.
    async fn turn(&mut self, mut job: Job, stop: &mut watch::Receiver<Option<Reason>>) -> Turn {
        let command = Arc::clone(&job.command);
        if !command.set_running() {
            // Cancelled while it waited.
            return Turn::Next;
        }
        if self.shell.takes_no_lines() && !self.take_another_shell(stop).await {
            command.set_over(self.session.known().never_ran(Reason::ShellExited));
            return Turn::Closed(Reason::Cancelled);
        }
        self.session.update(|known| {
            known.queued -= 1;
            known.state = State::Busy;
            known.running = Some(command.id.as_str().into());
        });
        let mut loan = job.spec.loan.take();
        if let Some(loan) = &mut loan {
            loan.0.begin_at(&self.session.known().directory);
        }
        if let Some(user) = job.spec.user.take() {
            return self.turn_as(&user, job, loan, stop).await;
        }
        let mut before = None;
        if let Some((loan, _charge)) = loan.as_deref() {
            let lent = tokio::select! {
                lent = self.lend(loan) => lent,
                reason = wait_for_stop(stop) => {
                    command.set_over(self.session.known().never_ran(reason));
                    return Turn::Closed(reason);
                }
            };
            match lent {
                Lent::Yes(had) => before = Some(had),
                Lent::No(why) => return self.not_started(&command, &why),
                Lent::ShellEnded => return self.not_started_by_ended_shell(&command, stop).await,
            }
        }
        let kills = self.oom.kills();
        let mut running = match Running::start(job, &mut self.shell, self.last_status, self.session.about.direct) {
            Ok(running) => running,
            Err(error) => {
                if let Some(before) = &before {
                    self.reclaim(before).await;
                }
                // It has ended in this very moment.
                if error.kind() == io::ErrorKind::BrokenPipe && !self.session.about.direct {
                    return self.not_started_by_ended_shell(&command, stop).await;
                }
                return self.not_started(&command, &error);
            }
        };
        running.on_terminal = self.left_on_terminal();
        let verdict = tokio::select! {
            verdict = running.drive(&mut self.shell, &mut self.holder, &mut self.saved) => verdict,
            reason = wait_for_stop(stop) => {
                // Everything is ended first, so that what it still prints is there before the end is reported.
                self.end_processes().await;
                running.drain(&mut self.shell);
                running.leave_background();
                command.set_over(self.exited(&running, Verdict::stopped(reason), false));
                return Turn::Closed(reason);
            }
        };
        // Only a command that failed can have failed for want of memory.
        let out_of_memory = verdict.status != 0 && self.oom.kills() > kills;
        self.conclude(running, verdict, out_of_memory, before, stop).await
    }

    /// Brings the session into order after a command, then reports its end.
    async fn conclude(
        &mut self,
        mut running: Running,
        mut verdict: Verdict,
        out_of_memory: bool,
        before: Option<Before>,
        stop: &mut watch::Receiver<Option<Reason>>,
    ) -> Turn {
        if verdict.signal_under_way && verdict.shell_end.is_none() {
            verdict.shell_end = tokio::select! {
                end = self.settle() => end,
                _ = wait_for_stop(stop) => None,
            };
        }
        // A session that is closed meanwhile ends them in its own way.
        tokio::select! {
            () = running.end_leftovers(verdict.reason.is_some(), &self.shell) => {}
            _ = wait_for_stop(stop) => {}
        }
        running.drain(&mut self.shell);
        if let Some(holder) = self.holder.name().pid() {
            self.on_terminal = running.left_on_terminal(&self.shell, holder).or(self.on_terminal.take());
        }
        if let Some(before) = before.as_ref().filter(|_| verdict.shell_end.is_none()) {
            tokio::select! {
                reclaimed = self.reclaim(before) => match reclaimed {
                    Some(directory) => verdict.directory = Some(directory),
                    None => verdict.shell_end = Some(ShellEnd::killed()),
                },
                _ = wait_for_stop(stop) => {}
            }
        }
        let shell_ended = verdict.shell_end.is_some();
        if shell_ended {
            self.note_unread(&running, &mut verdict);
            running.take_last_words(&self.shell);
        }
        if let Some(saved) = self.shell.keeper.take() {
            self.saved = Some(saved);
        }
        if let (Some(directory), Some(saved)) = (&verdict.directory, &mut self.saved) {
            // An idle shell saved before this command: a shell that is killed next must not lead back there.
            saved.directory.clone_from(directory);
        }
        let directory = match (&verdict.directory, &self.saved) {
            (Some(directory), _) => Some(directory.clone()),
            (None, Some(saved)) if shell_ended => Some(saved.directory.clone()),
            _ => None,
        };
        // A shell that ended gave nothing back: the next one does, and begins where the session was.
        let had = before.as_ref().filter(|_| shell_ended);
        if let Some(directory) = had.and_then(|had| had.directory.clone()).or(directory) {
            self.session.update(|known| known.directory = directory);
        }
        if self.session.about.direct {
            // Nothing of a direct execution is kept: what it left behind ends before its end is reported.
            if shell_ended {
                self.holder.end_leftovers().await;
            }
            self.end_processes().await;
            running.drain(&mut self.shell);
        }
        self.last_status = verdict.status;
        let goes_on = !shell_ended
            || (!self.session.about.direct
                && self.session.about.on_shell_exit != OnShellExit::Close
                && self.restart(stop).await
                && self.give_back(had, stop).await);
        self.session.update(|known| {
            known.state = if goes_on { State::Idle } else { State::Closed };
            known.running = None;
            if !goes_on {
                known.shell_pid = 0;
            }
        });
        let exited = self.exited(&running, verdict, out_of_memory);
        running.over(exited);
        if goes_on { Turn::Next } else { Turn::Closed(Reason::Cancelled) }
    }

    /// The command that has left programs on the terminal, if they are still there.
    fn left_on_terminal(&mut self) -> Option<Arc<Command>> {
        let left = self.on_terminal.as_ref()?;
        let there = self.holder.name().pid().is_some_and(|holder| left.is_there(&self.shell, holder));
        if !there {
            self.on_terminal = None;
        }
        self.on_terminal.as_ref().map(|left| Arc::clone(&left.command))
    }

    async fn end_processes(&mut self) {
        tokio::join!(self.holder.end(), self.earlier.end());
    }

    async fn close(mut self, mut inbox: Inbox, reason: Reason) {
        self.session.update(|known| {
            known.state = State::Closed;
            known.running = None;
            known.shell_pid = 0;
        });
        let exited = self.session.known().never_ran(reason);
        inbox.jobs.close();
        while let Ok(job) = inbox.jobs.try_recv() {
            job.command.cancel_queued(exited.clone());
        }
        self.end_processes().await;
        // Who waits for the end of a direct execution is told of it before this is cleared up.
        tokio::task::yield_now().await;
        drop(self.shell);
        self.launch.private.remove().await;
        inbox.ended.send_replace(true);
    }
}

/// What an idle session meets.
enum Idle {
    /// A command.
    Job(Job),
    /// Its end.
    Closed(Reason),
}

/// When an idle shell needs a line, because it ends after some time without one (`TMOUT`).
struct Nudge {
    every: Duration,
    at: Instant,
}

impl Nudge {
    /// For a shell that ends after so many seconds.
    fn new(seconds: i32) -> Option<Self> {
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
        Self { every: NUDGE_AT_MOST_EVERY.max(Duration::from_secs(seconds) / 2), at: Instant::now() }.again()
    }

    fn again(mut self) -> Option<Self> {
        self.at = Instant::now() + self.every;
        Some(self)
    }

    async fn due(nudge: &Option<Self>) {
        match nudge {
            Some(nudge) => tokio::time::sleep_until(nudge.at).await,
            None => std::future::pending().await,
        }
    }
}

/// What a command's turn leads to.
pub(in crate::agent) enum Turn {
    /// The next command.
    Next,
    /// The end of the session.
    Closed(Reason),
}

/// What the terminal says between commands: the last command's output, if there was one, which waits as any of it does.
async fn idle_terminal(terminal: &ReadEnd, last: Option<&Command>) -> std::io::Result<Option<bytes::Bytes>> {
    match last {
        Some(command) => next_output(terminal, &command.log).await,
        None => terminal.data().await,
    }
}

pub(in crate::agent) async fn stopped(stop: &mut watch::Receiver<Option<Reason>>) {
    wait_for_stop(stop).await;
}

pub(in crate::agent) async fn wait_for_stop(stop: &mut watch::Receiver<Option<Reason>>) -> Reason {
    match stop.wait_for(Option::is_some).await {
        Ok(reason) => reason.unwrap_or(Reason::Cancelled),
        // Nobody can use the session any more.
        Err(_) => Reason::Cancelled,
    }
}

/// Whether a shell takes an environment variable with this name for one of its own.
pub(in crate::agent) fn is_shell_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
