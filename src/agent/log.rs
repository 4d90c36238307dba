//! The output of one command: bounded, by byte offset, in order of arrival.
//!
//! The stream that started the command gets everything: bytes it has not taken are never dropped, and when it lags by
//! [`STARTER_LAG`] the reader of the command's pipes waits ([`Log::has_room`]), as a pipe would make the program wait.
//! Nobody else holds anything up: when the log is full its oldest bytes go, and a watcher that wanted them gets a gap.

use crate::{api::v1::Stream, sync::lock};
use bytes::{Bytes, BytesMut};
use std::{collections::VecDeque, sync::Mutex};
use tokio::sync::Notify;

/// Bytes the starting stream may lag before the program waits.
const STARTER_LAG: u64 = 4 << 20;

/// What a chunk costs beside its bytes.
const CHUNK_COST: usize = 64;

/// Chunks below this size are joined, so that a program that writes byte by byte does not cost [`CHUNK_COST`] for each.
const JOIN_BELOW: usize = 4096;

/// Bytes kept by default while the starting stream follows: enough for all that can be under way when it is cut.
const KEEP_FOLLOWED: usize = 32 << 20;

/// Bytes kept by default when the starting stream is gone: what it misses until it comes back.
const KEEP_UNFOLLOWED: usize = 64 << 20;

/// Offsets in the three streams.
pub(super) type Offsets = [u64; 3];

/// Bounded output of one command.
pub(super) struct Log {
    inner: Mutex<Inner>,
    changed: Notify,
    room: Notify,
}

struct Inner {
    chunks: VecDeque<Chunk>,
    /// Sequence number of the first chunk kept.
    first: u64,
    /// What the chunks kept cost.
    cost: usize,
    /// Offset of the first byte kept, of each stream.
    start: Offsets,
    /// Offset after the last byte, of each stream.
    end: Offsets,
    /// What the starting stream has taken; `None` when it is gone.
    starter: Option<Offsets>,
    /// What the client asked to keep.
    asked: Option<usize>,
    /// The bound for this sandbox.
    ceiling: usize,
    /// Where the streams were when the command was over.
    over_at: Option<Offsets>,
    /// Pipes that may still bring bytes.
    open: usize,
}

struct Chunk {
    stream: usize,
    offset: u64,
    data: Bytes,
}

/// A place in a log.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// Next wanted byte of each stream.
    pub(super) want: Offsets,
    sequence: u64,
}

impl Cursor {
    /// A place by offsets.
    pub(super) fn at(want: Offsets) -> Self {
        Self { want, sequence: 0 }
    }
}

/// What follows a place.
pub(super) enum Next {
    /// Bytes.
    Output { stream: Stream, offset: u64, data: Bytes },
    /// Bytes that are gone.
    Gap { stream: Stream, from: u64, to: u64 },
    /// Nothing yet.
    Pending,
    /// Nothing more will come.
    Closed,
}

