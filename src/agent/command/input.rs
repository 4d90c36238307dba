//! Where a command's input goes while it runs.

use super::{Input, InputPiece};
use crate::agent::shell::{self, Directory, InputFifo, Terminal};
use bytes::{Buf, Bytes};
use std::{io, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often, and how long, to look whether a program that has just written to the terminal reads its answer there.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOK_FOR: Duration = Duration::from_millis(100);

/// How long input without a standard input to go to waits for a program that reads it on the terminal.
const WANTED_WITHIN: Duration = Duration::from_secs(1);

/// What became of a piece of input.
pub(in crate::agent) enum Taken {
    /// It, or a part of it, was typed on the terminal.
    Typed,
    /// There is nobody who reads the terminal, and nothing else that it could be for.
    Unwanted,
    /// Anything else.
    Otherwise,
}

/// The way of a command's input.
pub(in crate::agent) struct Feed {
    fifo: Option<InputFifo>,
    pty: bool,
    /// Whether input is typed on the terminal, because there is nowhere else for it.
    typed: bool,
    pending: Bytes,
    to_terminal: bool,
    ended: bool,
    question: Question,
    /// Whether the terminal had the last output when the input came that has nowhere else to go.
    spoken: bool,
}

/// What is known of whether a program asks on the terminal, while its standard input is something else.
enum Question {
    /// The last output was not on the terminal.
    None,
    /// It was, and no input has come since.
    Asked,
    /// A piece of input waits until this is known, or until `until`.
    Looking { next: Instant, until: Instant },
    /// Nobody read on the terminal when that was looked for until `at`. Input does not wait for the same question again:
    /// a program that has only told something there would get all of its input slowly.
    Unread { at: Instant },
}

impl Feed {
    /// Prepares the input that `spec` asks for. `directory` is where a FIFO may be made.
    pub(in crate::agent) fn new(input: Input, pty: bool, directory: &Arc<Directory>) -> io::Result<Self> {
        let (fifo, pending, ended) = match input {
            Input::Empty if pty || null_is_there() => (None, Bytes::new(), false),
            // Somebody inside has removed or replaced it. Without an input the shell would not run the command.
            Input::Empty => (Some(InputFifo::create(directory)?), Bytes::new(), true),
            Input::Streamed => (Some(InputFifo::create(directory)?), Bytes::new(), false),
            Input::Whole(bytes) => (Some(InputFifo::create(directory)?), bytes, true),
        };
        let typed = pty || fifo.is_none();
        Ok(Self { fifo, pty, typed, pending, to_terminal: pty, ended, question: Question::None, spoken: false })
    }

    /// What the shell opens as standard input.
    pub(in crate::agent) fn path<'a>(&'a self, terminal: &'a Terminal) -> &'a str {
        match &self.fifo {
            _ if self.pty => terminal.path(),
            Some(fifo) => fifo.path().to_str().unwrap_or("/dev/null"),
            None => "/dev/null",
        }
    }

    /// Whether there is nothing left to write, so that more may be taken from the client.
    pub(in crate::agent) fn wants_more(&self) -> bool {
        self.pending.is_empty()
    }

    /// A program has written to the terminal, and may wait for an answer there.
    pub(in crate::agent) fn terminal_spoke(&mut self) {
        if !matches!(self.question, Question::Looking { .. }) {
            self.question = Question::Asked;
        }
    }

    /// A program has written to one of its pipes, and so does not wait for an answer on the terminal.
    pub(in crate::agent) fn pipe_spoke(&mut self) {
        if !matches!(self.question, Question::Looking { .. }) {
            self.question = Question::None;
        }
    }

    /// Takes a piece from the client.
    pub(in crate::agent) fn take(&mut self, piece: InputPiece, terminal: &Terminal) {
        match piece {
            InputPiece::Data(_) if self.ended && !self.typed => {}
            InputPiece::Data(data) => {
                self.pending = data;
                self.to_terminal = self.pty;
                let now = Instant::now();
                match self.question {
                    _ if self.pty => {}
                    // Whether a program has asked is told by its output alone when it does not block in a read.
                    _ if self.typed => {
                        self.spoken = matches!(self.question, Question::Asked);
                        self.question = Question::Looking { next: now, until: now + WANTED_WITHIN };
                    }
                    Question::Asked => self.question = Question::Looking { next: now, until: now + LOOK_FOR },
                    // Now and then one look, without a wait: the program may have come to its question since.
                    Question::Unread { at } if now - at >= LOOK_FOR => {
                        self.question = Question::Looking { next: now, until: now };
                    }
                    _ => {}
                }
            }
            InputPiece::End if self.pty => {
                self.pending = Bytes::from(vec![terminal.end_of_input()]);
                self.to_terminal = true;
            }
            InputPiece::End => self.ended = true,
        }
    }

    /// The signal that typing `piece` sends to the foreground.
    pub(in crate::agent) fn signal(&self, piece: &InputPiece, terminal: &Terminal) -> Option<i32> {
        let InputPiece::Data(data) = piece else { return None };
        let keys = if self.typed { terminal.signal_keys() } else { None }?;
        keys.into_iter().find(|(key, _)| data.contains(key)).map(|(_, signal)| signal)
    }

    /// Writes what is pending; pending for ever when there is nothing to do. May be cancelled without loss.
    pub(in crate::agent) async fn advance(&mut self, terminal: &Terminal) -> Taken {
        // The shell waits for a writer before it runs anything.
        if let Some(fifo) = self.fifo.as_mut().filter(|fifo| !fifo.is_open()) {
            if fifo.opened().await.is_err() {
                self.fifo = None;
            }
            return Taken::Otherwise;
        }
        if let Question::Looking { next, until } = self.question {
            tokio::time::sleep_until(next).await;
            let now = Instant::now();
            if is_read(terminal) {
                self.to_terminal = true;
                self.question = Question::Asked;
            } else if now < until {
                self.question = Question::Looking { next: now + LOOK_EVERY, until };
            } else if !self.typed {
                self.question = Question::Unread { at: now };
            } else if self.spoken {
                self.to_terminal = true;
                self.question = Question::None;
            } else {
                self.question = Question::None;
                self.pending.clear();
                return Taken::Unwanted;
            }
            return Taken::Otherwise;
        }
        if self.to_terminal && !self.pending.is_empty() {
            match terminal.write(&self.pending).await {
                Ok(written) => self.pending.advance(written),
                Err(_) => self.pending.clear(),
            }
            return Taken::Typed;
        }
        let Some(fifo) = &mut self.fifo else { return std::future::pending().await };
        if fifo.is_closed() {
            self.pending.clear();
            fifo.help().await;
            return Taken::Otherwise;
        }
        if self.pending.is_empty() && !self.ended {
            return std::future::pending().await;
        }
        let result = match fifo.opened().await {
            Ok(fd) if !self.pending.is_empty() => shell::write(fd, &self.pending).await,
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        };
        match result {
            Ok(written) => self.pending.advance(written),
            // Written to the end and closed by the client, or nobody reads any more: what comes now is dropped.
            Err(_) => {
                self.pending.clear();
                fifo.close();
                self.ended = true;
            }
        }
        Taken::Otherwise
    }
}

/// Whether `/dev/null` is what it should be.
fn null_is_there() -> bool {
    let device = rustix::fs::makedev(1, 3);
    rustix::fs::stat("/dev/null")
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == device)
}

/// Whether what runs in the foreground reads its next input from the terminal, as ssh and sudo do for a password even
/// when their standard input is something else.
fn is_read(terminal: &Terminal) -> bool {
    let group = terminal.foreground();
    group.is_some_and(|group| shell::group_members(group, 0).into_iter().any(shell::reads_terminal))
}
