//! TLS to a daemon, with the files that Docker's tools use: `ca.pem`, `cert.pem` and `key.pem` in one folder.

use crate::{
    pem::{self, PemError, PemFile},
    runtime::RuntimeError,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::SingleCertAndKey,
};
use std::{error::Error, fmt, io, path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How a daemon's certificate is checked, and which one it is shown.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    /// What to look at when the two sides do not agree.
    from: String,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.from)
    }
}

impl Tls {
    /// From `DOCKER_CERT_PATH`. Only who verifies needs an authority.
    pub(super) fn load(folder: &Path, verify: bool) -> Result<Self, RuntimeError> {
        let roots = if verify { Some(pem::roots(PemFile::at(&folder.join("ca.pem")))?) } else { None };
        Self::new(roots, Some(folder))
    }

    /// From a context, where each file may be missing: without an authority of its own, the system's count.
    pub(super) fn of_context(folder: &Path, verify: bool) -> Result<Self, RuntimeError> {
        let ca = folder.join("ca.pem");
        let roots = match verify {
            true if ca.exists() => Some(pem::roots(PemFile::at(&ca))?),
            true => Some(system_authorities()?),
            false => None,
        };
        Self::new(roots, Some(folder))
    }

    /// Encrypted, to whoever it is.
    pub(super) fn without_certificates() -> Result<Self, RuntimeError> {
        Self::new(None, None)
    }

    fn new(roots: Option<RootCertStore>, folder: Option<&Path>) -> Result<Self, RuntimeError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong("TLS", error))?;
        let builder = match roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        };
        let (mut config, mut from) = (None, "no certificates".to_owned());
        if let Some(folder) = folder {
            let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
            from = format!("the certificates in {}", folder.display());
            // One without the other is a mistake, which the daemon would only call a missing certificate.
            if certificate.exists() || key.exists() {
                let pair = pem::pair(PemFile::at(&certificate), PemFile::at(&key))?;
                config = Some(builder.clone().with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))));
            } else {
                from += ", where no cert.pem and key.pem are to be shown";
            }
        }
        Ok(Self { config: Arc::new(config.unwrap_or_else(|| builder.with_no_client_auth())), from })
    }

    /// Encrypts a connection to `host`.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.config.clone()).connect(name, stream).await
    }
}

/// Whether a connection failed because the two sides do not trust or understand each other.
pub(super) fn is_disagreement(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<TlsError>())
}

fn wrong(what: impl fmt::Display, why: impl fmt::Display) -> RuntimeError {
    RuntimeError::Option(format!("{what}: {why}"))
}

/// What is wrong with a file says all that there is to say.
impl From<PemError> for RuntimeError {
    fn from(error: PemError) -> Self {
        Self::Option(error.to_string())
    }
}

fn system_authorities() -> Result<RootCertStore, RuntimeError> {
    let mut roots = RootCertStore::empty();
    // Some of a system's certificates may be of a kind that nobody uses any more.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(wrong("TLS", "neither the context nor this system has an authority to check the daemon with"));
    }
    Ok(roots)
}

/// Lets anybody's certificate do, as `DOCKER_TLS` and a context's `SkipTLSVerify` want it. Only that its owner holds the key
/// is checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
