//! The output of one command: bounded, by byte offset, in order of arrival.
//!
//! The stream that started the command gets everything: bytes it has not taken are never dropped, and when it is too far
//! behind the readers of the command's pipes wait ([`Log::room`]), as a pipe would make the program wait. That holds for
//! what background processes print later, too. Nobody else holds anything up: when the log is full, or others need room in
//! the [`Budget`], its oldest bytes go, and a watcher that wanted them gets a gap.

use super::{
    LARGE_READ,
    budget::Budget,
    chunks::{Chunks, Cursor, Offsets},
    ledger::{GiveUp, Share},
};
use crate::{api::v1::Stream, sync::lock};
use bytes::Bytes;
use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, Weak},
    task::Poll,
};
use tokio::sync::Notify;

/// What the starting stream may lag, if the budget has that much, before the program waits.
const STARTER_LAG: usize = 4 << 20;

/// What may come on top at a command's end: what its pipes can still have in them.
const AT_END: usize = 4 << 20;

/// As [`LARGE_READ`], when the budget is nearly used up.
const SMALL_READ: usize = 16 << 10;

/// What is held for each starting stream from the beginning: it may lag by a small read, and one more is under way.
const RESERVE: usize = 2 * SMALL_READ;

/// Bytes kept by default while the starting stream follows: enough for all that can be under way when it is cut.
const KEEP_FOLLOWED: usize = 32 << 20;

/// Bytes kept by default when the starting stream is gone: what it misses until it comes back.
const KEEP_UNFOLLOWED: usize = 64 << 20;

/// Most that one log may keep, whatever the client asks for.
const MOST_ASKED: usize = 1 << 30;

/// Bounded output of one command.
pub(in crate::agent) struct Log {
    budget: Arc<Budget>,
    /// Its number in the budget.
    id: u64,
    inner: Mutex<Inner>,
    changed: Notify,
    /// Told when the starting stream has taken something, or is gone.
    taken: Notify,
}

struct Inner {
    chunks: Chunks,
    /// Where the starting stream is; `None` when it is gone.
    starter: Option<Cursor>,
    /// The starting stream came back, and is owed only what begins with this chunk.
    owed_from: u64,
    /// What the client asked to keep.
    asked: Option<usize>,
    /// Where the streams were when the command was over.
    over_at: Option<Offsets>,
    /// Bytes of each stream that were in its pipe when the command was over, and are still to come.
    coming: Offsets,
    /// Whether each stream has a pipe that may still bring bytes.
    open: [bool; 3],
}

/// What follows a place.
pub(in crate::agent) enum Next {
    /// Bytes.
    Output { stream: Stream, offset: u64, data: Bytes },
    /// Bytes that are gone.
    Gap { stream: Stream, from: u64, to: u64 },
    /// Nothing yet.
    Pending,
    /// Nothing more will come.
    Closed,
}

/// How much may be read from the program.
enum Room {
    /// At most this at once.
    For(usize),
    /// Nothing, before the starting stream takes something.
    Behind,
    /// Nothing, before it takes something or the budget has more.
    Tight,
}

impl Log {
    /// An empty log that keeps what the client asked for, as far as the budget has it. `None` when not even a command
    /// without output fits in.
    pub(in crate::agent) fn new(budget: &Arc<Budget>, asked: Option<usize>) -> Option<Arc<Self>> {
        let id = budget.enter(RESERVE)?;
        let inner = Inner {
            chunks: Chunks::default(),
            starter: Some(Cursor::at([0; 3])),
            owed_from: 0,
            asked: asked.map(|asked| asked.min(MOST_ASKED)),
            over_at: None,
            coming: [0; 3],
            open: [false; 3],
        };
        let (budget, inner) = (Arc::clone(budget), Mutex::new(inner));
        let log = Arc::new(Self { budget, id, inner, changed: Notify::new(), taken: Notify::new() });
        let introduced: Weak<Self> = Arc::downgrade(&log);
        log.budget.introduce(id, introduced);
        Some(log)
    }

