//! What a client sends of a file or an archive. It is taken as much at one time as has come: to have another thread do something
//! costs more than a small piece does.

use crate::{
    api::v1::{ImportRequest, WriteRequest, import_request, write_request},
    error::Error,
};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};

/// Bytes that are taken at one time, unless one message has more.
const MOST: usize = 1 << 20;

/// What comes after the first message.
pub(super) trait Message: Send + 'static {
    /// The bytes of a message; `None` of the empty one, with which the server says that the client has sent all. Nothing else may come.
    fn data(self) -> Result<Option<Bytes>, Error>;
}

impl Message for WriteRequest {
    fn data(self) -> Result<Option<Bytes>, Error> {
        match self.request {
            Some(write_request::Request::Data(data)) => Ok(Some(data)),
            Some(write_request::Request::Open(_)) => Err(Error::invalid("open", "may only come first")),
            None => Ok(None),
        }
    }
}

impl Message for ImportRequest {
    fn data(self) -> Result<Option<Bytes>, Error> {
        match self.request {
            Some(import_request::Request::Data(data)) => Ok(Some(data)),
            Some(import_request::Request::Open(_)) => Err(Error::invalid("open", "may only come first")),
            None => Ok(None),
        }
    }
}

/// What follows the first message.
pub(super) struct Arriving<S> {
    messages: S,
    /// Whether all has come.
    is_all: bool,
}

impl<S> Arriving<S> {
    pub(super) fn new(messages: S) -> Self {
        Self { messages, is_all: false }
    }

    /// What is there, perhaps nothing, and whether that was the last. If `wait` says so, it is waited for. `None` when the client is gone
    /// before it has sent all.
    pub(super) async fn next<T, E>(&mut self, wait: bool) -> Result<Option<(Vec<Bytes>, bool)>, E>
    where
        S: Stream<Item = Result<T, E>> + Unpin,
        T: Message,
        E: From<Error>,
    {
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while !self.is_all && bytes < MOST {
            let message = if wait && pieces.is_empty() {
                self.messages.next().await
            } else {
                match self.messages.next().now_or_never() {
                    Some(message) => message,
                    None => break,
                }
            };
            let Some(message) = message else { return Ok(None) };
            match message?.data()? {
                Some(data) => {
                    bytes += data.len();
                    pieces.push(data);
                }
                None => self.is_all = true,
            }
        }
        Ok(Some((pieces, self.is_all)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures_util::stream;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    fn data(text: &'static str) -> Result<WriteRequest, Error> {
        Ok(WriteRequest { request: Some(write_request::Request::Data(text.into())) })
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
        send.send(Ok(WriteRequest::default())).await.unwrap();
        assert_eq!(arriving.next(true).await.unwrap(), Some((vec!["c".into()], true)));
    }

    #[tokio::test]
    async fn a_part_is_never_taken_for_the_whole() {
        let mut arriving = Arriving::new(stream::iter([data("a")]));
        assert_eq!(arriving.next(true).await.unwrap(), None);
    }
}
