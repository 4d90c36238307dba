//! Who a client says it is, and whom it believes: its API key, and the certificates of both sides.

use super::error::CliError;
use crate::pem::{self, PemError, PemFile};
use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{self, Certificate, ClientTlsConfig, Identity},
};

/// A connection on which every call carries the key.
pub(super) type Channel = InterceptedService<transport::Channel, Bearer>;

/// What a client shows and believes. An empty variable counts as none: that is how scripts take one away.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Credentials {
    /// API key. Other users can see it in the list of processes; the environment variable is private
    #[arg(long, value_name = "KEY", env = "SANDSHELL_KEY", hide_env_values = true)]
    key: Option<Secret>,
    /// Authorities that the server's certificate is checked against, for https:// [default: the system's]
    #[arg(long, value_name = "FILE", env = "SANDSHELL_CA")]
    ca: Option<OsString>,
    /// Certificate to show to a server that asks for one
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// Private key of that certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
}

impl Credentials {
    /// What every call carries.
    pub(super) fn bearer(&self) -> Result<Bearer, CliError> {
        let Some(Secret(key)) = self.key.as_ref().filter(|key| !key.0.is_empty()) else { return Ok(Bearer(None)) };
        let value = MetadataValue::from_str(&format!("Bearer {key}"));
        // Without the key: this is printed.
        let mut value = value.map_err(|_| CliError::option("--key: is not a key; it looks like ssk_ID_SECRET"))?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }

    /// How to encrypt.
    pub(super) fn tls(&self) -> Result<ClientTlsConfig, CliError> {
        let mut config = match self.ca.as_ref().filter(|ca| !ca.is_empty()).map(Path::new) {
            Some(path) => {
                let authorities = pem::authorities(PemFile::of("--ca", path))?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let (Some(certificate), Some(key)) = (&self.cert, &self.cert_key) {
            let pair = pem::identity(PemFile::of("--cert", certificate), PemFile::of("--cert-key", key));
            let [certificate, key] = pair?;
            config = config.identity(Identity::from_pem(certificate, key));
        }
        Ok(config)
    }
}

impl From<PemError> for CliError {
    fn from(error: PemError) -> Self {
        Self::option(error.to_string())
    }
}

/// Puts the key, if there is one, on every call.
#[derive(Debug, Clone, Default)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A text that is never shown.
#[derive(Clone)]
struct Secret(String);

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
