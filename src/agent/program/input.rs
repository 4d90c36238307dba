//! Where the input of a program goes.

use super::super::{
    command::{self, InputPiece},
    shell::{self, Terminal},
};
use bytes::{Buf, Bytes};
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// The way of a program's input.
pub(super) struct Input {
    /// Its standard input, until that was written to its end.
    pipe: Option<AsyncFd<OwnedFd>>,
    on_terminal: bool,
    wanted: bool,
    pending: Bytes,
    ended: bool,
}

impl Input {
    /// With `pipe` as standard input, or a terminal.
    pub(super) fn new(input: command::Input, pipe: Option<AsyncFd<OwnedFd>>, on_terminal: bool) -> Self {
        let (pending, ended) = match input {
            command::Input::Whole(bytes) => (bytes, true),
            command::Input::Streamed => (Bytes::new(), false),
            command::Input::Empty => (Bytes::new(), true),
        };
        Self { wanted: pipe.is_some() || on_terminal, pipe, on_terminal, pending, ended }
    }

    /// Whether there is anything that it could be for.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether there is nothing left to write, so that more may be taken from the client.
    pub(super) fn wants_more(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes a piece from the client. What nobody can read is dropped.
    pub(super) fn take(&mut self, piece: InputPiece, terminal: Option<&Terminal>) {
        match (piece, terminal) {
            (InputPiece::Data(data), Some(_)) => self.pending = data,
            (InputPiece::Data(data), None) if self.pipe.is_some() => self.pending = data,
            (InputPiece::Data(_), None) => {}
            (InputPiece::End, Some(terminal)) => self.pending = Bytes::from(vec![terminal.end_of_input()]),
            (InputPiece::End, None) => self.ended = true,
        }
    }

    /// Writes what is pending; waits for ever when there is nothing to do. May be cancelled without loss.
    pub(super) async fn advance(&mut self, terminal: Option<&Terminal>) {
        if let Some(terminal) = terminal.filter(|_| self.on_terminal && !self.pending.is_empty()) {
            match terminal.write(&self.pending).await {
                Ok(written) => self.pending.advance(written),
                Err(_) => self.pending.clear(),
            }
            return;
        }
        match &self.pipe {
            Some(pipe) if !self.pending.is_empty() => match shell::write(pipe, &self.pending).await {
                Ok(written) => self.pending.advance(written),
                // Nobody reads it any more.
                Err(_) => (self.pipe, self.pending) = (None, Bytes::new()),
            },
            Some(_) if self.ended => self.pipe = None,
            _ => std::future::pending().await,
        }
    }
}
