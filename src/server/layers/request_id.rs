//! Every answer, errors too, carries `x-request-id`: the client's own if it sent a sane one, else a new one.

use super::call_log::CallRecord;
use crate::rpc::status;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};
use uuid::Builder;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken from a client; it goes into every log line of the request.
const MAX_LENGTH: usize = 128;
/// Longest part of a method's name in these lines. Ours are shorter, and anybody can send others.
const MAX_METHOD: usize = 128;

/// Puts [`RequestId`] around a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestIdLayer;

/// Gives each request an id, a span for its log lines, and each of gRPC's own errors details like ours.
#[derive(Debug, Clone)]
pub(super) struct RequestId<S>(S);

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestId<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestId(inner)
    }
}

impl<S, B, R> Service<Request<B>> for RequestId<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut id = request.headers().get(HEADER).filter(|id| is_sane(id)).cloned().unwrap_or_else(new_id);
        // Each is another one. HTTP/2 keeps what is not marked so in its tables, in the place of headers that come again.
        id.set_sensitive(true);
        let span = span(&id, request.uri().path());
        let record = CallRecord::begin(&span);
        let answer = span.in_scope(|| self.0.call(request));
        Box::pin(
            async move {
                let mut response = answer.await?;
                status::explain_response(&mut response);
                response.headers_mut().insert(HEADER, id);
                if let Some(record) = record {
                    record.look_at(response.headers());
                    // It lasts as long as what is sent back.
                    response.extensions_mut().insert(record);
                }
                Ok(response)
            }
            .instrument(span),
        )
    }
}

/// At level ERROR, because an error's line needs the id whatever else is logged. What is empty is filled in once it is known.
fn span(request_id: &HeaderValue, method: &str) -> Span {
    let request_id = request_id.to_str().unwrap_or_default();
    let method = &method[..method.floor_char_boundary(MAX_METHOD)];
    tracing::error_span!("rpc", request_id, method, tenant = field::Empty, id = field::Empty)
}

fn is_sane(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=MAX_LENGTH).contains(&bytes.len()) && bytes.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// A version 7 UUID. It need not be hard to guess, so its random bits are those of a keyed hash: the system's would take
/// two system calls for each request.
fn new_id() -> HeaderValue {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = KEYS.each_ref().map(|key| key.hash_one(count).to_be_bytes());
    let mut random = [0; 10];
    random[..8].copy_from_slice(&high);
    random[8..].copy_from_slice(&low[..2]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = Builder::from_unix_timestamp_millis(now.as_millis() as u64, &random).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};
    use uuid::Uuid;

    async fn answered(sent: Option<&[u8]>) -> String {
        let service = RequestIdLayer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
        let mut request = Request::new(());
        if let Some(sent) = sent {
            request.headers_mut().insert(HEADER, HeaderValue::from_bytes(sent).unwrap());
        }
        let response = service.oneshot(request).await.unwrap();
        response.headers()[HEADER].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_sane_id_comes_back_and_others_are_replaced() {
        assert_eq!(answered(Some(b"my id-1")).await, "my id-1");
        let long = [b'x'; 129];
        for sent in [None, Some(&b""[..]), Some(&b"caf\xc3\xa9"[..]), Some(&b"a\tb"[..]), Some(&long[..])] {
            let id = answered(sent).await;
            assert!(Uuid::parse_str(&id).is_ok(), "{id}");
        }
    }
}
