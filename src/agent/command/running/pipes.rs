//! What is in the pipes of a command when it ends, and what comes out of them later.

use super::{Running, next_output};
use crate::{
    agent::{
        command::Command,
        shell::{self, Moment, Read, ReadEnd, Shell, Terminal},
    },
    api::v1::Stream,
};
use std::sync::Arc;

/// What a terminal can hold, and a good deal more.
const MOST_TERMINAL_READS: usize = 64;

/// A command on a terminal that has left programs there.
pub(in crate::agent) struct LeftOnTerminal {
    pub(in crate::agent) command: Arc<Command>,
    since: Moment,
}

impl LeftOnTerminal {
    /// Whether they, or what they have started, still have it open by its own name. Programs that ask there open `/dev/tty`.
    pub(in crate::agent) fn is_there(&self, shell: &Shell, holder: i32) -> bool {
        let terminal = shell.terminal.path();
        shell::descendants_since(holder, self.since).into_iter().any(|pid| shell::has_open(pid, terminal))
    }
}

/// Takes what is already in a pipe of a command that is over. Whether nobody has the pipe open any more.
pub(in crate::agent) fn drain_pipe(pipe: &ReadEnd, stream: Stream, command: &Command) -> bool {
    // No more than is there now: a background process may go on printing for ever.
    let mut budget = 2;
    let mut left = None;
    let mut coming = 0;
    let ended = loop {
        let room = command.log.room_at_end();
        if room == 0 {
            // The starting stream is too far behind. What is in the pipe waits there, and comes before the end all the same.
            coming = rustix::io::ioctl_fionread(pipe.as_fd()).unwrap_or(0);
            break false;
        }
        match pipe.read_up_to(room) {
            Ok(Read::Data(data)) => {
                let before = left.unwrap_or_else(|| {
                    let behind = rustix::io::ioctl_fionread(pipe.as_fd()).unwrap_or(0);
                    behind + data.len() as u64
                });
                let now = before.saturating_sub(data.len() as u64);
                left = Some(now);
                command.log.append(stream, data);
                if now == 0 {
                    // The next read tells whether anybody is left; what it may bring is not waited for.
                    budget -= 1;
                }
                if budget == 0 {
                    break false;
                }
            }
            Ok(Read::Empty) => break false,
            Ok(Read::Closed) | Err(_) => break true,
        }
    };
    if ended {
        command.set_pipe(stream, None);
        command.log.pipe_closed(stream);
    } else {
        command.log.expect(stream, coming);
    }
    ended
}

/// Takes what has been written to a terminal.
pub(in crate::agent) fn drain_terminal(terminal: &Terminal, command: &Command) {
    for _ in 0..MOST_TERMINAL_READS {
        let Ok(Read::Data(data)) = terminal.reader.read() else { break };
        command.log.append(Stream::Terminal, data);
    }
}

impl Running {
    /// Takes what is already in the pipes. What holds them open from now on runs in the background.
    pub(in crate::agent) fn drain(&mut self, shell: &mut Shell) {
        for (fifo, stream) in [(&mut self.output, Stream::Stdout), (&mut self.error, Stream::Stderr)] {
            let Some(pipe) = fifo else { continue };
            pipe.let_end();
            let ended = drain_pipe(&pipe.reader, stream, &self.command);
            if ended {
                fifo.take().into_iter().for_each(|pipe| shell.take_back(pipe));
            } else {
                // It belongs to what runs in the background.
                pipe.release();
            }
        }
        if self.pty {
            shell.terminal.finish_typing();
        }
        drain_terminal(&shell.terminal, self.of_terminal(&shell.terminal));
    }

    /// The command that what is written to the terminal belongs to. What an earlier one has left there, in its background,
    /// prints for that one, unless a program of this one asks there.
    pub(in crate::agent) fn of_terminal(&self, terminal: &Terminal) -> &Arc<Command> {
        match &self.on_terminal {
            Some(earlier) if !self.pty && !terminal.is_waited_for() => earlier,
            _ => &self.command,
        }
    }

    /// The command, if something that it has started is still on the terminal.
    pub(in crate::agent) fn left_on_terminal(&self, shell: &Shell, holder: i32) -> Option<LeftOnTerminal> {
        let left = LeftOnTerminal { command: Arc::clone(&self.command), since: self.moment };
        (self.pty && left.is_there(shell, holder)).then_some(left)
    }

    /// Takes what the shell itself said at its end: the output of an EXIT trap.
    pub(in crate::agent) fn take_last_words(&self, shell: &Shell) {
        let (output, error) = shell.own_words();
        if self.pty {
            self.command.log.append(Stream::Terminal, [output, error].concat().into());
        } else {
            self.command.log.append(Stream::Stdout, output.into());
            self.command.complain(error);
        }
    }

    /// Leaves the pipes that are still open to a task of their own: what comes belongs to this command.
    pub(in crate::agent) fn leave_background(&mut self) {
        for (fifo, stream) in [(self.output.take(), Stream::Stdout), (self.error.take(), Stream::Stderr)] {
            let Some(fifo) = fifo else { continue };
            let command = Arc::clone(&self.command);
            tokio::spawn(async move {
                while let Ok(Some(data)) = next_output(&fifo.reader, &command.log).await {
                    command.log.append(stream, data);
                }
                command.set_pipe(stream, None);
                command.log.pipe_closed(stream);
            });
        }
    }
}
