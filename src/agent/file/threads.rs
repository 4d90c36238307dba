//! Threads for work that blocks. They are started when there is work and none is free, and end when there is none for a while. That a sandbox
//! has no process left for the first one is an error like any other, which the client hears.

use super::super::shell::give_back_memory;
use crate::sync::lock;
use std::{
    cell::Cell,
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a thread without work is kept.
const KEPT: Duration = Duration::from_secs(10);

/// How long work on threads that give way goes on before it lets the others run. The agent, which interrupts nobody, would else wait until
/// the end of the tick. Beside busy programs each time costs a turn of theirs, so it must not be too often.
const GIVES_WAY_EVERY: Duration = Duration::from_micros(500);

thread_local! {
    /// When this thread let the others run, if it is one that does.
    static GAVE_WAY: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Lets others run, if that is due. To be called often by long work.
pub(super) fn give_way() {
    if GAVE_WAY.get().is_some_and(|since| since.elapsed() >= GIVES_WAY_EVERY) {
        rustix::thread::sched_yield();
        GAVE_WAY.set(Some(Instant::now()));
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The threads. How many there are is bounded by who gives them work.
#[derive(Clone, Default)]
pub(super) struct Threads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
    /// Whether they let others run now and then.
    give_way: bool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Threads that wait for work.
    idle: usize,
    all: usize,
}

impl Threads {
    /// Threads that let others run now and then.
    pub(super) fn that_give_way() -> Self {
        Self(Arc::new(Shared { give_way: true, ..Shared::default() }))
    }

    /// Has a thread do this. Where no further one can be started, it waits for one that works; an error says that there is none.
    pub(super) fn start(&self, job: Job) -> io::Result<()> {
        self.start_with(job, |work| thread::Builder::new().name("files".to_owned()).spawn(work).map(drop))
    }

    fn start_with(&self, job: Job, spawn: impl FnOnce(Job) -> io::Result<()>) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        state.waiting.push_back(job);
        // Those that were woken and have not taken their work yet count as idle, and their work as waiting.
        if state.idle >= state.waiting.len() {
            // Or who is woken would wait for this lock at once.
            drop(state);
            self.0.more.notify_one();
            return Ok(());
        }
        let shared = Arc::clone(&self.0);
        match spawn(Box::new(move || shared.work())) {
            Ok(()) => state.all += 1,
            Err(_) if state.all > 0 => {}
            Err(error) => {
                state.waiting.pop_back();
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Shared {
    fn work(&self) {
        if self.give_way {
            GAVE_WAY.set(Some(Instant::now()));
        }
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.waiting.pop_front() {
                drop(state);
                // Whoever waits for it hears that it gave no answer.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = lock(&self.state);
                continue;
            }
            state.idle += 1;
            let (next, waited) = self.more.wait_timeout(state, KEPT).unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.idle -= 1;
            if waited.timed_out() && state.waiting.is_empty() {
                state.all -= 1;
                let is_last = state.all == 0;
                drop(state);
                if is_last {
                    // It may be long until there is work again.
                    give_back_memory();
                }
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn none_left(_: Job) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    #[test]
    fn work_waits_for_a_thread_where_no_other_can_be_started() {
        let threads = Threads::default();
        let (go, gone) = channel::<()>();
        let (tell, told) = channel();
        let first = tell.clone();
        let job = Box::new(move || {
            gone.recv().unwrap();
            first.send(1).unwrap();
        });
        threads.start(job).unwrap();
        threads.start_with(Box::new(move || tell.send(2).unwrap()), none_left).unwrap();
        go.send(()).unwrap();
        assert_eq!((told.recv().unwrap(), told.recv().unwrap()), (1, 2));
    }

    #[test]
    fn without_any_thread_work_is_refused_and_not_done_later() {
        let threads = Threads::default();
        let (tell, told) = channel();
        let refused = tell.clone();
        let error = threads.start_with(Box::new(move || refused.send(1).unwrap()), none_left).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        threads.start(Box::new(move || tell.send(2).unwrap())).unwrap();
        assert_eq!(told.recv().unwrap(), 2);
        assert!(told.recv().is_err(), "what was refused was done");
    }

    #[test]
    fn a_thread_outlives_work_that_panics() {
        let threads = Threads::default();
        let (go, gone) = channel::<()>();
        let (tell, told) = channel();
        let job = Box::new(move || {
            gone.recv().unwrap();
            panic!("on purpose");
        });
        threads.start(job).unwrap();
        threads.start_with(Box::new(move || tell.send(()).unwrap()), none_left).unwrap();
        go.send(()).unwrap();
        told.recv().unwrap();
    }
}
