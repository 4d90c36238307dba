//! The calls of one connection, counted, on their way to the services.

use super::{
    call_log::CallRecord,
    intake::{self, Held, Intake, Memory},
    strangers::Visit,
    traffic::{Call, Traffic},
};
use crate::server::web::{self, Encoding, Kind, Web, WebBody};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, Version};
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
pub(in crate::server) trait CallService:
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
pub(in crate::server) struct Calls<S> {
    service: S,
    traffic: Arc<Traffic>,
    memory: Arc<Memory>,
    web: Option<Web>,
}

impl<S> Calls<S> {
    pub(in crate::server) fn new(service: S, traffic: Arc<Traffic>, memory: Arc<Memory>, web: Option<Web>) -> Self {
        Self { service, traffic, memory, web }
    }
}

impl<S: CallService> hyper::service::Service<Request<Incoming>> for Calls<S> {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (unanswered, call) = self.traffic.call();
        let web = match web::kind(self.web.as_ref(), &request) {
            Kind::Grpc => None,
            Kind::Web(answering) => Some(answering),
            Kind::Answered(response) => {
                let answer = |body| Answer { body, record: None, encoding: None, _call: call, _visit: None };
                return Box::pin(std::future::ready(Ok(response.map(answer))));
            }
        };
        let held = Held::nothing(self.memory.clone(), self.traffic.clone());
        let largest = intake::largest(request.uri().path());
        let mut request = match &web {
            None => request.map(|body| Body::new(Intake::new(body, largest, held.clone()))),
            Some(answering) => {
                let end_is_sure = request.version() < Version::HTTP_2;
                web::as_grpc(&mut request);
                let encoding = answering.encoding;
                request.map(|body| {
                    Body::new(Intake::new(WebBody::new(body, encoding, end_is_sure), largest, held.clone()))
                })
            }
        };
        request.extensions_mut().insert(self.traffic.clone());
        let answer = self.service.clone().oneshot(request);
        Box::pin(async move {
            let mut response = answer.await?;
            drop((unanswered, held));
            let visit = response.extensions_mut().remove::<Arc<Visit>>();
            let record = response.extensions_mut().remove::<Arc<CallRecord>>();
            if let Some(answering) = &web {
                answering.head(&mut response);
            }
            let encoding = web.map(|answering| answering.encoding);
            Ok(response.map(|body| Answer { body, record, encoding, _call: call, _visit: visit }))
        })
    }
}

/// What is sent back. The call is over when it is dropped.
pub(in crate::server) struct Answer {
    body: Body,
    record: Option<Arc<CallRecord>>,
    /// As what of gRPC-Web it is sent.
    encoding: Option<Encoding>,
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
        match self.encoding {
            None => polled,
            Some(encoding) => polled.map(|frame| frame.map(|frame| frame.map(|frame| encoding.encode(frame)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.encoding.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}
