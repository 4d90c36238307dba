//! Which numbers of users and groups there are: inside of a user namespace not all are.

use crate::archive::entry::Entry;
use std::{fs, ops::Range};

/// Ranges of numbers of users and of groups. `None` when the system does not tell; then it says no to each that it does not have.
pub(super) struct Owners([Option<Vec<Range<u64>>>; 2]);

impl Owners {
    /// Those that exist for this process.
    pub(super) fn known() -> Self {
        let read = |path| fs::read_to_string(path).ok().and_then(|text| parse(&text));
        Self([read("/proc/self/uid_map"), read("/proc/self/gid_map")])
    }

    /// Whether there are the user and the group that own an entry.
    pub(super) fn have(&self, entry: &Entry) -> bool {
        let has = |which: usize, id: u32| {
            let ranges = self.0[which].as_ref();
            ranges.is_none_or(|ranges| ranges.iter().any(|range| range.contains(&id.into())))
        };
        // The largest number means nobody to the kernel.
        has(0, entry.uid) && has(1, entry.gid) && entry.uid != u32::MAX && entry.gid != u32::MAX
    }
}

/// Each line has the first number inside, the one outside, and how many there are.
fn parse(text: &str) -> Option<Vec<Range<u64>>> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
        let (first, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(first..first.checked_add(count)?)
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_says_which_numbers_there_are() {
        assert_eq!(parse("         0     100000      65536\n     70000 1 1\n"), Some(vec![0..65_536, 70_000..70_001]));
        let all = parse("0 0 4294967295\n").unwrap_or_default();
        assert!(all[0].contains(&4_294_967_294) && !all[0].contains(&4_294_967_295));
        assert_eq!(parse("0 x 1\n"), None);
    }
}
