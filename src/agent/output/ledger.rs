//! The numbers of a [`super::Budget`]: who has how much, and who gives up something next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
};

/// What a log that is asked for room gives up at least. A program that prints a few bytes at a time must not cost a
/// search for each of them.
const BATCH: usize = 64 << 10;

/// Who has something that can be given up.
pub(super) trait GiveUp: Send + Sync {
    /// Drops up to about so many of the oldest bytes that nobody is owed, for those who need room. Returns how many.
    fn give_up(&self, bytes: usize) -> usize;
}

/// Who has how much of the budget, in bytes.
#[derive(Default)]
pub(super) struct Ledger {
    /// All that is kept.
    pub(super) used: usize,
    /// The part of it that cannot be given up, because somebody is owed it.
    pub(super) held: usize,
    /// What is kept of commands that are over and could be given up.
    past: usize,
    logs: BTreeMap<u64, Entry>,
    /// The logs of commands that are over and have something to give up, by the age of their oldest bytes.
    oldest: BTreeSet<(u64, u64)>,
    last_id: u64,
}

struct Entry {
    /// `None` until it is introduced.
    log: Option<Weak<dyn GiveUp>>,
    share: Share,
}

/// What one log has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Bytes that somebody is owed.
    pub(super) held: usize,
    /// Bytes that can be given up, the oldest first.
    pub(super) spare: usize,
    /// The age of the oldest of them: smaller is older.
    pub(super) age: u64,
    /// Whether its command is over.
    pub(super) over: bool,
}

impl Entry {
    fn log(&self) -> Option<Arc<dyn GiveUp>> {
        self.log.as_ref()?.upgrade()
    }
}

impl Ledger {
    /// Enters a log.
    pub(super) fn enter(&mut self, share: Share) -> u64 {
        self.last_id += 1;
        self.logs.insert(self.last_id, Entry { log: None, share: Share::default() });
        self.change(self.last_id, share);
        self.last_id
    }

    /// Says which log it is.
    pub(super) fn introduce(&mut self, id: u64, log: Weak<dyn GiveUp>) {
        if let Some(entry) = self.logs.get_mut(&id) {
            entry.log = Some(log);
        }
    }

    /// Notes what a log has now. Returns whether less is held than before.
    pub(super) fn change(&mut self, id: u64, share: Share) -> bool {
        let Some(entry) = self.logs.get_mut(&id) else { return false };
        let before = std::mem::replace(&mut entry.share, share);
        self.used = self.used - (before.held + before.spare) + (share.held + share.spare);
        self.held = self.held - before.held + share.held;
        let in_order = |share: &Share| (share.over && share.spare > 0).then_some((share.age, id));
        let (was, is) = (in_order(&before), in_order(&share));
        self.past -= was.map_or(0, |_| before.spare);
        self.past += is.map_or(0, |_| share.spare);
        if was != is {
            was.map(|key| self.oldest.remove(&key));
            is.map(|key| self.oldest.insert(key));
        }
        share.held < before.held
    }

    /// Takes a log out. Returns whether something was held for it.
    pub(super) fn leave(&mut self, id: u64) -> bool {
        let freed = self.change(id, Share::default());
        self.logs.remove(&id);
        freed
    }

    /// The log that has to give up something now, and how much, when `total` is exceeded, or `past` by commands that are
    /// over: the one with the oldest bytes among those, and after them the one of a running command that has the most.
    pub(super) fn next_to_give(&self, total: usize, past: usize) -> Option<(Arc<dyn GiveUp>, usize)> {
        let surplus = self.used.saturating_sub(total);
        let of_past = surplus.max(self.past.saturating_sub(past));
        if of_past == 0 {
            return None;
        }
        if let Some((_, id)) = self.oldest.first() {
            return Some((self.logs.get(id)?.log()?, of_past));
        }
        let running = self.logs.values().filter(|entry| entry.share.spare > 0);
        let most = running.max_by_key(|entry| entry.share.spare).filter(|_| surplus > 0)?;
        Some((most.log()?, surplus.max(BATCH)))
    }
}
