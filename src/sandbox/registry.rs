//! The sandboxes that this server runs, by id: how calls find them. What exists is the store's to say.

use crate::error::{Error, Reason, Result};
use std::{collections::BTreeMap, sync::Arc};

/// Entries by id.
pub(super) struct Registry<T> {
    entries: BTreeMap<String, Arc<T>>,
    capacity: usize,
    /// Set once the server stops: from then on nothing can be added that would be left behind.
    closed: bool,
}

impl<T> Registry<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: BTreeMap::new(), capacity, closed: false }
    }

    /// Takes a place for a new sandbox. Those that `counts` is true of are within the bound.
    pub(super) fn insert(&mut self, id: String, entry: Arc<T>, counts: impl Fn(&T) -> bool) -> Result<()> {
        if self.closed {
            return Err(Error::stopping());
        }
        if self.entries.values().filter(|entry| counts(entry)).count() >= self.capacity {
            let message = format!(
                "the server has its limit of {} sandboxes; delete some, or raise --max-sandboxes",
                self.capacity
            );
            return Err(Error::exhausted(Reason::TooManySandboxes, message));
        }
        self.entries.insert(id, entry);
        Ok(())
    }

    /// Takes back a sandbox that was there before this server, whatever the bound.
    pub(super) fn take_back(&mut self, id: String, entry: Arc<T>) {
        self.entries.insert(id, entry);
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<T>> {
        self.entries.get(id).cloned()
    }

    /// Gives a place back.
    pub(super) fn remove(&mut self, id: &str) {
        self.entries.remove(id);
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.entries.values().cloned().collect()
    }

    /// Refuses all that is new.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_a_removed_place_is_free_again() {
        let mut registry = Registry::new(1);
        let all = |_: &i32| true;
        registry.insert("a".into(), Arc::new(1), all).unwrap();
        assert!(matches!(registry.insert("b".into(), Arc::new(2), all), Err(Error::Exhausted { .. })));
        // What has failed takes no place from others.
        registry.insert("b".into(), Arc::new(2), |number| *number != 1).unwrap();
        registry.remove("a");
        registry.remove("b");
        registry.insert("b".into(), Arc::new(2), all).unwrap();
        registry.take_back("c".into(), Arc::new(3));
        assert_eq!(registry.all().len(), 2);
        registry.close();
        registry.remove("b");
        registry.remove("c");
        assert!(registry.insert("d".into(), Arc::new(4), all).is_err());
    }
}
