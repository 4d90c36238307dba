//! What a client sends of a file or an archive. It is taken as much at one time as has come: to have another thread do something
//! costs more than a small piece does.

use crate::{error::Error, rpc::pieces::Piece};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use std::pin::pin;

/// Bytes that are taken at one time, unless one piece has more.
const MOST: usize = 512 << 10;

/// What a piece counts for at least, because it takes so much memory however short it is.
const LEAST_OF_A_PIECE: usize = 64;

/// Bytes that are worked on and gathered meanwhile, together, before another piece is taken. One may have 2 MiB.
const MOST_IN_ALL: usize = 2 * MOST;

/// What follows the first message.
pub(super) struct Arriving<S> {
    pieces: S,
    /// What has come and was not taken yet.
    gathered: Vec<Bytes>,
    bytes: usize,
    /// Bytes that were taken last, and may still be worked on.
    taken: usize,
    /// Whether all has come.
    is_all: bool,
    /// Whether the client is gone before it has sent all.
    is_cut: bool,
}

impl<S> Arriving<S> {
    pub(super) fn new(pieces: S) -> Self {
        Self { pieces, gathered: Vec::new(), bytes: 0, taken: 0, is_all: false, is_cut: false }
    }

    fn has_room(&self) -> bool {
        !self.is_all && !self.is_cut && self.bytes < MOST && self.taken + self.bytes < MOST_IN_ALL
    }

    fn gather<E>(&mut self, piece: Option<Result<Piece, E>>) -> Result<(), E> {
        match piece.transpose()? {
            Some(Piece::Data(data)) => {
                self.bytes += data.len().max(LEAST_OF_A_PIECE);
                self.gathered.push(data);
            }
            Some(Piece::End) => self.is_all = true,
            None => self.is_cut = true,
        }
        Ok(())
    }

    /// What is there, perhaps nothing, and whether that was the last. If `wait` says so, it is waited for. `None` when the client is gone
    /// before it has sent all.
    pub(super) async fn next<E>(&mut self, wait: bool) -> Result<Option<(Vec<Bytes>, bool)>, E>
    where
        S: Stream<Item = Result<Piece, E>> + Unpin,
    {
        // Nobody works on them any more.
        self.taken = 0;
        if wait && self.gathered.is_empty() && self.has_room() {
            let piece = self.pieces.next().await;
            self.gather(piece)?;
        }
        while self.has_room() {
            let Some(piece) = self.pieces.next().now_or_never() else { break };
            self.gather(piece)?;
        }
        if self.is_cut {
            return Ok(None);
        }
        self.taken = std::mem::take(&mut self.bytes);
        Ok(Some((std::mem::take(&mut self.gathered), self.is_all)))
    }

    /// Gathers what comes while what came before is worked on. What is wrong with it ends that too.
    pub(super) async fn during<W, E>(&mut self, work: impl Future<Output = Result<W, Error>>) -> Result<W, E>
    where
        S: Stream<Item = Result<Piece, E>> + Unpin,
        E: From<Error>,
    {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done?),
                piece = self.pieces.next(), if self.has_room() => self.gather(piece)?,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures_util::stream;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    fn data(text: &'static str) -> Result<Piece, Error> {
        Ok(Piece::Data(text.into()))
    }

    #[tokio::test]
    async fn what_is_there_comes_at_one_time() {
        let (send, messages) = mpsc::channel(10);
        let mut arriving = Arriving::new(ReceiverStream::new(messages));
        assert_eq!(arriving.next(false).await.unwrap(), Some((vec![], false)), "nothing is waited for");
        send.send(data("a")).await.unwrap();
        send.send(data("b")).await.unwrap();
        assert_eq!(arriving.next(true).await.unwrap(), Some((vec!["a".into(), "b".into()], false)));
        send.send(data("c")).await.unwrap();
        send.send(Ok(Piece::End)).await.unwrap();
        assert_eq!(arriving.next(true).await.unwrap(), Some((vec!["c".into()], true)));
    }

    #[tokio::test]
    async fn what_comes_during_work_is_gathered_and_no_more_than_may_be() {
        let (send, messages) = mpsc::channel(10);
        let mut arriving = Arriving::new(ReceiverStream::new(messages));
        let half = || Ok(Piece::Data(vec![b'x'; MOST / 2].into()));
        let work = async {
            for _ in 0..4 {
                send.send(half()).await.unwrap();
            }
            // Two of them were taken.
            while send.capacity() < 8 {
                tokio::task::yield_now().await;
            }
            Ok::<_, Error>("done")
        };
        let done: Result<_, Error> = arriving.during(work).await;
        assert_eq!((done.unwrap(), send.capacity(), arriving.bytes), ("done", 8, MOST));
        let (pieces, is_all) = arriving.next(true).await.unwrap().unwrap();
        assert_eq!((pieces.len(), is_all), (2, false));
        send.send(Ok(Piece::End)).await.unwrap();
        assert_eq!(arriving.next(true).await.unwrap().map(|(pieces, is_all)| (pieces.len(), is_all)), Some((2, false)));
        assert_eq!(arriving.next(true).await.unwrap(), Some((vec![], true)));
    }

    #[tokio::test]
    async fn nothing_is_gathered_beside_a_large_message() {
        let large = || Ok::<_, Error>(Piece::Data(vec![b'x'; 2 << 20].into()));
        let mut arriving = Arriving::new(stream::iter([large(), large()]));
        assert_eq!(arriving.next(true).await.unwrap().unwrap().0.len(), 1);
        // The next one is there at once.
        let work = async {
            tokio::task::yield_now().await;
            Ok(())
        };
        let done: Result<(), Error> = arriving.during(work).await;
        done.unwrap();
        assert_eq!(arriving.bytes, 0);
        assert_eq!(arriving.next(true).await.unwrap().unwrap().0.len(), 1);
    }

    #[tokio::test]
    async fn work_ends_when_its_client_is_wrong() {
        let mut arriving = Arriving::new(stream::iter([Err(Error::invalid("data", "is wrong"))]));
        let done: Result<(), Error> = arriving.during(std::future::pending()).await;
        assert!(matches!(done, Err(Error::Invalid(_))), "{done:?}");
    }

    #[tokio::test]
    async fn a_part_is_never_taken_for_the_whole() {
        let mut arriving = Arriving::new(stream::iter([data("a")]));
        assert_eq!(arriving.next(true).await.unwrap(), None);
    }
}
