//! An agent that has nothing to do gives back memory that the system can fill again.

use super::activity::Activity;
use futures_util::StreamExt;
use std::{fs, ops::Range, pin::pin, time::Duration};
use tokio::time::timeout;

/// How long no command may have begun or ended before. Commands in quick succession never pay for it.
const QUIET: Duration = Duration::from_secs(1);

/// Less is not worth the page faults of the next command, which take 0.3 ms together. In KiB.
const WORTHWHILE: u64 = 2 << 10;

/// Trims whenever it has been quiet for a while, for as long as the agent lives.
pub(in crate::agent) async fn trim_when_quiet(activity: Activity) {
    let program = fs::read_to_string("/proc/self/maps").map(|maps| constant_mappings(&maps)).unwrap_or_default();
    let mut changes = pin!(activity.watch());
    let mut last = changes.next().await;
    while last.is_some() {
        let mut change = changes.next();
        last = match timeout(QUIET, &mut change).await {
            Ok(change) => change,
            Err(_) => {
                give_back_free_memory();
                if share().is_none_or(|share| share >= WORTHWHILE) {
                    trim(&program);
                }
                change.await
            }
        };
    }
}

/// Gives the system what the heap has free, also between what is in use: what many clients were sent at once, say.
fn give_back_free_memory() {
    // SAFETY: it takes a number only.
    unsafe { libc::malloc_trim(0) };
}

/// Takes the program's constant pages out of this process. The system has them in memory as long as there is room, once for
/// all agents, and maps them again as they are touched; without this the start alone leaves 10 MB mapped for good where there is
/// one sandbox, or few.
fn trim(program: &[Range<usize>]) {
    for part in program {
        // SAFETY: nothing writes to these pages, so what is read again from the file is what was there.
        let advised = unsafe { libc::madvise(part.start as *mut libc::c_void, part.len(), libc::MADV_DONTNEED) };
        if advised != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "the program's pages could not be given back");
        }
    }
}

/// This agent's share of mapped files, its program above all, in KiB. Where many agents map the same it is small.
fn share() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let value = |label| kibibytes(&text, label);
    Some(value("Pss:")?.saturating_sub(value("Pss_Anon:")?))
}

/// The value of a line like `Pss:   12 kB`.
fn kibibytes(text: &str, label: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(label))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

/// Where the code and, at the start of the file, the constants of this program are, from the lines of `/proc/self/maps`.
/// What is written once and read-only since, as tables of addresses, looks the same but for its place in the file.
fn constant_mappings(maps: &str) -> Vec<Range<usize>> {
    let constant = |line: &str| {
        let mut words = line.split_whitespace();
        let (range, rights, offset) = (words.next()?, words.next()?, words.next()?);
        let inode = words.nth(1)?;
        let (start, end) = range.split_once('-')?;
        let parse = |text| usize::from_str_radix(text, 16).ok();
        let is_constant = rights == "r-xp" || (rights == "r--p" && parse(offset) == Some(0));
        (is_constant && inode != "0").then_some(parse(start)?..parse(end)?)
    };
    maps.lines().filter_map(constant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
00200000-00698000 r--p 00000000 00:01 1029 /memfd:sandshell (deleted)
00698000-014c1000 r-xp 00497000 00:01 1029 /memfd:sandshell (deleted)
014c1000-014cc000 r--p 012bf000 00:01 1029 /memfd:sandshell (deleted)
014cc000-014d7000 rw-p 012c9000 00:01 1029 /memfd:sandshell (deleted)
014d7000-014de000 rw-p 00000000 00:00 0
35f1c000-35f62000 rw-p 00000000 00:00 0 [heap]
7ffe9a5f4000-7ffe9a5f8000 r--p 00000000 00:00 0 [vvar]
7ffe9a5f8000-7ffe9a5fa000 r-xp 00000000 00:00 0 [vdso]
";

    /// How much of these mappings is in this process's memory now, in KiB.
    fn resident(program: &[Range<usize>]) -> u64 {
        let text = fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut ours, mut sum) = (false, 0);
        for line in text.lines() {
            let start = line.split_once('-').and_then(|(start, _)| usize::from_str_radix(start, 16).ok());
            match start {
                Some(start) => ours = program.iter().any(|part| part.start == start),
                None if ours => sum += kibibytes(line, "Rss:").unwrap_or(0),
                None => {}
            }
        }
        sum
    }

    #[test]
    fn only_what_nothing_writes_to_is_given_back() {
        assert_eq!(constant_mappings(MAPS), [0x20_0000..0x69_8000, 0x69_8000..0x14c_1000]);
    }

    #[test]
    fn shares_are_read() {
        assert_eq!(kibibytes("Rss:   9 kB\nPss:            9652 kB\nPss_Anon: 282 kB\n", "Pss:"), Some(9652));
        assert!(share().is_some_and(|share| share > 0));
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        let program = constant_mappings(&fs::read_to_string("/proc/self/maps").unwrap());
        let before = resident(&program);
        // Other tests may run in this process and touch pages meanwhile, so the least of many looks counts.
        let least = (0..100).map(|_| {
            trim(&program);
            let after = resident(&program);
            assert_eq!(constant_mappings(MAPS), [0x20_0000..0x69_8000, 0x69_8000..0x14c_1000]);
            after
        });
        let least = least.min().unwrap();
        assert!(least < before / 2, "{least} of {before} KiB are left");
    }
}
