//! Who exists: a pure map with a bound and pages. The seam for a store: nothing else keeps the list of sandboxes.

use crate::error::{Error, Reason, Result};
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// Entries by id, which is by creation.
pub(super) struct Registry<T> {
    entries: BTreeMap<String, Arc<T>>,
    capacity: usize,
    /// Set once the server stops: from then on nothing can be added that would be left behind.
    closed: bool,
}

/// One page of entries.
pub(super) struct Page<T> {
    /// Oldest first.
    pub(super) items: Vec<Arc<T>>,
    /// Where the next page begins; `None` on the last.
    pub(super) next_token: Option<String>,
    /// How many match in all.
    pub(super) total: usize,
}

impl<T> Registry<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: BTreeMap::new(), capacity, closed: false }
    }

    /// Takes a place.
    pub(super) fn insert(&mut self, id: String, entry: Arc<T>) -> Result<()> {
        if self.closed {
            let message = "the server is stopping; use another or try again when it is back".to_owned();
            return Err(Error::WrongState { reason: Reason::ServerStopping, message });
        }
        if self.entries.len() >= self.capacity {
            let message = format!(
                "the server has its limit of {} sandboxes; delete some, or raise --max-sandboxes",
                self.capacity
            );
            return Err(Error::exhausted(Reason::TooManySandboxes, message));
        }
        self.entries.insert(id, entry);
        Ok(())
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<T>> {
        self.entries.get(id).cloned()
    }

    /// Gives a place back.
    pub(super) fn remove(&mut self, id: &str) {
        self.entries.remove(id);
    }

    /// Refuses all that is new and returns what there is.
    pub(super) fn close(&mut self) -> Vec<String> {
        self.closed = true;
        self.entries.keys().cloned().collect()
    }

    /// The entries that `keep` wants, after the one that `token` names, whether or not that one still exists.
    pub(super) fn page(&self, token: &str, size: usize, keep: impl Fn(&T) -> bool) -> Result<Page<T>> {
        let after = if token.is_empty() { None } else { Some(decode_token(token)?) };
        let total = self.entries.values().filter(|entry| keep(entry)).count();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.entries.range((start, Bound::Unbounded)).filter(|(_, entry)| keep(entry));
        let mut last = None;
        let mut items = Vec::new();
        for (id, entry) in rest.by_ref().take(size) {
            last = Some(id);
            items.push(entry.clone());
        }
        let next_token = rest.next().and(last).map(|id| encode_token(id));
        Ok(Page { items, next_token, total })
    }
}

/// The id in hexadecimal, so that nobody is tempted to build tokens.
fn encode_token(id: &str) -> String {
    id.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a token is empty or one that we give.
pub fn is_page_token(token: &str) -> bool {
    token.is_empty() || decode_token(token).is_ok()
}

fn decode_token(token: &str) -> Result<String> {
    let digits: Option<Vec<u8>> = token.bytes().map(|b| (b as char).to_digit(16).map(|d| d as u8)).collect();
    digits
        .filter(|digits| digits.len().is_multiple_of(2))
        .and_then(|digits| String::from_utf8(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()).ok())
        .filter(|id| super::is_sandbox_id(id))
        .ok_or_else(|| Error::invalid("page_token", "is not a token of this list; pass next_page_token unchanged"))
}

#[cfg(test)]
mod tests {
    use super::{super::id::new_sandbox_id, *};

    fn filled(count: usize) -> (Registry<usize>, Vec<String>) {
        let ids: Vec<_> = (0..count).map(|_| new_sandbox_id()).collect();
        let mut registry = Registry::new(count + 10);
        for (number, id) in ids.iter().enumerate() {
            registry.insert(id.clone(), Arc::new(number)).unwrap();
        }
        (registry, ids)
    }

    fn numbers(page: &Page<usize>) -> Vec<usize> {
        page.items.iter().map(|item| **item).collect()
    }

    #[test]
    fn pages_are_complete_and_the_last_has_no_token() {
        let (registry, _) = filled(5);
        let first = registry.page("", 2, |_| true).unwrap();
        assert_eq!((numbers(&first), first.total), (vec![0, 1], 5));
        let second = registry.page(&first.next_token.unwrap(), 2, |_| true).unwrap();
        let third = registry.page(&second.next_token.unwrap(), 2, |_| true).unwrap();
        assert_eq!((numbers(&third), third.next_token), (vec![4], None));
        assert_eq!(registry.page("", 5, |_| true).unwrap().next_token, None);
    }

    #[test]
    fn a_token_survives_the_deletion_of_the_entry_it_names_and_new_ones() {
        let (mut registry, ids) = filled(4);
        let token = registry.page("", 2, |_| true).unwrap().next_token.unwrap();
        registry.remove(&ids[1]);
        registry.remove(&ids[0]);
        registry.insert(new_sandbox_id(), Arc::new(9)).unwrap();
        assert_eq!(numbers(&registry.page(&token, 10, |_| true).unwrap()), vec![2, 3, 9]);
    }

    #[test]
    fn filters_count_only_what_matches() {
        let (registry, _) = filled(6);
        let page = registry.page("", 2, |number| number % 2 == 1).unwrap();
        assert_eq!((numbers(&page), page.total), (vec![1, 3], 3));
        let next = registry.page(&page.next_token.unwrap(), 2, |number| number % 2 == 1).unwrap();
        assert_eq!((numbers(&next), next.next_token), (vec![5], None));
    }

    #[test]
    fn a_made_up_token_is_refused() {
        let (registry, _) = filled(1);
        for token in ["x", "abc", "00", "ff", "73"] {
            assert!(registry.page(token, 1, |_| true).is_err(), "{token}");
        }
    }

    #[test]
    fn the_bound_holds_and_a_removed_place_is_free_again() {
        let mut registry = Registry::new(1);
        registry.insert("a".into(), Arc::new(1)).unwrap();
        assert!(matches!(registry.insert("b".into(), Arc::new(2)), Err(Error::Exhausted { .. })));
        registry.remove("a");
        registry.insert("b".into(), Arc::new(2)).unwrap();
        assert_eq!(registry.close(), vec!["b"]);
        registry.remove("b");
        assert!(registry.insert("c".into(), Arc::new(3)).is_err());
    }
}
