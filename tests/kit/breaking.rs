//! A way to a server that breaks: each connection, after so many bytes have gone by it.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

/// The way. Nobody new goes by it once it is dropped.
pub struct Breaking {
    address: String,
    cuts: Arc<AtomicUsize>,
}

impl Breaking {
    /// A way to this address, of which `times` connections break after `after` bytes each.
    pub fn new(server: &str, after: usize, times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let cuts = Arc::new(AtomicUsize::new(0));
        let (server, counted) = (server.to_owned(), cuts.clone());
        // Ends with the process.
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(&server).expect("the server");
                let (there, back) = ((near.try_clone(), far.try_clone()), (far, near));
                let (Ok(from), Ok(to)) = there else { continue };
                let counted = counted.clone();
                thread::spawn(move || {
                    pass(from, to, after, |_| {
                        counted.fetch_update(Relaxed, Relaxed, |cuts| (cuts < times).then_some(cuts + 1)).is_ok()
                    })
                });
                thread::spawn(move || pass(back.0, back.1, usize::MAX, |_| false));
            }
        });
        Self { address, cuts }
    }

    /// Where it begins.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections have broken.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Relaxed)
    }
}

/// Passes on what comes, until it ends or `breaks` says so behind so many bytes. Then both ways end.
fn pass(mut from: TcpStream, mut to: TcpStream, after: usize, breaks: impl Fn(usize) -> bool) {
    let (mut passed, mut piece) = (0, vec![0; 64 << 10]);
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
        passed += length;
        if passed > after && breaks(passed) {
            break;
        }
    }
    for side in [from, to] {
        let _ = side.shutdown(Shutdown::Both);
    }
}
