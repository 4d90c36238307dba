//! What the command line tells when it fails: what is wrong, and what to do.

use crate::{
    server::{DataDirError, ServerError},
    store::StoreError,
};
use std::{error::Error as _, io};
use tonic::{Code, Status};

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
    /// The server cannot start or go on.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The sandbox runtime cannot start.
    #[error("the {name} runtime cannot start: {reason}")]
    Runtime {
        /// Which.
        name: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// No server answers.
    #[error("no server answers at {url}: {reason}; start one with `sandshell serve`, or leave out --server")]
    Connect {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
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
    /// A domain error of the private server.
    #[error(transparent)]
    Domain(#[from] crate::error::Error),
}

impl CliError {
    pub(super) fn io(action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Io { action, source: source.into() }
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

fn explain(status: &Status) -> String {
    let request_id = status.metadata().get("x-request-id").and_then(|id| id.to_str().ok());
    if status.source().is_some() {
        return format!("the connection to the server broke: {}", status.message());
    }
    match (status.code(), request_id) {
        (Code::Internal | Code::Unknown, Some(id)) => format!("{} (request id {id})", status.message()),
        (Code::Unavailable, _) => format!("the server or the sandbox cannot be reached: {}", status.message()),
        _ => status.message().to_owned(),
    }
}