impl Log {
    /// An empty log that keeps what the client asked for, up to `ceiling` bytes.
    pub(super) fn new(asked: Option<usize>, ceiling: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                chunks: VecDeque::new(),
                first: 0,
                cost: 0,
                start: [0; 3],
                end: [0; 3],
                starter: Some([0; 3]),
                asked,
                ceiling,
                over_at: None,
                open: 0,
            }),
            changed: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Adds bytes and drops the oldest beyond the bound.
    pub(super) fn append(&self, stream: Stream, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let mut inner = lock(&self.inner);
        let index = index(stream);
        let offset = inner.end[index];
        inner.end[index] += data.len() as u64;
        match inner.chunks.back_mut() {
            Some(last) if last.stream == index && last.data.len() + data.len() <= JOIN_BELOW => {
                let mut joined = BytesMut::with_capacity(last.data.len() + data.len());
                joined.extend_from_slice(&last.data);
                joined.extend_from_slice(&data);
                last.data = joined.freeze();
                inner.cost += data.len();
            }
            _ => {
                inner.cost += data.len() + CHUNK_COST;
                inner.chunks.push_back(Chunk { stream: index, offset, data });
            }
        }
        inner.evict();
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Whether the starting stream is near enough for more to be read from the program.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.inner).has_room()
    }

    /// Waits until [`Self::has_room`].
    pub(super) async fn wait_for_room(&self) {
        while !self.has_room() {
            self.room.notified().await;
        }
    }

    /// What follows `cursor`, which moves on.
    pub(super) fn next(&self, cursor: &mut Cursor, starter: bool) -> Next {
        let mut inner = lock(&self.inner);
        let next = inner.next(cursor);
        if starter && matches!(next, Next::Output { .. } | Next::Gap { .. }) {
            inner.starter = Some(cursor.want);
            inner.evict();
            if inner.has_room() {
                self.room.notify_one();
            }
        }
        next
    }

    /// A future that is ready at the next change after this call.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// The starting stream is gone: from now on the program does not wait for anybody.
    pub(super) fn starter_left(&self) {
        lock(&self.inner).starter = None;
        self.room.notify_one();
    }

    /// Makes a returning client the starting stream, unless there is one.
    pub(super) fn starter_returned(&self) -> bool {
        let mut inner = lock(&self.inner);
        let free = inner.starter.is_none();
        if free {
            inner.starter = Some(inner.start);
        }
        free
    }

    /// A pipe may bring bytes from now on.
    pub(super) fn pipe_opened(&self) {
        lock(&self.inner).open += 1;
    }

    /// A pipe will bring nothing more.
    pub(super) fn pipe_closed(&self) {
        lock(&self.inner).open -= 1;
        self.changed.notify_waiters();
    }

    /// The command is over: what comes from now on is background output.
    pub(super) fn set_over(&self) {
        let mut inner = lock(&self.inner);
        inner.over_at = Some(inner.end);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Where the streams were when the command was over.
    pub(super) fn over_at(&self) -> Option<Offsets> {
        lock(&self.inner).over_at
    }

    /// Bytes printed so far, of each stream.
    pub(super) fn end(&self) -> Offsets {
        lock(&self.inner).end
    }

    /// What is kept costs this many bytes.
    pub(super) fn cost(&self) -> usize {
        lock(&self.inner).cost
    }

    /// Drops everything, unless the starting stream still reads it.
    pub(super) fn forget(&self) -> bool {
        let mut inner = lock(&self.inner);
        let behind = inner.starter.is_some_and(|taken| taken != inner.end);
        if behind {
            return false;
        }
        inner.first += inner.chunks.len() as u64;
        inner.chunks = VecDeque::new();
        inner.cost = 0;
        inner.start = inner.end;
        true
    }
}

impl Inner {
    fn has_room(&self) -> bool {
        let Some(taken) = self.starter else { return true };
        let lag: u64 = self.end.iter().zip(taken).map(|(end, taken)| end - taken).sum();
        lag < STARTER_LAG
    }

    fn bound(&self) -> usize {
        let default = if self.starter.is_some() { KEEP_FOLLOWED } else { KEEP_UNFOLLOWED };
        self.asked.unwrap_or(default).min(self.ceiling)
    }

    fn evict(&mut self) {
        let bound = self.bound();
        while self.cost > bound {
            let Some(oldest) = self.chunks.front() else { return };
            let end = oldest.offset + oldest.data.len() as u64;
            if self.starter.is_some_and(|taken| taken[oldest.stream] < end) {
                return;
            }
            let surplus = self.cost - bound;
            if surplus < oldest.data.len() && oldest.data.len() > bound / 8 {
                // One large piece is no reason to keep little.
                self.cut_first(surplus);
                return;
            }
            self.start[oldest.stream] = end;
            self.cost -= oldest.data.len() + CHUNK_COST;
            self.first += 1;
            self.chunks.pop_front();
        }
    }

