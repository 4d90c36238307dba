//! The calls of one connection, counted, on their way to the services.

use super::{
    call_log::CallRecord,
    intake::{self, Held, Intake, Memory},
    strangers::Visit,
    traffic::{Call, Traffic},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Status, body::Body};
use tower::ServiceExt;

/// What answers calls: all services, with the layers around them.
pub(super) trait CallService:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> CallService for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct Calls<S> {
    service: S,
    traffic: Arc<Traffic>,
    memory: Arc<Memory>,
}

impl<S> Calls<S> {
    pub(super) fn new(service: S, traffic: Arc<Traffic>, memory: Arc<Memory>) -> Self {
        Self { service, traffic, memory }
    }
}

impl<S: CallService> hyper::service::Service<Request<Incoming>> for Calls<S> {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (unanswered, call) = self.traffic.call();
        let held = Held::nothing(self.memory.clone(), self.traffic.clone());
        let largest = intake::largest(request.uri().path());
        let mut request = request.map(|body| Body::new(Intake::new(body, largest, held.clone())));
        request.extensions_mut().insert(self.traffic.clone());
        let answer = self.service.clone().oneshot(request);
        Box::pin(async move {
            let mut response = answer.await?;
            drop((unanswered, held));
            let visit = response.extensions_mut().remove::<Arc<Visit>>();
            let record = response.extensions_mut().remove::<Arc<CallRecord>>();
            Ok(response.map(|body| Answer { body, record, _call: call, _visit: visit }))
        })
    }
}

/// What is sent back. The call is over when it is dropped.
pub(super) struct Answer {
    body: Body,
    record: Option<Arc<CallRecord>>,
    _call: Call,
    _visit: Option<Arc<Visit>>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Some(record), Poll::Ready(Some(frame))) = (&self.record, &polled) {
            match frame {
                Ok(frame) => frame.trailers_ref().into_iter().for_each(|trailers| record.look_at(trailers)),
                Err(status) => record.ended_with(status),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
