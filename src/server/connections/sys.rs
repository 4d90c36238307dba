//! System calls of the server that have no safe form.

/// The allocator gives free memory at the end of a heap back from here on; and what is this large is mapped by itself.
const KEEP: [(i32, i32); 2] = [(libc::M_TRIM_THRESHOLD, 8 << 20), (libc::M_MMAP_THRESHOLD, 2 << 20)];

/// Gives memory back to the system that is free, wherever in a heap it is. It takes milliseconds and holds up who allocates.
pub(super) fn give_back_memory() {
    // SAFETY: takes a number only.
    unsafe { libc::malloc_trim(0) };
}

/// Has the allocator keep a few MiB. Pieces of output are 252 KiB and live for a moment: by default the memory of each
/// goes back to the system, and comes again page by page.
pub(in crate::server) fn keep_memory() {
    for (parameter, value) in KEEP {
        // SAFETY: takes numbers only.
        unsafe { libc::mallopt(parameter, value) };
    }
}
