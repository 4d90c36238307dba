//! A caller's deadline (`grpc-timeout`): its answer is given while there is still somebody to hear it.

use crate::rpc::transport::DEFAULT_TIMEOUT;
use futures_util::future::{BoxFuture, Either};
use http::{HeaderMap, Request, Response};
use std::{
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

const HEADER: &str = "grpc-timeout";
/// How long before its deadline a call is answered that is not finished; of a short time, a tenth. The transport would
/// answer at the deadline itself, without a request id and without details.
const AHEAD: Duration = Duration::from_millis(5);
/// More digits than gRPC allows.
const TOO_MANY_DIGITS: usize = 9;

/// How much sooner an agent must answer, so that its answer is here before that; of a short time, a fifth.
const AHEAD_OF_AGENT: Duration = Duration::from_millis(50);

/// When a call with a deadline is answered, finished or not: an extension of the request.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct AnswerBy(pub(in crate::server) Instant);

impl AnswerBy {
    /// Of a request, when its caller has said so.
    pub(in crate::server) fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get().copied()
    }

    /// How soon an agent that is asked now must answer.
    pub(in crate::server) fn within(self) -> Duration {
        let left = self.0.saturating_duration_since(Instant::now());
        left - AHEAD_OF_AGENT.min(left / 5)
    }
}

/// A start for an agent, with the time-out that the operator wants for those who ask for none.
pub(in crate::server) fn with_default_timeout<T>(
    timeout: Option<Duration>,
    mut request: tonic::Request<T>,
) -> tonic::Request<T> {
    if let Some(timeout) = timeout {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        request.metadata_mut().insert(DEFAULT_TIMEOUT, millis.into());
    }
    request
}

/// Puts [`Deadline`] around a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadlineLayer;

/// Answers a call in time.
#[derive(Debug, Clone)]
pub(super) struct Deadline<S>(S);

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline(inner)
    }
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(deadline) = timeout(request.headers()) else { return Either::Left(self.0.call(request)) };
        let budget = deadline - AHEAD.min(deadline / 10);
        if let Some(by) = Instant::now().checked_add(budget) {
            request.extensions_mut().insert(AnswerBy(by));
        }
        let answer = self.0.call(request);
        Either::Right(Box::pin(async move {
            // What the call was doing is dropped, and leaves nothing behind.
            tokio::time::timeout(budget, answer).await.unwrap_or_else(|_| {
                let status = Status::deadline_exceeded("the call was not finished within the time that it was given");
                Ok(status.into_http())
            })
        }))
    }
}

/// The time that a caller gives a call. What cannot be read counts as none.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(HEADER)?.to_str().ok()?;
    let unit = value.chars().last()?;
    let digits = &value[..value.len() - unit.len_utf8()];
    let count: u64 = digits.parse().ok().filter(|_| digits.len() < TOO_MANY_DIGITS)?;
    match unit {
        'H' => Some(Duration::from_secs(count * 3600)),
        'M' => Some(Duration::from_secs(count * 60)),
        'S' => Some(Duration::from_secs(count)),
        'm' => Some(Duration::from_millis(count)),
        'u' => Some(Duration::from_micros(count)),
        'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tokio::time::sleep;
    use tower::{ServiceExt, service_fn};

    async fn answered_in(given: &str, takes: Duration) -> (Option<tonic::Code>, Duration) {
        let service = service_fn(move |_: Request<()>| async move {
            sleep(takes).await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let request = Request::builder().header(HEADER, given).body(()).unwrap();
        let start = Instant::now();
        let response = DeadlineLayer.layer(service).oneshot(request).await.unwrap();
        (Status::from_header_map(response.headers()).map(|status| status.code()), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_comes_before_the_deadline() {
        let long = Duration::from_secs(10);
        let (code, time) = answered_in("100m", long).await;
        assert_eq!(code, Some(tonic::Code::DeadlineExceeded));
        assert!(time >= Duration::from_millis(95) && time < Duration::from_millis(100), "{time:?}");
        assert!(answered_in("5m", long).await.1 < Duration::from_millis(6));
        assert_eq!(answered_in("1H", long).await, (None, long));
        for odd in ["", "5", "m", "123456789S", "5x", "-1S", "5ü"] {
            assert_eq!(answered_in(odd, long).await, (None, long), "{odd}");
        }
    }
}
