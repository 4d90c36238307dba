//! Limits of what the kernel counts once for the whole host, or once for each of the host's users. Every program gets
//! them, and none can raise them again. The agent has more: it works for all sessions.

use std::{fs, sync::LazyLock};

/// The fewest and the most open files of a program. What lies between depends on the host.
const OPEN_FILES: (u64, u64) = (1024, 4096);

/// A sandbox has 1024 processes by default. Together they are to hold no more than half of the files that the host can
/// have open at one time (`fs.file-max`; where systemd has started the host, that is no bound at all).
const SHARE_OF_OPEN_FILES: u64 = 2 * 1024;

/// Signals and timers that wait to be delivered, and bytes in POSIX message queues. The kernel adds up what all processes
/// of a user of the host hold and compares the sum with the limit of whoever wants more. A container's root may be the
/// host's (on Docker, without `userns-remap`): then the host, whose limits are higher, goes on when sandboxes have
/// reached theirs.
const PENDING_SIGNALS: u64 = 16_384;
const MESSAGE_BYTES: u64 = 409_600;

/// What this host's programs get.
static LIMITS: LazyLock<[(libc::__rlimit_resource_t, u64); 3]> = LazyLock::new(|| {
    let host = fs::read_to_string("/proc/sys/fs/file-max").ok().and_then(|text| text.trim().parse().ok());
    [
        (libc::RLIMIT_NOFILE, open_files(host)),
        (libc::RLIMIT_SIGPENDING, PENDING_SIGNALS),
        (libc::RLIMIT_MSGQUEUE, MESSAGE_BYTES),
    ]
});

/// Finds out what [`apply`] will set, which allocates memory.
pub(super) fn prepare() {
    LazyLock::force(&LIMITS);
}

/// Limits this process, and puts its priority and its scheduling back to the usual: the agent may have others.
///
/// # Safety
/// Only in a freshly forked child, whose parent has called [`prepare`].
pub(super) unsafe fn apply() {
    for (resource, most) in *LIMITS {
        // SAFETY: the kernel writes and reads one rlimit of ours.
        unsafe {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            if libc::getrlimit(resource, &mut limit) == 0 {
                limit.rlim_max = limit.rlim_max.min(most);
                limit.rlim_cur = limit.rlim_cur.min(most);
                libc::setrlimit(resource, &limit);
            }
        }
    }
    // SAFETY: the calls take numbers, and the kernel reads one parameter of ours. A priority that is lower than usual was somebody's wish.
    unsafe {
        if libc::getpriority(libc::PRIO_PROCESS, 0) < 0 {
            libc::setpriority(libc::PRIO_PROCESS, 0, 0);
            libc::sched_setscheduler(0, libc::SCHED_OTHER, &libc::sched_param { sched_priority: 0 });
        }
    }
}

/// The hard limit of open files of one process. A host that does not say what it has is taken for a usual one.
fn open_files(host: Option<u64>) -> u64 {
    let (fewest, most) = OPEN_FILES;
    host.map_or(most, |host| (host / SHARE_OF_OPEN_FILES).clamp(fewest, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_sandbox_leaves_half_of_the_open_files_to_others() {
        assert_eq!(open_files(Some(u64::MAX)), 4096);
        assert_eq!(open_files(None), 4096);
        for host in [2_466_170, 3_000_000, 8_000_000] {
            assert!(open_files(Some(host)) * 1024 <= host / 2, "{host}");
        }
        // Programs need some all the same.
        assert_eq!(open_files(Some(100_000)), 1024);
    }
}
