//! A program that is executed directly, without a shell: started, fed, listened to, and ended.

mod ending;
mod input;
mod start;

use super::{
    command::{
        Command, Control, InputPiece, Job, QueuedInput,
        running::{INTERRUPTED, ShellEnd, drain_pipe, drain_terminal, next_output, until},
    },
    host::oom::OomCounter,
    session::{Inbox, Session, driver::wait_for_stop},
    shell::{self, Ends, Event, Holder, Program, ReadEnd, Terminal},
};
use crate::api::v1::{Exited, Stream, exited::Reason, session::State};
use ending::Ending;
use input::Input;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// How often the agent looks whether somebody inside has stopped the holder, which then reports nothing.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// A direct execution of a program.
pub(super) struct Execution {
    /// As others see it.
    pub(super) session: Arc<Session>,
    /// What is executed.
    pub(super) program: Program,
    /// What it is below.
    pub(super) holder: Holder,
    /// What the kernel killed.
    pub(super) oom: Arc<OomCounter>,
}

/// The program while it runs.
struct Running {
    command: Arc<Command>,
    since: Instant,
    timeout: Option<Duration>,
    grace: Duration,
    /// Its process id, once it is known.
    pid: i32,
    terminal: Option<Terminal>,
    output: Option<ReadEnd>,
    error: Option<ReadEnd>,
    input: Input,
    control: mpsc::Receiver<Control>,
    pieces: mpsc::UnboundedReceiver<QueuedInput>,
    /// The last signal that the client sent.
    signalled: i32,
}

/// How it has ended.
struct End {
    code: i32,
    signal: i32,
    reason: Option<Reason>,
}

impl End {
    /// By us.
    fn killed(reason: Option<Reason>) -> Self {
        Self { code: 128 + libc::SIGKILL, signal: libc::SIGKILL, reason }
    }
}

impl Execution {
    /// Follows the program to its end.
    pub(super) async fn run(mut self, ends: Ends, mut inbox: Inbox) {
        let job = inbox.jobs.recv().await;
        inbox.jobs.close();
        match job {
            Some(job) if job.command.set_running() => self.follow(job, ends, &mut inbox).await,
            // Nobody wants it any more.
            _ => self.holder.end().await,
        }
        inbox.ended.send_replace(true);
    }

    async fn follow(&mut self, job: Job, ends: Ends, inbox: &mut Inbox) {
        let command = Arc::clone(&job.command);
        self.session.update(|known| {
            known.queued = 0;
            known.state = State::Busy;
            known.running = Some(command.id.as_str().into());
        });
        let kills = self.oom.kills();
        let mut running = Running::new(job, ends);
        let end = tokio::select! {
            biased;
            end = self.drive(&mut running) => end,
            reason = wait_for_stop(&mut inbox.stop) => End::killed(Some(reason)),
        };
        let out_of_memory = end.code != 0 && self.oom.kills() > kills;
        // Nothing of a direct execution is kept: what it has left behind ends before its end is reported.
        self.holder.end_leftovers().await;
        running.drain();
        running.leave_background();
        self.session.update(|known| {
            known.state = State::Closed;
            known.running = None;
            known.program = 0;
        });
        command.set_over(self.exited(&running, &end, out_of_memory));
    }

    async fn drive(&mut self, running: &mut Running) -> End {
        let mut ending: Option<Ending> = None;
        let mut not_executed = None;
        let deadline = running.timeout.map(|timeout| running.since + timeout);
        let mut look_at = running.since + LOOK_EVERY;
        loop {
            let next_step = ending.as_ref().map(Ending::next).or(deadline);
            tokio::select! {
                event = self.holder.event() => match event {
                    Ok(Event::Started(pid)) => {
                        running.pid = pid;
                        self.session.update(|known| known.program = pid);
                    }
                    Ok(Event::Failed(error)) => not_executed = Some(self.program.not_executed(&error)),
                    Ok(Event::Unprepared(error)) => not_executed = Some(self.program.not_prepared(&error)),
                    Ok(Event::Ended(status)) => {
                        let reason = ending.as_ref().map(Ending::reason);
                        return match not_executed {
                            Some((code, why)) => {
                                running.command.complain(format!("sandshell: {why}\n"));
                                End { code, signal: 0, reason }
                            }
                            None => ended(ShellEnd::new(status), reason),
                        };
                    }
                    Ok(Event::Gone) | Err(_) => {
                        if let Some((code, why)) = not_executed {
                            // It could not even be forked.
                            running.command.complain(format!("sandshell: {why}\n"));
                            return End { code, signal: 0, reason: None };
                        }
                        return End::killed(ending.as_ref().map(Ending::reason));
                    }
                },
                data = read(&running.output, &running.command) => running.bring(Stream::Stdout, data),
                data = read(&running.error, &running.command) => running.bring(Stream::Stderr, data),
                data = typed(running.terminal.as_ref(), &running.command) => running.bring(Stream::Terminal, data),
                Some(control) = running.control.recv(), if running.pid != 0 => match control {
                    Control::Resize(size) => running.terminal.iter().for_each(|terminal| terminal.resize(&size)),
                    Control::Flush(done) => {
                        running.take_what_is_there();
                        let _ = done.send(());
                    }
                    Control::Signal(signal) => {
                        running.signalled = signal;
                        running.send(signal);
                    }
                    Control::Cancel => {
                        ending.get_or_insert_with(|| Ending::new(Reason::Cancelled, running.grace));
                    }
                },
                Some(queued) = running.pieces.recv(), if running.input.wants_more() => {
                    let is_data = matches!(queued.piece, InputPiece::Data(_));
                    if is_data && !running.input.is_wanted() {
                        running.command.refuse_input();
                    }
                    running.input.take(queued.piece, running.terminal.as_ref());
                }
                () = running.input.advance(running.terminal.as_ref()) => {}
                () = until(next_step) => {
                    let ending = ending.get_or_insert_with(|| Ending::new(Reason::TimedOut, running.grace));
                    self.holder.wake();
                    if ending.step(|signal| running.end_by(signal)).is_break() {
                        return End::killed(Some(ending.reason()));
                    }
                }
                () = tokio::time::sleep_until(look_at) => {
                    look_at = Instant::now() + LOOK_EVERY;
                    self.holder.wake();
                }
            }
        }
    }

