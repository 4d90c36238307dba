//! System calls of the server that have no safe form.

/// The allocator gives free memory at the end of a heap back from here on; and what is this large is mapped by itself.
const KEEP: [(i32, i32); 2] = [(libc::M_TRIM_THRESHOLD, 8 << 20), (libc::M_MMAP_THRESHOLD, 2 << 20)];

/// Has the allocator keep a few MiB. Pieces of output are 252 KiB and live for a moment: by default the memory of each
/// goes back to the system, and comes again page by page.
pub(super) fn keep_memory() {
    for (parameter, value) in KEEP {
        // SAFETY: takes numbers only.
        unsafe { libc::mallopt(parameter, value) };
    }
}
