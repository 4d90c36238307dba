//! A body that gRPC has not read. Each message of a stream is copied when gRPC takes it, and copied again when it is sent on; those of a
//! file need neither. So the body of such a call is handed to its method as it is, beside the request, and a body may be given to
//! a call to another program in the same way. All else of these calls is gRPC's as always.

use crate::sync::lock;
use futures_util::stream::{Empty, empty};
use http::{Request, Response};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tonic::{body::Body, codegen::BoxFuture, server::NamedService};
use tower::Service;

/// A body beside its request, until somebody takes it.
#[derive(Debug, Clone)]
pub struct Unread(Arc<Mutex<Option<Body>>>);

impl Unread {
    /// To be added to a request's extensions.
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    /// The body that is beside a request; an empty one if there is none.
    pub fn take(extensions: &tonic::Extensions) -> Body {
        extensions.get::<Self>().and_then(|Self(body)| lock(body).take()).unwrap_or_default()
    }
}

/// A request of a streaming method that is sent with this body, by way of [`Sending`].
pub fn request_with<T>(body: Body) -> tonic::Request<Empty<T>> {
    let mut request = tonic::Request::new(empty());
    request.extensions_mut().insert(Unread::new(body));
    request
}

/// A service whose streaming methods find the bodies of their calls beside the requests, and nothing in the streams.
#[derive(Debug, Clone)]
pub struct Unreading<S> {
    service: S,
    /// The names of these methods.
    methods: &'static [&'static str],
}

impl<S> Unreading<S> {
    /// A service with such methods.
    pub fn new(service: S, methods: &'static [&'static str]) -> Self {
        Self { service, methods }
    }
}

impl<S: NamedService> NamedService for Unreading<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Unreading<S>
where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future = BoxFuture<Response<Body>, Infallible>,
        >,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        if self.methods.contains(&method) {
            let body = std::mem::take(request.body_mut());
            request.extensions_mut().insert(Unread::new(body));
        }
        self.service.call(request)
    }
}

/// What sends requests, each with the body that is beside it, if there is one.
#[derive(Debug, Clone)]
pub struct Sending<S>(pub S);

impl<S: Service<Request<Body>>> Service<Request<Body>> for Sending<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(beside) = request.extensions_mut().remove::<Unread>() {
            *request.body_mut() = lock(&beside.0).take().unwrap_or_default();
        }
        self.0.call(request)
    }
}
