//! The agent's end of the FIFO on which a shell saves its state.

use super::{Saved, reader::Reader};
use crate::agent::shell::{dialect::Dialect, fifo::Fifo};
use std::io;

/// The FIFO on which state is saved.
pub(crate) struct Keeper {
    pub(in crate::agent::shell) fifo: Fifo,
    dialect: Dialect,
    reader: Reader,
}

impl Keeper {
    /// Reads from a FIFO.
    pub(in crate::agent::shell) fn new(fifo: Fifo, dialect: Dialect) -> Self {
        Self { fifo, dialect, reader: Reader::new(dialect) }
    }

    /// Reads from another FIFO from now on.
    pub(in crate::agent::shell) fn reads_from(&mut self, fifo: Fifo) {
        (self.fifo, self.reader) = (fifo, Reader::new(self.dialect));
    }

    /// Waits for more of what the shell saves, and returns it when it is whole. May be cancelled without loss.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Saved>> {
        tokio::task::consume_budget().await;
        let data = self.fifo.reader.data().await?;
        Ok(data.and_then(|data| self.reader.feed(&data)))
    }

    /// Takes what is there, without waiting.
    pub(crate) fn take(&mut self) -> Option<Saved> {
        let mut latest = None;
        self.fifo.reader.take_what_is_there(|data| latest = self.reader.feed(&data).or(latest.take()));
        latest
    }

    /// Numbers of the pieces of a state that the shell could not carry out.
    pub(in crate::agent::shell) fn take_failed(&mut self) -> Vec<usize> {
        self.reader.take_failed()
    }
}
