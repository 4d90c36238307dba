//! What a holder has of the agent's memory, by its fork, and never uses.
//!
//! The pages are shared at first, but each that the agent writes to afterwards is copied, and the old one stays with the
//! holder. An agent with much output would be kept once more by each of its sessions.

use crate::proc;
use std::{fs, ops::Range, sync::OnceLock};

/// Parts of the memory that a holder gives back. The heap and large pieces of output are a few.
const MOST_PARTS: usize = 32;

/// What was there when the agent started: what every process needs, such as its thread's own variables.
static NEEDED: OnceLock<Vec<Range<usize>>> = OnceLock::new();

/// Memory that a forked child can do without. It is not on the heap, so that it can be used while that goes.
pub(super) struct Inherited([Range<usize>; MOST_PARTS]);

/// Notes what every process needs. Until then nothing is given back.
pub(super) fn note_what_is_needed() {
    NEEDED.get_or_init(|| {
        fs::read_to_string("/proc/self/maps")
            .map_or_else(|_| std::iter::once(0..usize::MAX).collect(), |maps| own(&maps))
    });
}

impl Inherited {
    /// What this process has beyond what is needed. What cannot be looked at is not given back.
    pub(super) fn of_this_process() -> Self {
        let mut parts = [const { 0..0 }; MOST_PARTS];
        if let (Some(needed), Ok(Some(maps))) = (NEEDED.get(), proc::text("self", "maps")) {
            for (part, range) in parts.iter_mut().zip(without(own(&maps), needed)) {
                *part = range;
            }
        }
        Self(parts)
    }

    /// Gives it back.
    ///
    /// # Safety
    /// Only in a forked child that has one thread and uses nothing but its stack from now on.
    pub(super) unsafe fn give_back(&self) {
        for part in &self.0 {
            if !part.is_empty() {
                // SAFETY: the caller uses none of these pages, and nobody else shares this memory.
                unsafe { libc::madvise(part.start as *mut libc::c_void, part.len(), libc::MADV_DONTNEED) };
            }
        }
    }
}

/// The heap and other memory without a file or a name, from the lines of `/proc/self/maps`.
fn own(maps: &str) -> Vec<Range<usize>> {
    let own = |line: &str| {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let (inode, name) = (words.nth(2)?, words.next().unwrap_or_default());
        let (start, end) = range.split_once('-')?;
        let parse = |text| usize::from_str_radix(text, 16).ok();
        let is_own = rights == "rw-p" && inode == "0" && ["", "[heap]"].contains(&name);
        is_own.then_some(parse(start)?..parse(end)?)
    };
    maps.lines().filter_map(own).collect()
}

/// The parts of `ranges` that are in none of `others`.
fn without(ranges: Vec<Range<usize>>, others: &[Range<usize>]) -> Vec<Range<usize>> {
    let cut = |ranges: Vec<Range<usize>>, other: &Range<usize>| {
        let parts = ranges.into_iter().flat_map(|range| {
            [
                range.start..range.end.min(other.start).max(range.start),
                range.start.max(other.end).min(range.end)..range.end,
            ]
        });
        parts.filter(|part| !part.is_empty()).collect()
    };
    others.iter().fold(ranges, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_without_a_file_or_a_name_is_meant() {
        let maps = "\
00200000-00698000 r--p 00000000 00:01 1029 /memfd:sandshell (deleted)
014cc000-014d7000 rw-p 012c9000 00:01 1029 /memfd:sandshell (deleted)
014d7000-014de000 rw-p 00000000 00:00 0
35f1c000-35f62000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
7f0000400000-7f0000401000 ---p 00000000 00:00 0
7ffe9a5f4000-7ffe9a5f8000 rw-p 00000000 00:00 0 [stack]
";
        let own = own(maps);
        assert_eq!(own, [0x14d_7000..0x14d_e000, 0x35f1_c000..0x35f6_2000, 0x7f00_0000_0000..0x7f00_0040_0000]);
        let needed = [0x14d_7000..0x14d_e000, 0x35f1_c000..0x35f2_0000, 0x7f00_0030_0000..0x7f00_0040_0000];
        assert_eq!(without(own, &needed), [0x35f2_0000..0x35f6_2000, 0x7f00_0000_0000..0x7f00_0030_0000]);
    }
}
