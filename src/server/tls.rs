//! TLS: the server's own certificate, and whether clients must have one.

use crate::rpc::pem::{self, PemError, PemFile};
use std::{path::Path, time::Duration};
use tonic::transport::ServerTlsConfig;

/// How long a client may take to agree on encryption. It holds a connection and has not said who it is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server encrypts with.
#[derive(Debug, Clone)]
pub struct Tls(pub(super) ServerTlsConfig);

impl Tls {
    /// Reads the server's certificate and key. With `client_ca`, only clients with a certificate of that authority may
    /// connect.
    pub fn load(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, PemError> {
        let identity = pem::identity(
            PemFile { option: "--tls-cert", path: certificate },
            PemFile { option: "--tls-key", path: key },
        )?;
        let config = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE_TIMEOUT);
        let Some(path) = client_ca else { return Ok(Self(config)) };
        Ok(Self(config.client_ca_root(pem::authorities(PemFile { option: "--client-ca", path })?)))
    }
}
