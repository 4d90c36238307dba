//! The bytes of a log: pieces in order of arrival, each of one stream. The oldest can be dropped, the last one may grow.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What a piece costs beside its bytes: its place in the queue, which may be twice as long as it is full, and what
/// the allocator and the sharing of its bytes take.
pub(super) const CHUNK_COST: usize = 192;

/// Pieces below this size are joined, so that a program that writes byte by byte does not cost [`CHUNK_COST`] for each.
const JOIN_BELOW: usize = 4096;

/// Offsets in the three streams.
pub(in crate::agent) type Offsets = [u64; 3];

/// What is kept of three streams.
#[derive(Default)]
pub(super) struct Chunks {
    queue: VecDeque<Chunk>,
    /// Sequence number of the first chunk kept.
    first: u64,
    /// What all chunks ever cost.
    cost_ever: u64,
    /// Offset of the first byte kept, of each stream.
    start: Offsets,
    /// Offset after the last byte, of each stream.
    end: Offsets,
}

struct Chunk {
    stream: usize,
    offset: u64,
    data: Bytes,
    /// What all chunks before it ever cost.
    cost_before: u64,
    /// When it was begun: smaller is older.
    age: u64,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

/// A place in a log.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Cursor {
    /// Next wanted byte of each stream.
    pub(in crate::agent) want: Offsets,
    sequence: u64,
}

impl Cursor {
    /// A place by offsets.
    pub(in crate::agent) fn at(want: Offsets) -> Self {
        Self { want, sequence: 0 }
    }

    /// The first chunk that may have something for it.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl Chunks {
    /// Adds bytes to a stream.
    pub(super) fn push(&mut self, stream: usize, data: Bytes, age: impl FnOnce() -> u64) {
        let offset = self.end[stream];
        self.end[stream] += data.len() as u64;
        match self.queue.back_mut() {
            Some(last) if last.stream == stream && last.data.len() + data.len() <= JOIN_BELOW => {
                let mut joined = BytesMut::with_capacity(last.data.len() + data.len());
                joined.extend_from_slice(&last.data);
                joined.extend_from_slice(&data);
                last.data = joined.freeze();
                self.cost_ever += data.len() as u64;
            }
            _ => {
                let cost_before = self.cost_ever;
                self.cost_ever += (data.len() + CHUNK_COST) as u64;
                self.queue.push_back(Chunk { stream, offset, data, cost_before, age: age() });
            }
        }
    }

    /// What the chunks kept cost.
    pub(super) fn cost(&self) -> usize {
        self.cost_since(self.first)
    }

    /// What those from a sequence number on cost.
    pub(super) fn cost_since(&self, sequence: u64) -> usize {
        let chunk = self.queue.get(sequence.saturating_sub(self.first) as usize);
        chunk.map_or(0, |chunk| (self.cost_ever - chunk.cost_before) as usize)
    }

    /// What those cost that a reader has not wholly taken; nothing when it has taken everything.
    pub(super) fn cost_from(&self, cursor: &Cursor) -> usize {
        if cursor.want == self.end { 0 } else { self.cost_since(cursor.sequence) }
    }

    /// The first of the last chunks that cost no more than this together.
    pub(super) fn last_with(&self, cost: usize) -> u64 {
        let older = self.queue.partition_point(|chunk| self.cost_ever - chunk.cost_before > cost as u64);
        self.first + older as u64
    }

    /// Age of the oldest chunk.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.queue.front().map(|chunk| chunk.age)
    }

    /// Offset of the first byte kept, of each stream.
    pub(super) fn start(&self) -> Offsets {
        self.start
    }

    /// Offset after the last byte, of each stream.
    pub(super) fn end(&self) -> Offsets {
        self.end
    }

    /// Drops the oldest chunks until that has brought so much, or `until` is the first. Returns what it has brought.
    pub(super) fn drop_oldest(&mut self, cost: usize, until: Option<u64>) -> usize {
        let before = self.cost();
        while before - self.cost() < cost && until.is_none_or(|until| self.first < until) && self.drop_first() {}
        before - self.cost()
    }

    /// Drops the oldest bytes until no more than `bound` is left, or `until` is the first chunk.
    pub(super) fn keep_newest(&mut self, bound: usize, until: Option<u64>) {
        while self.cost() > bound && until.is_none_or(|until| self.first < until) {
            let surplus = self.cost() - bound;
            match self.queue.front_mut() {
                // One large piece is no reason to keep little. It is copied, because a slice would keep all of it.
                Some(chunk) if surplus < chunk.data.len() && chunk.data.len() > bound / 8 => {
                    chunk.data = Bytes::copy_from_slice(&chunk.data[surplus..]);
                    chunk.offset += surplus as u64;
                    chunk.cost_before += surplus as u64;
                    self.start[chunk.stream] = chunk.offset;
                }
                _ => {
                    self.drop_first();
                }
            }
        }
    }

    fn drop_first(&mut self) -> bool {
        let Some(chunk) = self.queue.pop_front() else { return false };
        self.start[chunk.stream] = chunk.end();
        self.first += 1;
        if self.queue.capacity() > 64 && self.queue.len() < self.queue.capacity() / 4 {
            self.queue.shrink_to(self.queue.capacity() / 2);
        }
        true
    }

    /// Bytes of one stream that a reader wanted and that are gone; it moves on over them.
    pub(super) fn gap(&self, cursor: &mut Cursor) -> Option<(usize, u64, u64)> {
        for (index, want) in cursor.want.iter_mut().enumerate() {
            if *want < self.start[index] {
                return Some((index, std::mem::replace(want, self.start[index]), self.start[index]));
            }
        }
        None
    }

    /// The next bytes for a reader, at most `most`; it moves on over them.
    pub(super) fn next(&self, cursor: &mut Cursor, most: usize) -> Option<(usize, u64, Bytes)> {
        cursor.sequence = cursor.sequence.max(self.first);
        // A chunk may grow until the next one begins, so the cursor leaves it only then.
        while let Some(chunk) = self.queue.get((cursor.sequence - self.first) as usize) {
            let want = &mut cursor.want[chunk.stream];
            if *want < chunk.end() {
                let offset = (*want).max(chunk.offset);
                let from = (offset - chunk.offset) as usize;
                let data = chunk.data.slice(from..chunk.data.len().min(from.saturating_add(most)));
                *want = offset + data.len() as u64;
                return Some((chunk.stream, offset, data));
            }
            if cursor.sequence + 1 - self.first == self.queue.len() as u64 {
                break;
            }
            cursor.sequence += 1;
        }
        None
    }
}
