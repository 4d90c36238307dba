//! Starts that were sent again: the same `request_id` is the same command.

use super::command::Command;
use crate::{
    api::v1::ExecStart,
    error::{Error, Reason, Result},
};
use bytes::Bytes;
use prost::Message;
use std::{
    collections::{HashMap, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};
use tokio::sync::watch;

/// Ids that are remembered.
const MOST_REMEMBERED: usize = 10_000;

/// Ids of starts, and the commands that they have become.
#[derive(Default)]
pub(super) struct RequestIds {
    by_id: HashMap<String, Entry>,
    order: VecDeque<String>,
}

struct Entry {
    content: u64,
    command: watch::Receiver<Option<Arc<Command>>>,
}

/// What a start with an id is.
pub(super) enum Claim {
    /// The first: it says here which command it has become.
    New(watch::Sender<Option<Arc<Command>>>),
    /// A repetition: it learns here which command that was.
    Known(watch::Receiver<Option<Arc<Command>>>),
}

impl RequestIds {
    /// Looks an id up, or takes it.
    pub(super) fn claim(&mut self, id: &str, start: &ExecStart, input: Option<&Bytes>) -> Result<Claim> {
        let content = fingerprint(start, input);
        if let Some(entry) = self.by_id.get(id) {
            if entry.content == content {
                return Ok(Claim::Known(entry.command.clone()));
            }
            return Err(Error::WrongState {
                reason: Reason::RequestIdReused,
                message: format!("request_id \"{id}\" was used for another command; use a new one"),
            });
        }
        if self.order.len() >= MOST_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        let (sender, command) = watch::channel(None);
        self.by_id.insert(id.to_owned(), Entry { content, command });
        self.order.push_back(id.to_owned());
        Ok(Claim::New(sender))
    }

    /// Gives an id back whose start has failed.
    pub(super) fn release(&mut self, id: &str) {
        self.by_id.remove(id);
        self.order.retain(|other| other != id);
    }
}

fn fingerprint(start: &ExecStart, input: Option<&Bytes>) -> u64 {
    // The map of a message has no order of its own.
    let mut plain = start.clone();
    let mut env: Vec<_> = std::mem::take(&mut plain.env).into_iter().collect();
    env.sort();
    let mut hasher = DefaultHasher::new();
    plain.encode_to_vec().hash(&mut hasher);
    env.hash(&mut hasher);
    // No input is the same as an empty one, and `Run` implies `stdin`.
    input.filter(|input| !input.is_empty()).hash(&mut hasher);
    hasher.finish()
}
