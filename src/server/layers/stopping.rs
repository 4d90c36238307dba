//! How a server stops: connections are told, streams end with a word, and a call that would not be answered in time is
//! told to try again.

use crate::error::Error;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

/// How long a call may take to be answered once the server stops. What is only begun is undone.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// The steps of stopping, each taken once.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Stopping(Arc<Steps>);

#[derive(Debug, Default)]
struct Steps {
    begun: CancellationToken,
    told: CancellationToken,
}

impl Stopping {
    /// The server stops: no new connections, and those that do nothing are closed.
    pub(in crate::server) fn begin(&self) {
        self.0.begun.cancel();
    }

    /// All streams were told how they end.
    pub(in crate::server) fn have_told(&self) {
        self.0.told.cancel();
    }

    /// Returns once the server stops.
    pub(in crate::server) async fn begun(&self) {
        self.0.begun.cancelled().await;
    }

    /// Returns once all streams were told.
    pub(in crate::server) async fn told(&self) {
        self.0.told.cancelled().await;
    }
}

/// Puts [`StopsInTime`] around a service.
#[derive(Debug, Clone)]
pub(super) struct StoppingLayer(pub(super) Stopping);

/// Answers calls for which a stopping server has no time left.
#[derive(Debug, Clone)]
pub(super) struct StopsInTime<S> {
    stopping: Stopping,
    inner: S,
}

impl<S> Layer<S> for StoppingLayer {
    type Service = StopsInTime<S>;

    fn layer(&self, inner: S) -> Self::Service {
        StopsInTime { stopping: self.0.clone(), inner }
    }
}

impl<S, B> Service<Request<B>> for StopsInTime<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let stopping = self.stopping.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let too_late = async {
                stopping.told().await;
                sleep(ANSWERED_WITHIN).await;
            };
            tokio::select! {
                biased;
                answer = answer => answer,
                // What the call was doing is dropped, and leaves nothing behind.
                () = too_late => Ok(Status::from(Error::stopping()).into_http()),
            }
        })
    }
}
