//! Refuses to serve on an address that others can reach unless they need a key, and nobody on the way can read it.

use super::{config::Config, error::CliError};
use crate::tenant::Tenants;

/// Says all that is missing, and how to get it.
pub(super) async fn check(config: &Config, tenants: &Tenants) -> Result<(), CliError> {
    if config.listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let has_keys = tenants.has_keys().await?;
    if config.insecure {
        if !has_keys {
            tracing::warn!("anyone who can reach {} may run commands on this host: there are no keys", config.listen);
        }
        return Ok(());
    }
    let mut missing = Vec::new();
    if !has_keys {
        missing.push("no API key (make one: `sandshell key create --tenant NAME`, with the same --data-dir)");
    }
    if config.tls.is_none() {
        missing.push("no TLS (--tls-cert FILE --tls-key FILE)");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(CliError::option(format!(
        "--listen {}: others can reach this address, and the server has {}; give it what is missing, listen on \
         127.0.0.1, or pass --insecure if the network protects it",
        config.listen,
        missing.join(" and ")
    )))
}
