//! A client that speaks without TLS to a server that has it, or the reverse, is told what to write instead. Otherwise it would only see
//! that the connection ends.

use super::{
    first_bytes::{Read, Spoken, recognize},
    refusal::{say, say_in_http1},
};
use crate::{
    error::{Error, Reason},
    rpc::lanes::Executor,
};
use hyper::server::conn::http2;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What a client without TLS is told.
const WITH_TLS: &str = "this server speaks TLS only: write https:// instead of http:// in its address";
/// What a client with TLS is told. Its library does not show it, but knows by it that no TLS is spoken here.
const WITHOUT_TLS: &str = "this server speaks no TLS: write http:// instead of https:// in its address";

/// How long a client may take to agree on encryption.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that speaks no TLS may take to call something and to hear the answer.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Agrees on encryption with a client. `None`: it speaks no TLS, and was told so.
pub(super) async fn agree<IO>(
    tls: &TlsAcceptor,
    http: &http2::Builder<Executor>,
    io: IO,
) -> io::Result<Option<TlsStream<Read<IO>>>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let agreed = timeout(HANDSHAKE_TIMEOUT, async {
        let (spoken, io) = recognize(io).await?;
        Ok::<_, io::Error>(match spoken {
            Spoken::Tls => Ok(tls.accept(io).await?),
            spoken => Err((spoken, io)),
        })
    });
    let (spoken, io) = match agreed.await?? {
        Ok(io) => return Ok(Some(io)),
        Err(plain) => plain,
    };
    // Whether anybody hears it makes no difference.
    let heard = timeout(HEARD_WITHIN, async {
        match spoken {
            Spoken::Http1 => say_in_http1(io, "400 Bad Request", WITH_TLS).await,
            _ => say(http, io, wants_tls()).await,
        }
    });
    drop(heard.await);
    Ok(None)
}

/// Tells a client with TLS that none is spoken here.
pub(super) async fn say_that_there_is_no_tls(io: impl AsyncRead + AsyncWrite + Unpin) {
    drop(timeout(HEARD_WITHIN, say_in_http1(io, "400 Bad Request", WITHOUT_TLS)).await);
}

fn wants_tls() -> Error {
    Error::WrongState { reason: Reason::TlsRequired, message: WITH_TLS.to_owned() }
}
