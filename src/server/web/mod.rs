//! gRPC-Web, for programs that can only make requests as a browser does: which of them may call, and what their calls look like.
//!
//! Such a call differs from one of gRPC in its content type, and in that the trailers are the last piece of the body. So it is translated
//! where a connection hands its calls over, and everything behind that (keys, limits of messages, deadlines) holds for it too.

mod translate;

pub(super) use translate::{Encoding, WebBody};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN, TE,
        VARY,
    },
};
use std::sync::Arc;
use tonic::body::Body;

const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, grpc-timeout, x-grpc-web, x-request-id, x-user-agent");
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin, x-request-id");
/// How long a browser need not ask again, in seconds. Browsers take two hours at the most.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What is told to who speaks gRPC-Web to a server that does not, or HTTP/1.1 without gRPC-Web.
pub(super) const OFF: &str =
    "this server speaks gRPC, over HTTP/2, and no gRPC-Web; start it with --grpc-web for that\n";
const NOT_WEB: &str =
    "over HTTP/1.1 this server speaks gRPC-Web alone: POST with the content type application/grpc-web+proto\n";

/// Which pages may call the server by gRPC-Web. Programs that are no browser name no page, and may.
#[derive(Debug, Clone, Default)]
pub struct Web(Arc<Origins>);

#[derive(Debug, Default)]
struct Origins {
    any: bool,
    these: Vec<HeaderValue>,
}

/// What is not an origin.
#[derive(Debug, thiserror::Error)]
#[error(
    "--cors-origin {0:?}: must be `*` or an origin as browsers name it, such as https://app.example.com or http://localhost:3000"
)]
pub struct NotAnOrigin(String);

impl Web {
    /// With these origins: `*`, or a scheme, a host, and a port if it is not the usual one.
    pub fn new(origins: &[String]) -> Result<Self, NotAnOrigin> {
        let mut all = Origins::default();
        for origin in origins {
            if origin == "*" {
                all.any = true;
                continue;
            }
            let wrong = || NotAnOrigin(origin.clone());
            let uri: Uri = origin.parse().map_err(|_| wrong())?;
            let host = uri.authority().map(|authority| authority.as_str()).filter(|host| !host.contains('@'));
            match (uri.scheme_str(), host) {
                (Some(scheme @ ("http" | "https")), Some(host)) if *origin == format!("{scheme}://{host}") => {
                    all.these.push(origin.to_ascii_lowercase().parse().map_err(|_| wrong())?);
                }
                _ => return Err(wrong()),
            }
        }
        Ok(Self(Arc::new(all)))
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.0.any || self.0.these.contains(origin)
    }
}

/// What a request is.
pub(super) enum Kind {
    /// gRPC.
    Grpc,
    /// gRPC-Web, and what its answer needs besides.
    Web(Answering),
    /// Neither. It is answered with this.
    Answered(Response<Body>),
}

/// How a call of gRPC-Web is answered.
pub(super) struct Answering {
    pub(super) encoding: Encoding,
    origin: Option<HeaderValue>,
}

/// What a request is, on a server that speaks gRPC-Web or does not.
pub(super) fn kind<B>(web: Option<&Web>, request: &Request<B>) -> Kind {
    let headers = request.headers();
    let encoding = Encoding::of(headers);
    let Some(web) = web else {
        return match encoding {
            Some(_) => say(StatusCode::UNSUPPORTED_MEDIA_TYPE, OFF.to_owned()),
            None => Kind::Grpc,
        };
    };
    let asks = request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if asks || encoding.is_some() {
        let origin = headers.get(ORIGIN);
        if let Some(origin) = origin
            && !web.allows(origin)
        {
            let origin: String = String::from_utf8_lossy(origin.as_bytes()).chars().take(200).collect();
            let words = format!("pages of {origin} may not call this server; allow them with --cors-origin {origin}\n");
            return say(StatusCode::FORBIDDEN, words);
        }
        if asks {
            return Kind::Answered(preflight(origin));
        }
    }
    match encoding {
        Some(encoding) if request.method() == Method::POST => {
            Kind::Web(Answering { encoding, origin: headers.get(ORIGIN).cloned() })
        }
        Some(_) => say(StatusCode::METHOD_NOT_ALLOWED, NOT_WEB.to_owned()),
        None if request.version() >= Version::HTTP_2 => Kind::Grpc,
        None => say(StatusCode::UNSUPPORTED_MEDIA_TYPE, NOT_WEB.to_owned()),
    }
}

fn say(status: StatusCode, words: String) -> Kind {
    let mut response = Response::new(Body::new(words));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN_TEXT);
    Kind::Answered(response)
}

/// The answer to a browser that asks whether a page may call.
fn preflight(origin: Option<&HeaderValue>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow(headers, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

fn allow(headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
    headers.insert(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

/// Makes the head of a request one of gRPC.
pub(super) fn as_grpc<B>(request: &mut Request<B>) {
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.remove(HeaderName::from_static("content-length"));
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(TE, TRAILERS);
}

impl Answering {
    /// Makes the head of an answer one of gRPC-Web, which the page may read.
    pub(super) fn head<B>(&self, response: &mut Response<B>) {
        *response.version_mut() = Version::default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.encoding.content_type());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        allow(headers, self.origin.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_browsers_send() {
        let right = ["*", "https://app.example.com", "http://localhost:3000", "http://[::1]:3000"];
        assert!(Web::new(&right.map(str::to_owned)).is_ok());
        for wrong in ["", "app.example.com", "https://a/", "https://a/b", "ftp://a", "https://u@a", "null", "https://"]
        {
            assert!(Web::new(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_is_of_one_kind() {
        let web = Web::new(&["https://a".to_owned()]).unwrap();
        let kind = |web: Option<&Web>, method: &str, headers: &[(&str, &str)], version| {
            let request =
                headers.iter().fold(Request::builder().method(method).version(version), |all, (name, value)| {
                    all.header(*name, *value)
                });
            match kind(web, &request.body(()).unwrap()) {
                Kind::Grpc => "gRPC".to_owned(),
                Kind::Web(_) => "web".to_owned(),
                Kind::Answered(response) => response.status().as_u16().to_string(),
            }
        };
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let (grpc, binary) = (("content-type", "application/grpc"), ("content-type", "application/grpc-web+proto"));
        let asks = ("access-control-request-method", "POST");
        assert_eq!(kind(None, "POST", &[grpc], two), "gRPC");
        assert_eq!(kind(None, "POST", &[binary], two), "415");
        assert_eq!(kind(Some(&web), "POST", &[grpc], two), "gRPC");
        assert_eq!(kind(Some(&web), "POST", &[grpc], one), "415");
        assert_eq!(kind(Some(&web), "GET", &[], one), "415");
        for version in [one, two] {
            assert_eq!(kind(Some(&web), "POST", &[binary], version), "web");
            assert_eq!(kind(Some(&web), "GET", &[binary], version), "405");
            assert_eq!(kind(Some(&web), "POST", &[binary, ("origin", "https://a")], version), "web");
            assert_eq!(kind(Some(&web), "POST", &[binary, ("origin", "https://b")], version), "403");
            assert_eq!(kind(Some(&web), "OPTIONS", &[asks, ("origin", "https://a")], version), "204");
            assert_eq!(kind(Some(&web), "OPTIONS", &[asks, ("origin", "null")], version), "403");
        }
    }
}
