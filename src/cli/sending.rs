//! What is sent to a command, kept for as long as a lost connection may have lost it.

use crate::{
    api::v1::{AttachRequest, ExecRequest, ExecStart, InputAt, OutputOffsets, exec_request::Request},
    sync::lock,
};
use futures_util::Stream;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
};
use tokio::sync::mpsc;

/// Bytes that are kept although a connection has taken them: more than can be on their way between here and the command, which is a
/// window of 1 MiB to the server, another one from there to the sandbox, and a piece in each.
const MOST_KEPT: usize = 8 << 20;

/// What a request counts beside its bytes, so that many small ones are bounded too.
const COST: usize = 64;

/// The requests of a command, its start first. Each connection takes them in turn, and the next one goes on where the command says
/// that it has all before.
pub(super) struct Sending {
    start: ExecStart,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    source: mpsc::Receiver<ExecRequest>,
    requests: VecDeque<Entry>,
    /// How many were kept before the first of these.
    first: u64,
    bytes: usize,
    /// Position of the next byte of input.
    end: i64,
    /// Which connection may take them, and the number of the request that is next there, once that is known.
    connection: u64,
    next: Option<u64>,
    waker: Option<Waker>,
}

struct Entry {
    request: Request,
    begin: i64,
    end: i64,
}

impl Entry {
    fn bytes(&self) -> usize {
        (self.end - self.begin) as usize
    }
}

/// Input is not kept any more that the command has not got.
#[derive(Debug, thiserror::Error)]
#[error(
    "the connection was lost; the command has got {taken} bytes of its input, and those up to {kept_from} are not kept any more: start it again"
)]
pub(super) struct InputLost {
    taken: i64,
    kept_from: i64,
}

impl Sending {
    /// A start, and what comes after it. A command that takes input gets an id by which it can be taken up again.
    pub(super) fn new(mut start: ExecStart, source: mpsc::Receiver<ExecRequest>) -> Self {
        if (start.stdin || start.pty.is_some()) && start.request_id.is_empty() {
            start.request_id = uuid::Uuid::new_v4().to_string();
        }
        let kept = Kept {
            source,
            requests: VecDeque::new(),
            first: 0,
            bytes: 0,
            end: 0,
            connection: 0,
            next: Some(0),
            waker: None,
        };
        Self { start, kept: Arc::new(Mutex::new(kept)) }
    }

    /// What the first connection sends.
    pub(super) fn begin(&self) -> Connection {
        Connection { start: Some(self.start.clone()), number: 0, kept: Arc::clone(&self.kept) }
    }

    /// What the next connection sends, which goes on with each output from here; `None` for a command without input.
    pub(super) fn again(&self, from: &AttachRequest) -> Option<Connection> {
        if self.start.request_id.is_empty() {
            return None;
        }
        let resume_from = Some(OutputOffsets {
            stdout_offset: from.stdout_offset,
            stderr_offset: from.stderr_offset,
            terminal_offset: from.terminal_offset,
        });
        let mut kept = lock(&self.kept);
        kept.connection += 1;
        kept.next = None;
        let start = Some(ExecStart { resume_from, ..self.start.clone() });
        Some(Connection { start, number: kept.connection, kept: Arc::clone(&self.kept) })
    }

    /// The command has so many bytes of input: the connection goes on with what comes after these.
    pub(super) fn goes_on(&self, taken: i64) -> Result<(), InputLost> {
        let mut kept = lock(&self.kept);
        let kept_from = kept.requests.front().map_or(kept.end, |entry| entry.begin);
        if kept_from > taken {
            return Err(InputLost { taken, kept_from });
        }
        let known = |entry: &&Entry| entry.end < taken || entry.end == taken && entry.bytes() > 0;
        let known = kept.requests.iter().take_while(known).count();
        kept.next = Some(kept.first + known as u64);
        if let Some(waker) = kept.waker.take() {
            waker.wake();
        }
        Ok(())
    }
}

impl Kept {
    /// Gives input its place.
    fn keep(&mut self, request: Request) {
        let begin = self.end;
        let request = match request {
            Request::Stdin(data) => {
                self.end += data.len() as i64;
                Request::InputAt(InputAt { offset: begin, data, end: false })
            }
            Request::CloseStdin(_) => Request::InputAt(InputAt { offset: begin, end: true, ..InputAt::default() }),
            other => other,
        };
        let entry = Entry { request, begin, end: self.end };
        self.bytes += entry.bytes() + COST;
        self.requests.push_back(entry);
    }

