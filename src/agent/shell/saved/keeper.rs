//! The agent's end of the FIFO on which a shell saves its state.

use super::{Saved, reader::Reader};
use crate::agent::{
    output::Budget,
    shell::{dialect::Dialect, fifo::Fifo},
};
use std::{io, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The FIFO on which state is saved.
pub(crate) struct Keeper {
    pub(in crate::agent::shell) fifo: Fifo,
    dialect: Dialect,
    budget: Arc<Budget>,
    reader: Reader,
    /// When the state that is coming has begun to come.
    began: Option<Instant>,
    took: Duration,
    commands: Commands,
}

/// Which commands a state knows of.
#[derive(Debug, Default)]
struct Commands {
    /// How many the shell was given.
    given: u64,
    /// How many of them the last state has.
    saved: u64,
    /// How many a state will have that the shell was asked for and that has not come.
    asked: Option<u64>,
}

impl Keeper {
    /// Reads from a FIFO. What is kept is charged to the budget.
    pub(in crate::agent::shell) fn new(fifo: Fifo, dialect: Dialect, budget: &Arc<Budget>) -> Self {
        let (budget, reader) = (Arc::clone(budget), Reader::new(dialect, Arc::clone(budget)));
        Self { fifo, dialect, budget, reader, began: None, took: Duration::ZERO, commands: Commands::default() }
    }

    /// Reads from another FIFO from now on.
    pub(in crate::agent::shell) fn reads_from(&mut self, fifo: Fifo) {
        let reader = Reader::new(self.dialect, Arc::clone(&self.budget));
        (self.fifo, self.reader, self.began) = (fifo, reader, None);
        self.commands.asked = None;
    }

    /// Waits for more of what the shell saves, and returns it when it is whole. May be cancelled without loss.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Saved>> {
        tokio::task::consume_budget().await;
        let data = self.fifo.reader.data().await?;
        Ok(data.and_then(|data| self.feed(&data)))
    }

    /// Takes what is there, without waiting.
    pub(crate) fn take(&mut self) -> Option<Saved> {
        let mut latest = None;
        let mut there = Vec::new();
        self.fifo.reader.take_what_is_there(|data| there.push(data));
        for data in there {
            latest = self.feed(&data).or(latest);
        }
        latest
    }

    /// The shell is given a command.
    pub(in crate::agent::shell) fn given_a_command(&mut self) {
        self.commands.given += 1;
    }

    /// The idle shell is asked for its state. When it comes, the next command may have begun.
    pub(in crate::agent::shell) fn asked(&mut self) {
        self.commands.asked = Some(self.commands.given);
    }

    /// How many commands the shell was given since it has saved its state last.
    pub(crate) fn unsaved(&self) -> u64 {
        self.commands.given - self.commands.saved
    }

    /// How long it has taken to save the last state.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }

    fn feed(&mut self, data: &[u8]) -> Option<Saved> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let saved = self.reader.feed(data);
        if saved.is_some() {
            self.took = began.elapsed();
            // A shell that was not asked is about to end.
            self.commands.saved = self.commands.asked.take().unwrap_or(self.commands.given);
        }
        if !self.reader.is_in_the_middle() {
            self.began = None;
        }
        saved
    }

    /// Numbers of the pieces of a state that the shell could not carry out.
    pub(in crate::agent::shell) fn take_failed(&mut self) -> Vec<usize> {
        self.reader.take_failed()
    }
}