    /// Takes bytes from the beginning of the first chunk.
    fn cut_first(&mut self, bytes: usize) {
        let Some(chunk) = self.chunks.front_mut() else { return };
        // A copy, because a slice would keep the whole piece in memory.
        chunk.data = Bytes::copy_from_slice(&chunk.data[bytes..]);
        chunk.offset += bytes as u64;
        self.start[chunk.stream] = chunk.offset;
        self.cost -= bytes;
    }

    fn next(&self, cursor: &mut Cursor) -> Next {
        for (index, want) in cursor.want.iter_mut().enumerate() {
            if *want < self.start[index] {
                let from = std::mem::replace(want, self.start[index]);
                return Next::Gap { stream: stream(index), from, to: *want };
            }
        }
        cursor.sequence = cursor.sequence.max(self.first);
        // A chunk may grow until the next one begins, so the cursor leaves it only then.
        while let Some(chunk) = self.chunks.get((cursor.sequence - self.first) as usize) {
            let want = &mut cursor.want[chunk.stream];
            let end = chunk.offset + chunk.data.len() as u64;
            if *want < end {
                let offset = (*want).max(chunk.offset);
                let data = chunk.data.slice((offset - chunk.offset) as usize..);
                *want = end;
                return Next::Output { stream: stream(chunk.stream), offset, data };
            }
            if cursor.sequence + 1 - self.first == self.chunks.len() as u64 {
                break;
            }
            cursor.sequence += 1;
        }
        if self.over_at.is_some() && self.open == 0 { Next::Closed } else { Next::Pending }
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout | Stream::Unspecified => 0,
        Stream::Stderr => 1,
        Stream::Terminal => 2,
    }
}

fn stream(index: usize) -> Stream {
    [Stream::Stdout, Stream::Stderr, Stream::Terminal][index]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(log: &Log, cursor: &mut Cursor) -> String {
        let mut all = String::new();
        loop {
            match log.next(cursor, false) {
                Next::Output { data, .. } => all += std::str::from_utf8(&data).unwrap(),
                Next::Gap { from, to, .. } => all += &format!("[{from}..{to}]"),
                Next::Pending | Next::Closed => return all,
            }
        }
    }

    #[test]
    fn a_joined_chunk_is_not_missed_by_a_watcher_that_had_its_first_half() {
        let log = Log::new(None, 1 << 20);
        let mut cursor = Cursor::at([0; 3]);
        log.append(Stream::Stdout, "ab".into());
        assert_eq!(text(&log, &mut cursor), "ab");
        log.append(Stream::Stdout, "cd".into());
        log.append(Stream::Stderr, "e".into());
        assert_eq!(text(&log, &mut cursor), "cde");
    }

    #[test]
    fn bytes_that_the_starter_has_not_taken_are_never_dropped() {
        let log = Log::new(Some(64 << 10), 1 << 30);
        let piece = Bytes::from(vec![b'x'; 64 << 10]);
        while log.has_room() {
            log.append(Stream::Stdout, piece.clone());
        }
        let mut starter = Cursor::at([0; 3]);
        let mut taken = 0;
        while let Next::Output { data, offset, .. } = log.next(&mut starter, true) {
            assert_eq!(offset, taken);
            taken += data.len() as u64;
        }
        assert_eq!(taken, log.end()[0]);
        assert!(log.has_room());
    }

    #[test]
    fn a_late_watcher_gets_a_gap_and_then_the_rest() {
        let log = Log::new(Some(10_000), 1 << 20);
        log.starter_left();
        for _ in 0..3 {
            log.append(Stream::Stdout, Bytes::from(vec![b'y'; 5000]));
        }
        log.append(Stream::Stderr, "err".into());
        let mut cursor = Cursor::at([0; 3]);
        let seen = text(&log, &mut cursor);
        let kept = seen.bytes().filter(|byte| *byte == b'y').count();
        assert!(seen.starts_with(&format!("[0..{}]y", 15_000 - kept)), "{}", &seen[..20]);
        assert!((8000..10_000).contains(&kept) && seen.ends_with("yerr"), "{kept}");
    }
}
