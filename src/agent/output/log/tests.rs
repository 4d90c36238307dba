//! A log and its budget against a model that keeps everything.

use super::*;
use proptest::prelude::*;

fn log(budget: &Arc<Budget>, asked: Option<usize>) -> Arc<Log> {
    Log::new(budget, asked).unwrap()
}

fn text(log: &Log, cursor: &mut Cursor) -> String {
    let mut all = String::new();
    loop {
        match log.next(cursor, false, usize::MAX) {
            Next::Output { data, .. } => all += std::str::from_utf8(&data).unwrap(),
            Next::Gap { from, to, .. } => all += &format!("[{from}..{to}]"),
            Next::Pending | Next::Closed => return all,
        }
    }
}

#[test]
fn a_joined_chunk_is_not_missed_by_a_watcher_that_had_its_first_half() {
    let log = log(&Budget::of(1 << 20), None);
    let mut cursor = Cursor::at([0; 3]);
    log.append(Stream::Stdout, "ab".into());
    assert_eq!(text(&log, &mut cursor), "ab");
    log.append(Stream::Stdout, "cd".into());
    log.append(Stream::Stderr, "e".into());
    assert_eq!(text(&log, &mut cursor), "cde");
}

#[test]
fn bytes_that_the_starter_has_not_taken_are_never_dropped() {
    let log = log(&Budget::of(1 << 30), Some(64 << 10));
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    while log.room() > 0 {
        log.append(Stream::Stdout, piece.clone());
    }
    let mut starter = Cursor::at([0; 3]);
    let mut taken = 0;
    while let Next::Output { data, offset, .. } = log.next(&mut starter, true, usize::MAX) {
        assert_eq!(offset, taken);
        taken += data.len() as u64;
    }
    assert_eq!(taken, log.end()[0]);
    assert!(log.room() > 0);
}

