//! The memory that the agent may use for what it keeps: a share of the sandbox's, for all of its commands together.
//!
//! What is kept is either *held*, because somebody is owed it (output that a command's starter has not taken, the answer
//! of a `Run`, a text or an input that waits for its turn), or *spare* (output that may be asked for again). Spare bytes go
//! when room is needed: those of commands that are over first, the oldest of them first. Held bytes never go, so whoever
//! wants to hold more has to ask, and either waits, or keeps less, or refuses what it was asked for.
//!
//! Everybody may hold only a part of what is free, and a quarter of the budget is left to those who ask for little, so that
//! however many clients do not take what they are owed, others still find some room.

use super::ledger::{GiveUp, Ledger, Share};
use crate::sync::lock;
use bytes::Bytes;
use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// The budget of a sandbox without a memory limit.
const WITHOUT_LIMIT: usize = 512 << 20;

/// Output of commands that are over: more would take memory from programs for what is seldom asked for.
const MOST_OF_PAST: usize = 128 << 20;

/// Whoever asks for more than this leaves a quarter of the budget to those who ask for less.
const SMALL: usize = 64 << 10;

/// What all commands of a sandbox may keep.
pub(in crate::agent) struct Budget {
    total: usize,
    past: usize,
    ledger: Mutex<Ledger>,
    last_age: AtomicU64,
    /// Told when less is held.
    freed: Notify,
}

/// Bytes that are held until this is dropped.
pub(in crate::agent) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

/// Bytes together with what was charged for them.
struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("total", &self.total).finish_non_exhaustive()
    }
}

impl Budget {
    /// A quarter of the sandbox's memory.
    pub(in crate::agent) fn of_sandbox(memory: Option<u64>) -> Arc<Self> {
        Self::of(memory.map_or(WITHOUT_LIMIT, |bytes| usize::try_from(bytes / 4).unwrap_or(usize::MAX)))
    }

    /// A budget of this size.
    pub(in crate::agent) fn of(total: usize) -> Arc<Self> {
        let past = total.min(MOST_OF_PAST);
        Arc::new(Self { total, past, ledger: Mutex::default(), last_age: AtomicU64::new(0), freed: Notify::new() })
    }

    /// All that there is.
    pub(in crate::agent) fn total(&self) -> usize {
        self.total
    }

    /// What can still be held, when all that is spare gives way.
    pub(in crate::agent) fn free(&self) -> usize {
        self.total.saturating_sub(lock(&self.ledger).held)
    }

    /// What can still be held by those who ask for a lot.
    pub(in crate::agent) fn free_for_much(&self) -> usize {
        self.free().saturating_sub(self.total / 4)
    }

    /// Holds bytes, if there is room.
    pub(in crate::agent) fn hold(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let mut charge = self.nothing();
        charge.try_grow(bytes).then_some(charge)
    }

    /// Holds bytes, if half of all is free then. For what is useful and can be done without.
    pub(in crate::agent) fn hold_of_plenty(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        (self.free() >= self.total / 2 + bytes).then(|| self.hold(bytes)).flatten()
    }

    /// Holds these bytes for as long as any of them are used, if there is room.
    pub(in crate::agent) fn keep(self: &Arc<Self>, bytes: Bytes) -> Option<Bytes> {
        Some(self.hold(bytes.len())?.attach(bytes))
    }

    /// As [`Self::keep`], as soon as there is room. What could never be held takes as much as can be.
    pub(in crate::agent) async fn keep_when_free(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let most = self.total - self.total / 4;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before the budget is asked, so that nothing that is given back in between is missed.
            freed.as_mut().enable();
            if let Some(charge) = self.hold(bytes.len().min(most)) {
                return charge.attach(bytes);
            }
            freed.await;
        }
    }

    /// A charge of nothing, which may grow.
    pub(in crate::agent) fn nothing(self: &Arc<Self>) -> Charge {
        Charge { budget: Arc::clone(self), bytes: 0 }
    }

    /// A future that is ready when less is held than at this call.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// Enters a log that holds `held` bytes from the start, if there is room.
    pub(super) fn enter(&self, held: usize) -> Option<u64> {
        let mut ledger = lock(&self.ledger);
        if ledger.held + held > self.total {
            return None;
        }
        let id = ledger.enter(Share { held, ..Share::default() });
        drop(ledger);
        self.make_room();
        Some(id)
    }

    /// Says which log was entered.
    pub(super) fn introduce(&self, id: u64, log: Weak<dyn GiveUp>) {
        lock(&self.ledger).introduce(id, log);
    }

    /// A number that is larger each time: the age of what is kept from now on.
    pub(super) fn age(&self) -> u64 {
        self.last_age.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes what a log has now. It must ask for [`Self::make_room`] when it has let go of its own lock.
    pub(super) fn change(&self, id: u64, share: Share) {
        let freed = lock(&self.ledger).change(id, share);
        if freed {
            self.freed.notify_waiters();
        }
    }

    /// A log is dropped.
    pub(super) fn leave(&self, id: u64) {
        let freed = lock(&self.ledger).leave(id);
        if freed {
            self.freed.notify_waiters();
        }
    }

    /// Has logs give up what is spare until the budget is kept. No log may be locked by the caller.
    pub(super) fn make_room(&self) {
        loop {
            let next = lock(&self.ledger).next_to_give(self.total, self.past);
            let Some((log, bytes)) = next else { return };
            if log.give_up(bytes) == 0 {
                return;
            }
        }
    }

    #[cfg(test)]
    pub(in crate::agent) fn used(&self) -> usize {
        lock(&self.ledger).used
    }
}

impl Charge {
    /// These bytes, which hold what is charged for as long as any of them are used.
    pub(in crate::agent) fn attach(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Charged { bytes, _charge: self })
    }

    /// How many it holds.
    pub(in crate::agent) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds so many bytes more, if there is room.
    pub(in crate::agent) fn try_grow(&mut self, more: usize) -> bool {
        let budget = &self.budget;
        let mut ledger = lock(&budget.ledger);
        let left = if self.bytes.saturating_add(more) > SMALL { budget.total / 4 } else { 0 };
        if ledger.held.saturating_add(more).saturating_add(left) > budget.total {
            return false;
        }
        (ledger.held, ledger.used) = (ledger.held + more, ledger.used + more);
        self.bytes += more;
        drop(ledger);
        budget.make_room();
        true
    }

    /// Holds up to so many bytes more, as far as this charge stays smaller than what is free then for others like it. Returns how many.
    pub(in crate::agent) fn grow(&mut self, more: usize) -> usize {
        // A small answer takes from what is kept for small requests, however much others hold.
        let small = SMALL.saturating_sub(self.bytes).min(self.budget.free() / 2);
        let granted = more.min((self.budget.free_for_much().saturating_sub(self.bytes) / 2).max(small));
        self.set(self.bytes + granted);
        granted
    }

    /// Holds so many bytes from now on, whether there is room or not.
    pub(in crate::agent) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let mut ledger = lock(&self.budget.ledger);
        ledger.held = ledger.held - before + bytes;
        ledger.used = ledger.used - before + bytes;
        drop(ledger);
        if bytes < before {
            self.budget.freed.notify_waiters();
        } else {
            self.budget.make_room();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}
