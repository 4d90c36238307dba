//! Certificates and keys in PEM files. They are looked at before they are used: rustls skips or refuses what is wrong
//! without a word about the file it came from.

use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::{fs, io, path::Path};

/// A file, and the option that names it.
#[derive(Debug, Clone, Copy)]
pub struct PemFile<'a> {
    option: Option<&'static str>,
    path: &'a Path,
}

/// What is wrong with a file, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("{file}: cannot be read: {source}; name a PEM file that this user may read")]
    Read {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// It holds no certificate.
    #[error("{file}: has no certificate; it must be a PEM file with `-----BEGIN CERTIFICATE-----` in it")]
    NoCertificate {
        /// Which.
        file: String,
    },
    /// A certificate in it is broken.
    #[error("{file}: has a certificate that cannot be used: {source}")]
    BadCertificate {
        /// Which.
        file: String,
        /// Why.
        source: rustls::Error,
    },
    /// It holds no private key.
    #[error("{file}: has no private key; it must be a PEM file with a PKCS#8, PKCS#1 or SEC1 key and no passphrase")]
    NoKey {
        /// Which.
        file: String,
    },
    /// Its key is of a kind that is not supported.
    #[error("{file}: has a key that cannot be used: {source}; make an ECDSA (P-256), Ed25519 or RSA (2048) key")]
    BadKey {
        /// Which.
        file: String,
        /// Why.
        source: rustls::Error,
    },
    /// Key and certificate are not a pair.
    #[error("{key} is not the key of the certificate in {certificate}; name a pair that was made together")]
    Mismatch {
        /// The key's file.
        key: String,
        /// The certificate's file.
        certificate: String,
    },
}

impl<'a> PemFile<'a> {
    /// One that an option names, as it is typed: `--tls-cert`.
    pub fn of(option: &'static str, path: &'a Path) -> Self {
        Self { option: Some(option), path }
    }

    /// One that is looked for where it belongs.
    pub fn at(path: &'a Path) -> Self {
        Self { option: None, path }
    }

    fn name(&self) -> String {
        let path = self.path.display();
        self.option.map_or_else(|| path.to_string(), |option| format!("{option} {path}"))
    }

    fn read(&self) -> Result<Vec<u8>, PemError> {
        fs::read(self.path).map_err(|source| PemError::Read { file: self.name(), source })
    }
}

/// The certificates of authorities, as text.
pub fn authorities(file: PemFile<'_>) -> Result<Vec<u8>, PemError> {
    let pem = file.read()?;
    roots_in(file, &pem)?;
    Ok(pem)
}

/// The certificates of authorities, as rustls takes them.
pub fn roots(file: PemFile<'_>) -> Result<RootCertStore, PemError> {
    roots_in(file, &file.read()?)
}

fn roots_in(file: PemFile<'_>, pem: &[u8]) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, pem)? {
        roots.add(certificate).map_err(|source| PemError::BadCertificate { file: file.name(), source })?;
    }
    Ok(roots)
}

/// A certificate, with those that lead to its authority after it, and its key, as text.
pub fn identity(certificate: PemFile<'_>, key: PemFile<'_>) -> Result<[Vec<u8>; 2], PemError> {
    let (certificate_pem, key_pem) = (certificate.read()?, key.read()?);
    pair_in(certificate, &certificate_pem, key, &key_pem)?;
    Ok([certificate_pem, key_pem])
}

/// A certificate, with those that lead to its authority after it, and its key, as rustls takes them.
pub fn pair(certificate: PemFile<'_>, key: PemFile<'_>) -> Result<CertifiedKey, PemError> {
    pair_in(certificate, &certificate.read()?, key, &key.read()?)
}

fn pair_in(
    certificate: PemFile<'_>,
    certificate_pem: &[u8],
    key: PemFile<'_>,
    key_pem: &[u8],
) -> Result<CertifiedKey, PemError> {
    let chain = certificates(certificate, certificate_pem)?;
    let private = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| PemError::NoKey { file: key.name() })?;
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => PemError::Mismatch { key: key.name(), certificate: certificate.name() },
        source @ rustls::Error::InvalidCertificate(_) => PemError::BadCertificate { file: certificate.name(), source },
        source => PemError::BadKey { file: key.name(), source },
    })
}

/// All certificates in a file; there is at least one.
fn certificates(file: PemFile<'_>, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| PemError::NoCertificate { file: file.name() })
}