    fn forget_before(&mut self, number: u64) {
        while self.bytes > MOST_KEPT && self.first < number {
            let Some(entry) = self.requests.pop_front() else { return };
            self.bytes -= entry.bytes() + COST;
            self.first += 1;
        }
    }
}

/// The requests as one connection sends them.
pub(super) struct Connection {
    start: Option<ExecStart>,
    number: u64,
    kept: Arc<Mutex<Kept>>,
}

impl Stream for Connection {
    type Item = ExecRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ExecRequest>> {
        let this = self.get_mut();
        if let Some(start) = this.start.take() {
            return Poll::Ready(Some(ExecRequest { request: Some(Request::Start(start)) }));
        }
        let mut kept = lock(&this.kept);
        if kept.connection != this.number {
            return Poll::Ready(None);
        }
        loop {
            let Some(next) = kept.next else {
                kept.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            kept.forget_before(next);
            let at = usize::try_from(next - kept.first).unwrap_or(usize::MAX);
            if let Some(entry) = kept.requests.get(at) {
                let request = Some(entry.request.clone());
                kept.next = Some(next + 1);
                return Poll::Ready(Some(ExecRequest { request }));
            }
            match ready!(kept.source.poll_recv(cx)) {
                Some(ExecRequest { request: Some(request) }) => kept.keep(request),
                Some(ExecRequest { request: None }) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1::{CloseStdin, Pty};
    use futures_util::{FutureExt, StreamExt};

    fn begun() -> (mpsc::Sender<ExecRequest>, Sending) {
        let (give, source) = mpsc::channel(8);
        (give, Sending::new(ExecStart { pty: Some(Pty::default()), ..ExecStart::default() }, source))
    }

    fn say(give: &mpsc::Sender<ExecRequest>, request: Request) {
        give.try_send(ExecRequest { request: Some(request) }).unwrap();
    }

    /// What a connection sends now, in short.
    fn sent(connection: &mut Connection) -> Vec<String> {
        std::iter::from_fn(|| connection.next().now_or_never().flatten())
            .map(|message| match message.request.unwrap() {
                Request::InputAt(InputAt { offset, data, end }) => {
                    format!("{offset} {}{}", String::from_utf8_lossy(&data), if end { "$" } else { "" })
                }
                Request::Start(start) => format!("start {:?}", start.resume_from.map(|from| from.terminal_offset)),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_next_connection_goes_on_where_the_command_is() {
        let (give, sending) = begun();
        let mut first = sending.begin();
        say(&give, Request::Stdin("abc".into()));
        say(&give, Request::Stdin("def".into()));
        assert_eq!(sent(&mut first), ["start None", "0 abc", "3 def"]);
        let mut second = sending.again(&AttachRequest { terminal_offset: 7, ..AttachRequest::default() }).unwrap();
        say(&give, Request::CloseStdin(CloseStdin {}));
        assert_eq!((sent(&mut first), sent(&mut second)), (vec![], vec!["start Some(7)".to_owned()]));
        sending.goes_on(4).unwrap();
        assert_eq!(sent(&mut second), ["3 def", "6 $"]);
        let mut third = sending.again(&AttachRequest::default()).unwrap();
        sending.goes_on(6).unwrap();
        assert_eq!(sent(&mut third), ["start Some(0)", "6 $"]);
    }

    #[test]
    fn what_is_not_kept_any_more_is_missed() {
        let (give, sending) = begun();
        let mut first = sending.begin();
        let piece = bytes::Bytes::from(vec![b'x'; MOST_KEPT / 2]);
        for _ in 0..4 {
            say(&give, Request::Stdin(piece.clone()));
        }
        assert_eq!(sent(&mut first).len(), 5);
        say(&give, Request::Stdin("y".into()));
        sent(&mut first);
        sending.again(&AttachRequest::default()).unwrap();
        assert!(sending.goes_on(0).unwrap_err().to_string().contains("has got 0 bytes"));
        sending.goes_on(2 * MOST_KEPT as i64).unwrap();
    }

    #[test]
    fn a_command_without_input_is_not_started_again() {
        let (_, source) = mpsc::channel(1);
        assert!(Sending::new(ExecStart::default(), source).again(&AttachRequest::default()).is_none());
    }
}
