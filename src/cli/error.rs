//! What the command line tells when it fails: what is wrong, and what to do.

use super::sending::InputLost;
use crate::{
    archive,
    data_dir::DataDirError,
    error::Error,
    server::{DoesNotFit, ServerError},
    store::StoreError,
};
use rustls::CertificateError;
use std::{error::Error as _, io, path::PathBuf};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// Options that are wrong or contradict each other: all of them.
    #[error("{}", .0.join("\nsandshell: "))]
    Options(Vec<String>),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are not enough descriptors for what is allowed.
    #[error(transparent)]
    Budget(#[from] DoesNotFit),
    /// The server cannot start or go on.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The sandbox runtime cannot start.
    #[error("the {name} runtime cannot start: {reason}")]
    Runtime {
        /// Which.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// No server answers.
    #[error(
        "no server answers at {url}: {reason}; start one with `sandshell serve`, or name another with --server or SANDSHELL_SERVER"
    )]
    Connect {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// There is something, but the two sides do not agree on encryption.
    #[error("no trusted connection to {url}: {reason}; {remedy}")]
    Tls {
        /// Where.
        url: String,
        /// Why.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A command cannot get the rest of its input.
    #[error(transparent)]
    InputLost(#[from] InputLost),
    /// The server refused.
    #[error("{}", explain(.0))]
    Refused(Box<Status>),
    /// The operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// An archive could not be packed or unpacked here.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// Something was copied, but not all.
    #[error("{} left out:\n  {}{}", if *.total == 1 { "1 entry was".to_owned() } else { format!("{total} entries were") }, .names.join("\n  "), if .names.len() < *.total as usize { "\n  …" } else { "" })]
    LeftOut {
        /// How many.
        total: u64,
        /// The first of them, each with the reason.
        names: Vec<String>,
    },
    /// What is to be taken out of a sandbox cannot go where it should.
    #[error("--export: {0}")]
    NoPlace(String),
    /// What was edited could not be written back.
    #[error("{why}; what you have written is in {}", .path.display())]
    Kept {
        /// Why not.
        why: String,
        /// Where the copy is.
        path: PathBuf,
    },
    /// The domain refused or failed, in this process.
    #[error("{}", explain_domain(.0))]
    Domain(#[from] Error),
}

impl CliError {
    pub(super) fn io(action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Io { action, source: source.into() }
    }

    /// A connection that did not come about, or broke before it carried anything.
    pub(super) fn connect(url: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let (url, reason) = (url.to_owned(), root_cause(error).to_string());
        match tls_error(error) {
            Some(error) => Self::Tls { url, reason, remedy: remedy(error) },
            None => Self::Connect { url, reason },
        }
    }

    pub(super) fn option(message: impl Into<String>) -> Self {
        Self::Options(vec![message.into()])
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

fn root_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    chain(error).last().unwrap_or(error)
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// What TLS did not like, if it was that: it travels inside an I/O error.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|error| error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref())
}

fn remedy(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "connect by a name that the certificate has, or give the server a certificate for this name",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "give the server a certificate that is valid now, or set the clock of this host right",
        rustls::Error::InvalidCertificate(_) => "name the authority that its certificate is of with --ca",
        rustls::Error::AlertReceived(_) => "if the server asks for a certificate, give one with --cert and --cert-key",
        // What the server answered is no TLS.
        rustls::Error::InvalidMessage(_) => {
            "the server speaks no TLS: write http:// instead of https:// in its address"
        }
        _ => "look which versions of TLS the server has, and whether it has any",
    }
}

/// With the cause, which a client of a server finds in that server's log only.
fn explain_domain(error: &Error) -> String {
    match error {
        Error::Internal { source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    }
}

fn explain(status: &Status) -> String {
    let request_id = status.metadata().get("x-request-id").and_then(|id| id.to_str().ok());
    if let Some(error) = status.source() {
        return format!("the connection to the server broke: {}; if it speaks TLS, use https://", root_cause(error));
    }
    match (status.code(), request_id) {
        (Code::Internal | Code::Unknown, Some(id)) => format!("{} (request id {id})", status.message()),
        (Code::Unauthenticated, _) => format!("{}; give a key with SANDSHELL_KEY or --key", status.message()),
        // With a reason it is the server that speaks, and it says what cannot be reached. Without one something in between does.
        (Code::Unavailable, _) if status.get_details_error_info().is_none() => {
            format!("the server cannot be reached: {}", status.message())
        }
        _ => status.message().to_owned(),
    }
}
