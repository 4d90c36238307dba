//! Who makes a call: every one, but to the services that name nothing of anybody's, is let in here or refused.

use super::{strangers::Strangers, traffic::Traffic};
use crate::{
    error::Error,
    tenant::{Caller, Tenants},
};
use futures_util::future::BoxFuture;
use http::{
    HeaderMap, Request, Response,
    header::{AUTHORIZATION, HeaderValue},
};
use std::{
    mem,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::Span;

/// Whoever can connect may ask how the server is and what it speaks: load balancers and tools do so before they have a
/// key. All else needs one, methods that do not exist included.
const NEED_NO_KEY: [&str; 3] =
    ["/grpc.health.v1.Health/", "/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"];

/// Whether a method is one of them.
pub(super) fn needs_no_key(path: &str) -> bool {
    NEED_NO_KEY.iter().any(|prefix| path.starts_with(prefix))
}

/// Who is let in.
#[derive(Debug, Clone)]
pub(in crate::server) enum Access {
    /// Whoever can reach the server: it is reached from this process only.
    Anyone,
    /// Those whom a tenant's key names, or anybody while there are no keys. Who is nobody may not ask often.
    Tenants(Tenants, Strangers),
}

impl Access {
    /// Who makes the call with these headers. The key is taken out of them: nobody else needs it, and no log may show it.
    async fn admit(&self, headers: &mut HeaderMap, traffic: &Traffic) -> Result<Caller, Error> {
        let Self::Tenants(tenants, strangers) = self else {
            traffic.now_known();
            return Ok(Caller::anyone());
        };
        let counted = AtomicBool::new(false);
        let ask = || {
            strangers.ask(traffic)?;
            counted.store(true, Relaxed);
            Ok(())
        };
        let identified = match take_key(headers) {
            Ok(key) => tenants.identify_if(key.as_deref(), ask).await,
            Err(error) => Err(error),
        };
        let caller = match identified {
            Ok(caller) => caller,
            Err(error @ Error::Unauthenticated { .. }) if !counted.load(Relaxed) => {
                strangers.ask(traffic)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        if counted.load(Relaxed) {
            strangers.are_known(traffic);
        }
        traffic.now_known();
        Span::current().record("tenant", caller.tenant());
        tenants.admit(&caller)?;
        Ok(caller)
    }
}

/// Who made this call.
pub(in crate::server) fn caller<T>(request: &tonic::Request<T>) -> Caller {
    request.extensions().get::<Caller>().cloned().unwrap_or_else(|| {
        // Every call comes through the layer. One that did not may see and do nothing.
        tracing::error!("a call was not identified");
        Caller::nobody()
    })
}

/// The key that was sent, if any.
fn take_key(headers: &mut HeaderMap) -> Result<Option<String>, Error> {
    let several = headers.get_all(AUTHORIZATION).iter().count() > 1;
    let Some(value) = headers.remove(AUTHORIZATION) else { return Ok(None) };
    match bearer(&value) {
        Some(key) if !several => Ok(Some(key)),
        _ => Err(Error::Unauthenticated { message: "the authorization metadata must be one `Bearer KEY`".to_owned() }),
    }
}

fn bearer(value: &HeaderValue) -> Option<String> {
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
}

/// Puts [`Auth`] around a service.
#[derive(Debug, Clone)]
pub(super) struct AuthLayer(pub(super) Access);

/// Lets only known callers through, and tells the service who they are.
#[derive(Debug, Clone)]
pub(super) struct Auth<S> {
    access: Access,
    inner: S,
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { access: self.0.clone(), inner }
    }
}

impl<S, B> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let traffic = request.extensions().get::<Arc<Traffic>>().cloned();
        // Every call comes by a connection. One that did not would be a stranger's.
        let traffic = traffic.unwrap_or_else(|| Arc::new(Traffic::new(Some(Ipv4Addr::UNSPECIFIED.into()))));
        if needs_no_key(request.uri().path()) {
            return self.visit(request, &traffic);
        }
        let access = self.access.clone();
        // The one that was polled ready, and not the copy, is called.
        let copy = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, copy);
        Box::pin(async move {
            match access.admit(request.headers_mut(), &traffic).await {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(error) => Ok(Status::from(error).into_http()),
            }
        })
    }
}

impl<S> Auth<S> {
    /// A call of whoever can connect: few at a time.
    fn visit<B>(
        &mut self,
        request: Request<B>,
        traffic: &Arc<Traffic>,
    ) -> BoxFuture<'static, Result<Response<Body>, S::Error>>
    where
        S: Service<Request<B>, Response = Response<Body>>,
        S::Future: Send + 'static,
        S::Error: 'static,
    {
        let Access::Tenants(_, strangers) = &self.access else { return Box::pin(self.inner.call(request)) };
        let visit = match strangers.visit(traffic) {
            Ok(visit) => Arc::new(visit),
            Err(error) => {
                let refusal = Status::from(error).into_http();
                return Box::pin(async { Ok(refusal) });
            }
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            // It lasts as long as what is sent back.
            response.extensions_mut().insert(visit);
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn a_key_is_taken_out_of_the_headers() {
        for sent in [&b"Bearer key"[..], b"bearer key", b"BEARER  key "] {
            let mut headers = headers(&[sent]);
            assert_eq!(take_key(&mut headers).unwrap().as_deref(), Some("key"));
            assert!(headers.is_empty());
        }
        assert_eq!(take_key(&mut HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn what_is_not_one_bearer_key_is_refused() {
        let wrong: [&[&[u8]]; 6] =
            [&[b""], &[b"key"], &[b"Basic a2V5"], &[b"Bearer"], &[b"Bearer k\xc3\xa9y"], &[b"Bearer a", b"Bearer b"]];
        for sent in wrong {
            assert!(matches!(take_key(&mut headers(sent)), Err(Error::Unauthenticated { .. })), "{sent:?}");
        }
    }

    #[test]
    fn a_call_that_was_not_identified_is_nobodys() {
        assert_eq!(caller(&tonic::Request::new(())), Caller::nobody());
    }
}
