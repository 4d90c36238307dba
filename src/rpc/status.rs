//! The one table from domain errors to `tonic::Status` with rich details.

use crate::error::{Error, Kind, Reason};
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// `ErrorInfo.domain` of every error.
const DOMAIN: &str = "sandshell";

/// All that a client reads of an error that it can do nothing about.
pub const INTERNAL_MESSAGE: &str = "internal error; the server's log has the cause under this request id";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        let message = error.to_string();
        let (code, reason, message) = match error {
            Error::Invalid(violations) => {
                details.set_bad_request(
                    violations.into_iter().map(|v| FieldViolation::new(v.field, v.description)).collect::<Vec<_>>(),
                );
                (Code::InvalidArgument, "INVALID_ARGUMENT", message)
            }
            Error::NotFound { kind, .. } => (Code::NotFound, not_found_reason(kind), message),
            Error::WrongState { reason, .. } => (Code::FailedPrecondition, reason_name(reason), message),
            Error::Exhausted { reason, .. } => (Code::ResourceExhausted, reason_name(reason), message),
            Error::Unreachable { retry_after, source, .. } => {
                tracing::warn!(error = %source, "{message}");
                details.set_retry_info(Some(retry_after));
                (Code::Unavailable, "SANDBOX_UNREACHABLE", message)
            }
            Error::Internal { source, .. } => {
                tracing::error!(error = %source, "{message}");
                (Code::Internal, "INTERNAL", INTERNAL_MESSAGE.to_owned())
            }
        };
        details.set_error_info(reason, DOMAIN, HashMap::new());
        Status::with_error_details(code, message, details)
    }
}

fn not_found_reason(kind: Kind) -> &'static str {
    match kind {
        Kind::Sandbox => "SANDBOX_NOT_FOUND",
        Kind::Session => "SESSION_NOT_FOUND",
        Kind::Command => "COMMAND_NOT_FOUND",
        Kind::Image => "IMAGE_NOT_FOUND",
    }
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::SessionClosed => "SESSION_CLOSED",
        Reason::SessionBusy => "SESSION_BUSY",
        Reason::CommandExited => "COMMAND_EXITED",
        Reason::QueueFull => "QUEUE_FULL",
        Reason::TooManySessions => "TOO_MANY_SESSIONS",
        Reason::TooManySandboxes => "TOO_MANY_SANDBOXES",
        Reason::RequestIdReused => "REQUEST_ID_REUSED",
        Reason::SandboxNotRunning => "SANDBOX_NOT_RUNNING",
        Reason::NotSupportedByHost => "NOT_SUPPORTED_BY_HOST",
        Reason::NotAllowed => "NOT_ALLOWED",
        Reason::SandboxOutOfResources => "SANDBOX_OUT_OF_RESOURCES",
    }
}
