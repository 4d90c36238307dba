use super::{Bulk, Carried, Flow, Lanes, Socket, flow::Load};
use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{mpsc, oneshot},
    task::yield_now,
};

#[test]
fn what_moves_a_lot_is_heavy_until_it_has_been_calm() {
    let load = Load::default();
    for now in 0..1000 {
        load.count(now, 30 << 10);
        assert!(!load.is_heavy(|| now), "30 MiB a second are heavy after {now} ms");
    }
    for now in 1000..2000 {
        load.count(now, 60 << 10);
        assert_eq!(load.is_heavy(|| now), now >= 1068, "60 MiB a second after {now} ms");
    }
    assert!(load.is_heavy(|| 2400), "it was heavy a moment ago");
    assert!(!load.is_heavy(|| 2500));
    load.count(3000, 100 << 20);
    assert!(load.is_heavy(|| 3000), "a large piece counts at once");
}

/// Work that says, whenever it is asked, on which thread it is. It says no more once it has been asked for the last time.
fn work_on(flow: &Arc<Flow>) -> mpsc::Sender<oneshot::Sender<bool>> {
    let (ask, mut asked) = mpsc::channel::<oneshot::Sender<bool>>(1);
    flow.spawn(async move {
        while let Some(answer) = asked.recv().await {
            answer.send(thread::current().name() == Some("bulk")).unwrap();
        }
    });
    ask
}

async fn is_on_bulk(ask: &mpsc::Sender<oneshot::Sender<bool>>) -> bool {
    let (answer, answered) = oneshot::channel();
    ask.send(answer).await.unwrap();
    answered.await.unwrap()
}

#[test]
fn heavy_work_moves_to_the_other_lane_and_back() {
    let bulk = Bulk::start(1).unwrap();
    let light = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    light.block_on(async {
        let lanes = bulk.lanes();
        let (flow, calm) = (lanes.flow(), lanes.flow());
        let (work, others) = (work_on(&flow), work_on(&calm));
        assert!(!is_on_bulk(&work).await);
        flow.count(100 << 20);
        assert!(is_on_bulk(&work).await, "the work of a heavy connection stays where it was");
        let later = work_on(&flow);
        assert!(is_on_bulk(&later).await, "what a heavy connection begins is begun elsewhere");
        assert!(!is_on_bulk(&others).await, "the work of another connection has moved");
        // It stays for half a second.
        while is_on_bulk(&work).await || is_on_bulk(&later).await {
            yield_now().await;
        }
        flow.count(100 << 20);
        assert!(is_on_bulk(&work).await, "it moves only once");
    });
    bulk.stop(Duration::from_secs(10));
}

/// A runtime that is not driven is told nothing by the kernel, so whatever waits for a socket that is watched there waits for ever.
#[test]
fn a_socket_is_watched_where_it_is_used() {
    let bulk = Bulk::start(1).unwrap();
    let light = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = light.enter();
    let lanes = bulk.lanes();
    let flow = lanes.flow();
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let mut carried = Carried::new(Socket::from(UnixStream::from_std(near).unwrap()), flow.clone());
    flow.count(100 << 20);
    let (done, is_done) = std::sync::mpsc::channel();
    flow.spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(&mut carried);
        let read = async {
            let mut byte = [0];
            for _ in 0..2 {
                done.send(()).unwrap();
                reader.read_exact(&mut byte).await.unwrap();
            }
        };
        // More than the socket has room for.
        let write = async { writer.write_all(&vec![7; 4 << 20]).await.unwrap() };
        tokio::join!(read, write);
        done.send(()).unwrap();
    });
    for _ in 0..2 {
        is_done.recv_timeout(Duration::from_secs(60)).unwrap();
        far.write_all(b"x").unwrap();
    }
    far.read_exact(&mut vec![0; 4 << 20]).unwrap();
    is_done.recv_timeout(Duration::from_secs(60)).unwrap();
    bulk.stop(Duration::from_secs(10));
}

#[tokio::test]
async fn with_one_lane_all_work_stays() {
    let flow = Lanes::default().flow();
    let work = work_on(&flow);
    flow.count(100 << 20);
    assert!(!is_on_bulk(&work).await);
}

/// Each read of a MiB is a turn. For tokio it would be one step of 128.
#[tokio::test]
async fn many_bytes_are_a_whole_turn() {
    let moved = Arc::new(AtomicUsize::new(0));
    let reader = tokio::spawn({
        let (moved, flow) = (moved.clone(), Lanes::default().flow());
        async move {
            let (mut endless, mut piece) = (Carried::new(tokio::io::repeat(7), flow), vec![0; 1 << 20]);
            loop {
                endless.read_exact(&mut piece).await.unwrap();
                moved.fetch_add(piece.len(), Relaxed);
            }
        }
    });
    for _ in 0..20 {
        let before = moved.load(Relaxed);
        yield_now().await;
        let between = moved.load(Relaxed) - before;
        assert!(between <= 2 << 20, "{} MiB were moved in one turn", between >> 20);
    }
    assert!(moved.load(Relaxed) > 0, "the reader has had no turn");
    reader.abort();
}
