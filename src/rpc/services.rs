//! All services of a server, found by their names, which are the first part of a call's path. Every call passes here, on its way through the
//! server and again in the agent, so it is a comparison of a few names and no more.

use http::{Request, Response};
use std::{
    convert::Infallible,
    fmt,
    future::ready,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Status, body::Body, codegen::BoxFuture, server::NamedService};
use tower::Service;

/// The longest part of a name that is told to whoever has called a service that is not here.
const MOST_NAME: usize = 128;

/// The answer of a service.
type Answer = BoxFuture<Response<Body>, Infallible>;

/// A service with its name.
pub struct Named {
    name: &'static str,
    service: Box<dyn Answering>,
}

/// A service that anybody may use at any time.
trait Answering: Send + Sync {
    fn answer(&self, request: Request<Body>) -> Answer;
}

impl<S> Answering for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer> + Clone + Send + Sync,
{
    fn answer(&self, request: Request<Body>) -> Answer {
        // The services that are generated are always ready, and their copies are the same service.
        self.clone().call(request)
    }
}

impl Named {
    /// A service under the name that its definition has.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self { name: S::NAME, service: Box::new(service) }
    }
}

/// All services. Cheap to clone.
#[derive(Clone)]
pub struct Services(Arc<[Named]>);

impl Services {
    /// These.
    pub fn new(services: impl IntoIterator<Item = Named>) -> Self {
        Self(services.into_iter().collect())
    }

    /// Answers a call.
    pub fn answer(&self, request: Request<Body>) -> Answer {
        let path = request.uri().path();
        let name = path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(name, _)| name);
        match self.0.iter().find(|named| named.name == name) {
            Some(named) => named.service.answer(request),
            None => {
                let message = format!("there is no service \"{}\" here", &name[..name.floor_char_boundary(MOST_NAME)]);
                Box::pin(ready(Ok(Status::unimplemented(message).into_http())))
            }
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|named| named.name)).finish()
    }
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        self.answer(request)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tonic::Code;

    #[derive(Clone)]
    struct Fixed(&'static str);

    impl Service<Request<Body>> for Fixed {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Answer;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Answer {
            Box::pin(ready(Ok(Status::aborted(self.0).into_http())))
        }
    }

    #[tokio::test]
    async fn a_call_reaches_the_service_that_it_names_and_no_other() {
        let named = |name: &'static str| Named { name, service: Box::new(Fixed(name)) };
        let services = Services::new([named("a.v1.One"), named("a.v1.OneMore")]);
        let answered = async |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = services.answer(request).await.unwrap();
            let status = Status::from_header_map(response.headers()).unwrap();
            (status.code() == Code::Aborted).then(|| status.message().to_owned())
        };
        assert_eq!(answered("/a.v1.One/Run").await.as_deref(), Some("a.v1.One"));
        assert_eq!(answered("/a.v1.OneMore/Run").await.as_deref(), Some("a.v1.OneMore"));
        for path in ["/", "/a.v1.One", "/a.v1.On/Run", "/a.v1.one/Run", "//a.v1.One/Run", "/x/a.v1.One/Run"] {
            assert_eq!(answered(path).await, None, "{path}");
        }
    }
}
