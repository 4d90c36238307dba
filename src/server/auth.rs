//! Who makes a call: every one, but to the services that name nothing of anybody's, is let in here or refused.

use super::traffic::Traffic;
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
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::Span;

/// Whoever can connect may ask how the server is and what it speaks: load balancers and tools do so before they have a
/// key. All else needs one, methods that do not exist included.
const NEED_NO_KEY: [&str; 3] =
    ["/grpc.health.v1.Health/", "/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"];

/// Who is let in.
#[derive(Debug, Clone)]
pub(super) enum Access {
    /// Whoever can reach the server: it is reached from this process only.
    Anyone,
    /// Those whom a tenant's key names, or anybody while there are no keys.
    Tenants(Tenants),
}

impl Access {
    /// Who makes the call with these headers. The key is taken out of them: nobody else needs it, and no log may show it.
    async fn admit(&self, headers: &mut HeaderMap) -> Result<Caller, Error> {
        let Self::Tenants(tenants) = self else { return Ok(Caller::anyone()) };
        let key = take_key(headers)?;
        let caller = tenants.identify(key.as_deref()).await?;
        Span::current().record("tenant", caller.tenant());
        tenants.admit(&caller)?;
        Ok(caller)
    }
}

/// Who made this call.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> Caller {
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
        if NEED_NO_KEY.iter().any(|prefix| request.uri().path().starts_with(prefix)) {
            return Box::pin(self.inner.call(request));
        }
        let access = self.access.clone();
        // The one that was polled ready, and not the copy, is called.
        let copy = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, copy);
        Box::pin(async move {
            match access.admit(request.headers_mut()).await {
                Ok(caller) => {
                    if let Some(traffic) = request.extensions().get::<Arc<Traffic>>() {
                        traffic.now_known();
                    }
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(error) => Ok(Status::from(error).into_http()),
            }
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
