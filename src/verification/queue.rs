//! Whose turn it is: so many at once in all and of one tenant, and among the tenants that wait, the one that has fewest running, and of those the one
//! that has waited longest since its last turn. Pure: who is told to begin, begins elsewhere.

use std::collections::{HashMap, VecDeque};

/// How many may run at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtOnce {
    /// In all.
    pub in_all: usize,
    /// Of one tenant.
    pub of_tenant: usize,
}

/// As many as there are processors: tests most often take one.
impl Default for AtOnce {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { in_all: processors, of_tenant: processors }
    }
}

/// Those who wait, and how many run.
#[derive(Debug)]
pub(super) struct Queue {
    at_once: AtOnce,
    tenants: HashMap<String, Line>,
    running: usize,
    /// Counts turns.
    turns: u64,
}

/// Those of one tenant.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<String>,
    running: usize,
    /// When it had its last turn; 0 for never.
    last_turn: u64,
}

impl Queue {
    pub(super) fn new(at_once: AtOnce) -> Self {
        let at_once = AtOnce { in_all: at_once.in_all.max(1), of_tenant: at_once.of_tenant.max(1) };
        Self { at_once, tenants: HashMap::new(), running: 0, turns: 0 }
    }

    /// One more waits, behind those of its tenant.
    pub(super) fn add(&mut self, tenant: &str, id: String) {
        self.tenants.entry(tenant.to_owned()).or_default().waiting.push_back(id);
    }

    /// Who begins now, if anybody may, and whose it is. It counts as running until [`Self::ended`].
    pub(super) fn next(&mut self) -> Option<(String, String)> {
        if self.running >= self.at_once.in_all {
            return None;
        }
        let may = |line: &Line| !line.waiting.is_empty() && line.running < self.at_once.of_tenant;
        let lines = self.tenants.iter_mut().filter(|(_, line)| may(line));
        let (tenant, line) = lines.min_by_key(|(_, line)| (line.running, line.last_turn))?;
        let id = line.waiting.pop_front()?;
        self.turns += 1;
        line.last_turn = self.turns;
        line.running += 1;
        self.running += 1;
        Some((tenant.clone(), id))
    }

    /// One of this tenant's runs no more.
    pub(super) fn ended(&mut self, tenant: &str) {
        if let Some(line) = self.tenants.get_mut(tenant) {
            line.running = line.running.saturating_sub(1);
            self.running = self.running.saturating_sub(1);
        }
        self.forget();
    }

    /// One that waits waits no more. False if it does not wait.
    pub(super) fn remove(&mut self, tenant: &str, id: &str) -> bool {
        let Some(line) = self.tenants.get_mut(tenant) else { return false };
        let before = line.waiting.len();
        line.waiting.retain(|waiting| waiting != id);
        let was_there = line.waiting.len() < before;
        self.forget();
        was_there
    }

    /// Forgets tenants that have nothing, as soon as their last turn was before that of all who have something: they are as good as new.
    fn forget(&mut self) {
        let is_idle = |line: &Line| line.running == 0 && line.waiting.is_empty();
        let oldest = self.tenants.values().filter(|line| !is_idle(line)).map(|line| line.last_turn).min();
        self.tenants.retain(|_, line| !is_idle(line) || oldest.is_some_and(|oldest| line.last_turn > oldest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(in_all: usize, of_tenant: usize) -> Queue {
        Queue::new(AtOnce { in_all, of_tenant })
    }

    fn next(queue: &mut Queue) -> Option<String> {
        queue.next().map(|(_, id)| id)
    }

    #[test]
    fn one_tenant_with_much_does_not_keep_others_waiting() {
        let mut queue = queue(1, 1);
        (0..100).for_each(|n| queue.add("big", format!("big{n}")));
        assert_eq!(next(&mut queue).as_deref(), Some("big0"));
        queue.add("small", "small0".into());
        queue.add("small", "small1".into());
        assert_eq!(next(&mut queue), None, "one at a time");
        queue.ended("big");
        assert_eq!(next(&mut queue).as_deref(), Some("small0"));
        queue.ended("small");
        assert_eq!(next(&mut queue).as_deref(), Some("big1"), "in turns");
        queue.ended("big");
        assert_eq!(next(&mut queue).as_deref(), Some("small1"));
        // One that comes again and again, with one at a time, does not keep the big one waiting either.
        queue.ended("small");
        queue.add("small", "small2".into());
        assert_eq!(next(&mut queue).as_deref(), Some("big2"));
    }

    #[test]
    fn who_waits_no_more_gets_no_turn() {
        let mut queue = queue(2, 2);
        ["a", "b", "c"].iter().for_each(|id| queue.add("t", (*id).into()));
        assert!(queue.remove("t", "b") && !queue.remove("t", "b") && !queue.remove("x", "a"));
        assert_eq!([(); 3].map(|()| next(&mut queue).unwrap_or_default()), ["a", "c", ""]);
        queue.ended("t");
        queue.ended("t");
        assert!(queue.tenants.is_empty(), "nothing is kept of who has nothing");
    }

    proptest::proptest! {
        /// However they come and end: never too many at once, each gets its turn once, and in order within a tenant.
        #[test]
        fn each_gets_its_turn(arrivals in proptest::collection::vec((0..4_usize, proptest::bool::ANY), 1..100), in_all in 1..5_usize, of_tenant in 1..4_usize) {
            let mut queue = queue(in_all, of_tenant);
            let (mut running, mut begun) = (Vec::new(), Vec::new());
            let tenant = |id: &str| id.split('-').next().unwrap_or_default().to_owned();
            let mut settle = |queue: &mut Queue, running: &mut Vec<String>| {
                while let Some(id) = next(queue) {
                    begun.push(id.clone());
                    running.push(id);
                    assert!(running.len() <= in_all);
                    let of_one = running.iter().filter(|other| tenant(other) == tenant(running.last().unwrap())).count();
                    assert!(of_one <= of_tenant);
                }
            };
            for (n, (who, ends)) in arrivals.iter().enumerate() {
                queue.add(&format!("t{who}"), format!("t{who}-{n:03}"));
                settle(&mut queue, &mut running);
                if *ends && !running.is_empty() {
                    queue.ended(&tenant(&running.remove(0)));
                    settle(&mut queue, &mut running);
                }
            }
            while !running.is_empty() {
                queue.ended(&tenant(&running.remove(0)));
                settle(&mut queue, &mut running);
            }
            proptest::prop_assert_eq!(begun.len(), arrivals.len());
            for who in 0..4 {
                let own: Vec<_> = begun.iter().filter(|id| tenant(id) == format!("t{who}")).collect();
                proptest::prop_assert!(own.windows(2).all(|pair| pair[0] < pair[1]));
            }
            proptest::prop_assert!(queue.tenants.is_empty());
        }
    }
}