#[test]
fn a_late_watcher_gets_a_gap_and_then_the_rest() {
    let log = log(&Budget::of(1 << 20), Some(10_000));
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

/// One byte to each of two streams in turn cannot be joined, and each costs much more than itself.
#[test]
fn what_single_bytes_cost_is_counted() {
    let budget = Budget::of(64 << 20);
    let log = log(&budget, None);
    let mut printed = 0;
    while log.room() > 0 {
        log.append([Stream::Stdout, Stream::Stderr][printed % 2], Bytes::from_static(b"x"));
        printed += 1;
    }
    assert!(printed < (5 << 20) / super::super::chunks::CHUNK_COST, "{printed}");
    assert!(budget.used() < 5 << 20, "{}", budget.used());
}

/// However many starting streams stop taking what they are owed, one that comes later still has room for a small read.
#[test]
fn stalled_starters_leave_room_for_others() {
    let budget = Budget::of(4 << 20);
    let mut stalled = Vec::new();
    for _ in 0..16 {
        let log = log(&budget, None);
        for room in std::iter::repeat_with(|| log.room()).take_while(|room| *room > 0) {
            log.append(Stream::Stdout, Bytes::from(vec![b'x'; room]));
        }
        stalled.push(log);
        assert!(budget.used() <= 4 << 20, "{}", budget.used());
    }
    let last = log(&budget, None);
    let mut cursor = Cursor::at([0; 3]);
    for _ in 0..1000 {
        let room = last.room();
        assert!(room >= SMALL_READ);
        last.append(Stream::Stderr, Bytes::from(vec![b'y'; room]));
        assert!(matches!(last.next(&mut cursor, true, usize::MAX), Next::Output { data, .. } if data.len() == room));
    }
    assert!(budget.used() <= 4 << 20, "{}", budget.used());
    let refused = std::iter::repeat_with(|| Log::new(&budget, None)).take(1000).map_while(|log| log);
    assert!(refused.collect::<Vec<_>>().len() < 1000, "a budget has an end");
    drop((last, stalled));
    assert_eq!(budget.used(), 0);
}

#[test]
fn commands_that_are_over_give_way_first_and_the_oldest_of_their_bytes() {
    let budget = Budget::of(10 << 20);
    let fill = |name: &str| {
        let log = log(&budget, None);
        log.starter_left();
        for _ in 0..3 {
            log.append(Stream::Stdout, Bytes::from(name.repeat(1 << 20)));
        }
        log
    };
    let kept = |log: &Log| text(log, &mut Cursor::at([0; 3])).bytes().filter(u8::is_ascii_lowercase).count() >> 20;
    let (running, first, second) = (fill("r"), fill("f"), fill("s"));
    second.set_over();
    first.set_over();
    let more = fill("m");
    assert_eq!([&running, &first, &second, &more].map(|log| kept(log)), [3, 0, 3, 3]);
    let most = log(&budget, None);
    most.starter_left();
    for _ in 0..20 {
        most.append(Stream::Stdout, Bytes::from("t".repeat(1 << 20)));
    }
    // Those that run share what there is: the largest gives way.
    assert_eq!([&second, &running, &more, &most].map(|log| kept(log)), [0, 3, 3, 3]);
    let last = fill("l");
    let now = [&running, &more, &most, &last].map(|log| kept(log));
    assert!(now.iter().all(|kept| (2..=3).contains(kept)), "{now:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_is_woken_by_whoever_gives_some_back() {
    let budget = Budget::of(4 << 20);
    let held = budget.hold(3 << 20).unwrap();
    let log = log(&budget, None);
    while log.room() > 0 {
        log.append(Stream::Stdout, Bytes::from(vec![b'x'; 16 << 10]));
    }
    assert!(log.end()[0] < 512 << 10);
    let waits = Arc::clone(&log);
    let task = tokio::spawn(async move { waits.wait_for_room().await });
    tokio::task::yield_now().await;
    assert!(!task.is_finished());
    drop(held);
    task.await.unwrap();
    while log.room() > 0 {
        log.append(Stream::Stdout, Bytes::from(vec![b'x'; 64 << 10]));
    }
    let waits = Arc::clone(&log);
    let task = tokio::spawn(async move { waits.wait_for_room().await });
    tokio::task::yield_now().await;
    assert!(!task.is_finished());
    log.starter_left();
    task.await.unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    /// The program prints as much as there is room for, up to this.
    Print { log: usize, stream: usize, bytes: usize },
    /// The starter reads one message.
    Take { log: usize, most: usize },
    /// A watcher reads one message.
    Watch { log: usize, most: usize },
    /// The starter goes.
    Leave { log: usize },
    /// A client comes back as the starter.
    Return { log: usize },
    /// The command is over.
    End { log: usize },
    /// Somebody holds something for a while.
    Hold { bytes: usize },
    /// And gives it back.
    GiveBack,
}

fn step() -> impl Strategy<Value = Step> {
    let log = || 0_usize..3;
    prop_oneof![
        8 => (log(), 0_usize..3, 1_usize..60_000).prop_map(|(log, stream, bytes)| Step::Print { log, stream, bytes }),
        4 => (log(), 0_usize..3, 1_usize..8).prop_map(|(log, stream, bytes)| Step::Print { log, stream, bytes }),
        6 => (log(), 1_usize..50_000).prop_map(|(log, most)| Step::Take { log, most }),
        6 => (log(), 1_usize..50_000).prop_map(|(log, most)| Step::Watch { log, most }),
        1 => log().prop_map(|log| Step::Leave { log }),
        2 => log().prop_map(|log| Step::Return { log }),
        1 => log().prop_map(|log| Step::End { log }),
        1 => (0_usize..400_000).prop_map(|bytes| Step::Hold { bytes }),
        1 => Just(Step::GiveBack),
    ]
}

/// A log, everything that was ever printed to it, and who reads it.
struct Model {
    log: Arc<Log>,
    printed: [Vec<u8>; 3],
    starter: Option<(Cursor, [u64; 3])>,
    /// Whether the starter was there from the beginning, so that it must get everything.
    first: bool,
    watcher: Cursor,
    watched: [u64; 3],
}

impl Model {
    fn new(budget: &Arc<Budget>, asked: Option<usize>) -> Option<Self> {
        Some(Self {
            log: Log::new(budget, asked)?,
            printed: Default::default(),
            starter: Some((Cursor::at([0; 3]), [0; 3])),
            first: true,
            watcher: Cursor::at([0; 3]),
            watched: [0; 3],
        })
    }

    /// Checks what a reader gets: every byte in its place, and gaps for what is missing.
    fn check(printed: &[Vec<u8>; 3], seen: &mut [u64; 3], next: Next, may_miss: bool) {
        match next {
            Next::Output { stream, offset, data } => {
                let at = index(stream);
                assert_eq!(offset, seen[at], "offset");
                let from = offset as usize;
                assert!(printed[at][from..from + data.len()] == data[..], "bytes at {offset}");
                seen[at] += data.len() as u64;
            }
            Next::Gap { stream, from, to } => {
                assert!(may_miss, "a starter that never left misses {from} to {to}");
                assert!(from == seen[index(stream)] && to > from && to <= printed[index(stream)].len() as u64);
                seen[index(stream)] = to;
            }
            Next::Pending | Next::Closed => {
                let all = printed.each_ref().map(|bytes| bytes.len() as u64);
                assert_eq!(*seen, all, "nothing is left to read, and something was not read");
            }
        }
    }
}

proptest! {
    /// Whatever happens to three logs in whatever order: every reader gets every byte or is told of a gap, the first
    /// starter gets all, a program always has room again when its starter has taken everything or is gone, and what is
    /// kept stays within the budget.
    #[test]
    fn a_log_is_the_string_that_was_printed_with_gaps(
        steps in proptest::collection::vec(step(), 0..150),
        total in 200_000_usize..1_000_000,
        asked in proptest::option::of(65_536_usize..300_000),
    ) {
        let budget = Budget::of(total);
        let mut models: Vec<Model> = (0..3).map(|_| Model::new(&budget, asked).unwrap()).collect();
        let mut held = Vec::new();
        let mut fill = 0_u8;
        for step in steps {
            match step {
                Step::Print { log, stream: at, bytes } => {
                    let model = &mut models[log];
                    let bytes = bytes.min(model.log.room());
                    fill = fill.wrapping_add(41);
                    let data: Vec<u8> = (0..bytes).map(|byte| (byte % 249) as u8 ^ fill).collect();
                    model.printed[at].extend_from_slice(&data);
                    model.log.append(stream(at), data.into());
                }
                Step::Take { log, most } => {
                    let model = &mut models[log];
                    if let Some((cursor, seen)) = &mut model.starter {
                        let next = model.log.next(cursor, true, most);
                        Model::check(&model.printed, seen, next, !model.first);
                    }
                }
                Step::Watch { log, most } => {
                    let model = &mut models[log];
                    let next = model.log.next(&mut model.watcher, false, most);
                    Model::check(&model.printed, &mut model.watched, next, true);
                }
                Step::Leave { log } => {
                    models[log].log.starter_left();
                    models[log].starter = None;
                    models[log].first = false;
                }
                Step::Return { log } => {
                    let model = &mut models[log];
                    let returned = model.log.starter_returned();
                    assert_eq!(returned, model.starter.is_none());
                    if returned {
                        model.starter = Some((Cursor::at([0; 3]), [0; 3]));
                    }
                }
                Step::End { log } => models[log].log.set_over(),
                Step::Hold { bytes } => held.extend(budget.hold(bytes)),
                Step::GiveBack => drop(held.pop()),
            }
            for model in &models {
                if model.starter.is_none() {
                    assert!(model.log.room() > 0, "nobody is waited for");
                }
            }
            // One small read for each starter that came back when there was nothing left.
            assert!(budget.used() <= total + 3 * RESERVE, "{} of {total}", budget.used());
        }
        for model in &mut models {
            if let Some((cursor, seen)) = &mut model.starter {
                loop {
                    let next = model.log.next(cursor, true, usize::MAX);
                    let done = matches!(next, Next::Pending | Next::Closed);
                    Model::check(&model.printed, seen, next, !model.first);
                    if done {
                        break;
                    }
                }
                assert!(model.log.room() > 0, "its starter has taken everything");
            }
        }
        drop((models, held));
        assert_eq!(budget.used(), 0);
    }
}