    fn exited(&self, running: &Running, end: &End, out_of_memory: bool) -> Exited {
        let known = self.session.known();
        let signalled =
            if running.signalled != 0 && end.code == 128 + running.signalled { running.signalled } else { 0 };
        let reason = match end.reason {
            Some(reason) => reason,
            None if out_of_memory => Reason::OutOfMemory,
            None if end.signal != 0 || signalled != 0 => Reason::Signaled,
            None => Reason::Exited,
        };
        Exited {
            exit_code: end.code,
            signal: if end.signal != 0 { end.signal } else { signalled },
            reason: reason.into(),
            duration: prost_types::Duration::try_from(running.since.elapsed()).ok(),
            working_directory: known.directory.to_string_lossy().into_owned(),
            generation: known.generation,
            ..Exited::default()
        }
    }
}

/// How a program has ended by itself, or because it was told to.
fn ended(end: ShellEnd, reason: Option<Reason>) -> End {
    // What was ended before its time is no success, whatever it says itself.
    let code = if reason.is_some() && end.code == 0 { INTERRUPTED } else { end.code };
    End { code, signal: end.signal, reason }
}

impl Running {
    fn new(job: Job, ends: Ends) -> Self {
        let Job { command, spec, control, input: pieces } = job;
        let (terminal, pipe, output, error) = match ends {
            Ends::Terminal(terminal) => (Some(terminal), None, None, None),
            Ends::Pipes { input, output, error } => (None, input, Some(output), error),
        };
        for (pipe, stream) in [(&output, Stream::Stdout), (&error, Stream::Stderr)] {
            if let Some(pipe) = pipe {
                command.log.pipe_opened(stream);
                command.set_pipe(stream, pipe.identity());
            }
        }
        Self {
            command,
            since: Instant::now(),
            timeout: spec.timeout,
            grace: spec.grace,
            pid: 0,
            input: Input::new(spec.input, pipe, terminal.is_some()),
            terminal,
            output,
            error,
            control,
            pieces,
            signalled: 0,
        }
    }

    fn bring(&self, stream: Stream, data: Option<bytes::Bytes>) {
        if let Some(data) = data {
            self.command.log.append(stream, data);
        }
    }

    /// Sends a signal to what is in the foreground: on a terminal that is what the program says, else its own group.
    fn send(&self, signal: i32) {
        let foreground = self.terminal.as_ref().and_then(Terminal::foreground);
        let group = foreground.filter(|group| shell::group_lives(*group)).unwrap_or(self.pid);
        self.send_to(group, signal);
    }

    /// Sends a signal that is to end it, to its own group too.
    fn end_by(&self, signal: i32) {
        self.send(signal);
        if signal != libc::SIGINT {
            self.send_to(self.pid, signal);
        }
        for group in [self.terminal.as_ref().and_then(Terminal::foreground).unwrap_or(0), self.pid] {
            // What is stopped takes no other signal.
            self.send_to(group, libc::SIGCONT);
        }
    }

    fn send_to(&self, group: i32, signal: i32) {
        shell::kill_group(group, signal);
        if group == self.pid && !shell::leads_its_group(self.pid) {
            // It has just been forked, or has left its group.
            shell::kill(self.pid, signal);
        }
    }

    /// Takes what it has printed until now, whether there is room or not: it is no more than its pipes hold.
    fn take_what_is_there(&self) {
        for (pipe, stream) in [(&self.output, Stream::Stdout), (&self.error, Stream::Stderr)] {
            if let Some(pipe) = pipe {
                pipe.take_what_is_there(|data| self.command.log.append(stream, data));
            }
        }
    }

    /// Takes what it has printed.
    fn drain(&mut self) {
        for (pipe, stream) in [(&mut self.output, Stream::Stdout), (&mut self.error, Stream::Stderr)] {
            if pipe.as_ref().is_some_and(|pipe| drain_pipe(pipe, stream, &self.command)) {
                *pipe = None;
            }
        }
        if let Some(terminal) = &self.terminal {
            drain_terminal(terminal, &self.command);
        }
    }

    /// What holds its pipes open now is somewhere else: it was given them.
    fn leave_background(&mut self) {
        for (pipe, stream) in [(self.output.take(), Stream::Stdout), (self.error.take(), Stream::Stderr)] {
            let Some(pipe) = pipe else { continue };
            let command = Arc::clone(&self.command);
            tokio::spawn(async move {
                while let Ok(Some(data)) = next_output(&pipe, &command.log).await {
                    command.log.append(stream, data);
                }
                command.set_pipe(stream, None);
                command.log.pipe_closed(stream);
            });
        }
    }
}

async fn read(pipe: &Option<ReadEnd>, command: &Command) -> Option<bytes::Bytes> {
    match pipe {
        Some(pipe) => next_output(pipe, &command.log).await.ok().flatten(),
        None => std::future::pending().await,
    }
}

async fn typed(terminal: Option<&Terminal>, command: &Command) -> Option<bytes::Bytes> {
    match terminal {
        Some(terminal) => next_output(&terminal.reader, &command.log).await.ok().flatten(),
        None => std::future::pending().await,
    }
}
