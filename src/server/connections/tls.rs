//! TLS: the server's own certificate, and whether clients must have one.

use crate::pem::{self, PemError, PemFile};
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
};
use std::{path::Path, sync::Arc};
use tokio_rustls::TlsAcceptor;

/// What gRPC is called when client and server agree on a protocol.
const HTTP2: &[u8] = b"h2";

/// And what gRPC-Web may be called.
const HTTP1: &[u8] = b"http/1.1";

/// What a server encrypts with.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Why a server cannot encrypt.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The authority of the clients cannot be used.
    #[error("--client-ca: {0}")]
    ClientAuthority(#[from] rustls::client::VerifierBuilderError),
    /// rustls has no version of the protocol that works with these.
    #[error("TLS: {0}")]
    Protocol(#[from] rustls::Error),
}

impl Tls {
    /// Reads the server's certificate and key. With `client_ca`, only clients with a certificate of that authority may
    /// connect.
    pub fn load(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let pair = pem::pair(PemFile::of("--tls-cert", certificate), PemFile::of("--tls-key", key))?;
        let provider = Arc::new(ring::default_provider());
        let clients: Arc<dyn ClientCertVerifier> = match client_ca {
            None => Arc::new(NoClientAuth),
            Some(path) => {
                let roots = Arc::new(pem::roots(PemFile::of("--client-ca", path))?);
                WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols.push(HTTP2.to_vec());
        Ok(Self(Arc::new(config)))
    }

    /// What agrees with clients on encryption, and on the protocol: also on HTTP/1.1, if gRPC-Web is spoken.
    pub(in crate::server) fn acceptor(&self, speaks_web: bool) -> TlsAcceptor {
        let mut config = self.0.clone();
        if speaks_web {
            Arc::make_mut(&mut config).alpn_protocols.push(HTTP1.to_vec());
        }
        TlsAcceptor::from(config)
    }
}