    /// What it is part of.
    pub(in crate::agent) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Adds bytes and drops the oldest beyond the bound.
    pub(in crate::agent) fn append(&self, stream: Stream, data: Bytes) {
        if data.is_empty() {
            return;
        }
        self.change(|inner| {
            inner.chunks.push(index(stream), data, || self.budget.age());
        });
        self.budget.make_room();
        self.changed.notify_waiters();
    }

    /// How many bytes may be read from the program now.
    pub(in crate::agent) fn room(&self) -> usize {
        match lock(&self.inner).room(self.budget.free_for_much(), STARTER_LAG) {
            Room::For(bytes) => bytes,
            Room::Behind | Room::Tight => 0,
        }
    }

    /// As [`Self::room`], for what is in the pipes of a command that is over.
    pub(in crate::agent) fn room_at_end(&self) -> usize {
        match lock(&self.inner).room(self.budget.free_for_much(), STARTER_LAG + AT_END) {
            Room::For(bytes) => bytes,
            Room::Behind | Room::Tight => 0,
        }
    }

    /// Waits until there is [`Self::room`].
    pub(in crate::agent) async fn wait_for_room(&self) {
        // Nearly always there is some, and then nobody has to be told of anything.
        while self.room() == 0 {
            let (mut taken, mut freed) = (pin!(self.taken.notified()), pin!(self.budget.freed()));
            // Registered before the room is looked at, so that no change is missed in between.
            taken.as_mut().enable();
            freed.as_mut().enable();
            let room = lock(&self.inner).room(self.budget.free_for_much(), STARTER_LAG);
            match room {
                Room::For(_) => return,
                Room::Behind => taken.await,
                Room::Tight => {
                    std::future::poll_fn(|context| {
                        let ready = taken.as_mut().poll(context).is_ready() | freed.as_mut().poll(context).is_ready();
                        if ready { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                }
            }
        }
    }

    /// What follows `cursor`, which moves on; at most `most` bytes of it.
    pub(in crate::agent) fn next(&self, cursor: &mut Cursor, starter: bool, most: usize) -> Next {
        if !starter {
            return lock(&self.inner).next(cursor, most);
        }
        let next = self.change(|inner| {
            let next = inner.next(cursor, most);
            inner.starter = Some(cursor.clone());
            next
        });
        if matches!(next, Next::Output { .. } | Next::Gap { .. }) {
            self.taken.notify_waiters();
        }
        next
    }

    /// A future that is ready at the next change after this call.
    pub(in crate::agent) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// The starting stream is gone: from now on the program does not wait for anybody.
    pub(in crate::agent) fn starter_left(&self) {
        self.change(|inner| inner.starter = None);
        self.budget.make_room();
        self.taken.notify_waiters();
    }

    /// Makes a returning client the starting stream, unless there is one. It is owed as much as it may lag; what is older
    /// gives way when others need room.
    pub(in crate::agent) fn starter_returned(&self) -> bool {
        let owed = (self.budget.free_for_much() / 4).min(STARTER_LAG);
        self.change(|inner| {
            let free = inner.starter.is_none();
            if free {
                inner.starter = Some(Cursor::at(inner.chunks.start()));
                inner.owed_from = inner.chunks.last_with(owed);
            }
            free
        })
    }

    /// A pipe may bring bytes from now on.
    pub(in crate::agent) fn pipe_opened(&self, stream: Stream) {
        lock(&self.inner).open[index(stream)] = true;
    }

    /// A pipe will bring nothing more.
    pub(in crate::agent) fn pipe_closed(&self, stream: Stream) {
        let index = index(stream);
        self.change(|inner| {
            inner.open[index] = false;
            inner.coming[index] = 0;
            let end = inner.chunks.end()[index];
            // What was to come and did not, because it could not be read, is not waited for.
            if let Some(at) = &mut inner.over_at {
                at[index] = at[index].min(end);
            }
        });
        self.changed.notify_waiters();
    }

    /// So many bytes of the command are still in a pipe. They come before its end.
    pub(in crate::agent) fn expect(&self, stream: Stream, bytes: u64) {
        lock(&self.inner).coming[index(stream)] = bytes;
    }

    /// The command is over: what comes from now on, beyond what is expected, is background output.
    pub(in crate::agent) fn set_over(&self) {
        self.change(|inner| {
            let (end, coming) = (inner.chunks.end(), inner.coming);
            inner.over_at = Some([0, 1, 2].map(|index| end[index] + coming[index]));
        });
        self.budget.make_room();
        self.changed.notify_waiters();
    }

    /// Where the streams were when the command was over.
    pub(in crate::agent) fn over_at(&self) -> Option<Offsets> {
        lock(&self.inner).over_at
    }

    /// Bytes printed so far, of each stream.
    pub(in crate::agent) fn end(&self) -> Offsets {
        lock(&self.inner).chunks.end()
    }

    /// Changes something, keeps the log's own bound, and notes in the budget what there is then.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = lock(&self.inner);
        let value = change(&mut inner);
        inner.keep_bound(self.budget.total());
        let share = inner.share();
        // Noted under the log's lock, so that the last note is the last state.
        self.budget.change(self.id, share);
        value
    }
}

impl GiveUp for Log {
    fn give_up(&self, bytes: usize) -> usize {
        self.change(|inner| {
            let owed = inner.owed();
            inner.chunks.drop_oldest(bytes, owed)
        })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.budget.leave(self.id);
    }
}

impl Inner {
    fn room(&self, free: usize, most_lag: usize) -> Room {
        let Some(starter) = &self.starter else { return Room::For(LARGE_READ) };
        let (behind, share) = (self.chunks.cost_from(starter), free / 4);
        if behind < most_lag.min(share) {
            // One read goes beyond it, and that by a quarter at most.
            Room::For((share / 4).clamp(SMALL_READ, LARGE_READ))
        } else if behind < SMALL_READ {
            Room::For(SMALL_READ)
        } else if behind >= most_lag {
            Room::Behind
        } else {
            Room::Tight
        }
    }

    /// The first chunk that the starting stream is owed; `None` when it is owed nothing.
    fn owed(&self) -> Option<u64> {
        let starter = self.starter.as_ref().filter(|starter| self.chunks.cost_from(starter) > 0)?;
        Some(starter.sequence().max(self.owed_from))
    }

    fn share(&self) -> Share {
        let owed = self.owed().map_or(0, |from| self.chunks.cost_since(from));
        let reserve = if self.starter.is_some() { RESERVE } else { 0 };
        Share {
            held: owed.max(reserve),
            spare: self.chunks.cost() - owed,
            age: self.chunks.oldest().unwrap_or(0),
            over: self.over_at.is_some(),
        }
    }

    fn keep_bound(&mut self, ceiling: usize) {
        let default = if self.starter.is_some() { KEEP_FOLLOWED } else { KEEP_UNFOLLOWED };
        let bound = self.asked.unwrap_or(default).min(ceiling);
        if self.chunks.cost() > bound {
            let taken =
                self.starter.as_ref().filter(|starter| self.chunks.cost_from(starter) > 0).map(Cursor::sequence);
            self.chunks.keep_newest(bound, taken);
        }
    }

    fn next(&self, cursor: &mut Cursor, most: usize) -> Next {
        if let Some((index, from, to)) = self.chunks.gap(cursor) {
            return Next::Gap { stream: stream(index), from, to };
        }
        if let Some((index, offset, data)) = self.chunks.next(cursor, most) {
            return Next::Output { stream: stream(index), offset, data };
        }
        if self.over_at.is_some() && self.open == [false; 3] { Next::Closed } else { Next::Pending }
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
mod tests;
