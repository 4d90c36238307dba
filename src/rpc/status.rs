//! The one table from domain errors to `tonic::Status` with rich details.

use crate::error::{Error, Kind, Reason};
use http::HeaderMap;
use std::{collections::HashMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// `ErrorInfo.domain` of every error.
const DOMAIN: &str = "sandshell";

/// When to try again what the server could not do for a while.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// All that a client reads of an error that it can do nothing about.
pub const INTERNAL_MESSAGE: &str = "internal error; the server's log has the cause under this request id";

/// Most violations in one answer, and most characters of its message: clients bound headers to 8 KiB, in which all of it
/// must fit.
const MAX_VIOLATIONS: usize = 20;
const MAX_MESSAGE: usize = 1024;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let error = bounded(error);
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
            Error::Exhausted { reason, retry_after, .. } => {
                if retry_after.is_some() {
                    details.set_retry_info(retry_after);
                }
                (Code::ResourceExhausted, reason_name(reason), message)
            }
            Error::Unauthenticated { .. } => (Code::Unauthenticated, "UNAUTHENTICATED", message),
            Error::Unavailable { reason, .. } => {
                details.set_retry_info(Some(RETRY_AFTER));
                (Code::Unavailable, reason_name(reason), message)
            }
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
        Status::with_error_details(code, message.chars().take(MAX_MESSAGE).collect::<String>(), details)
    }
}

/// Gives an error that gRPC itself made, before or beside our handlers, a code and details like ours.
pub fn explain(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let message = status.message();
    match status.code() {
        Code::OutOfRange if message.contains("message length too large") => {
            let message = format!("the message is larger than {} bytes", super::transport::MAX_MESSAGE_BYTES);
            Error::exhausted(Reason::MessageTooLarge, message).into()
        }
        // What cannot be decoded is the client's mistake, not ours.
        Code::Internal if is_about_decoding(message) => Error::invalid("message", "is not valid protobuf").into(),
        Code::Internal => Error::internal("gRPC", status.message()).into(),
        code => {
            let details = ErrorDetails::with_error_info(code_name(code), DOMAIN, HashMap::new());
            Status::with_error_details(code, message, details)
        }
    }
}

/// [`explain`] for the headers of a response, if they hold an error.
pub fn explain_headers(headers: &mut HeaderMap) {
    const STATUS: &str = "grpc-status";
    if headers.get(STATUS).is_none_or(|code| code == "0") || headers.contains_key("grpc-status-details-bin") {
        return;
    }
    if let Some(status) = Status::from_header_map(headers) {
        // It only fails for metadata that is not ours.
        drop(explain(Status::new(status.code(), status.message())).add_header(headers));
    }
}

fn is_about_decoding(message: &str) -> bool {
    ["failed to decode Protobuf", "protocol error", "Missing request message", "Unexpected EOF"]
        .iter()
        .any(|part| message.contains(part))
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn bounded(error: Error) -> Error {
    match error {
        Error::Invalid(mut violations) => {
            violations.truncate(MAX_VIOLATIONS);
            Error::Invalid(violations)
        }
        error => error,
    }
}

fn not_found_reason(kind: Kind) -> &'static str {
    match kind {
        Kind::Sandbox => "SANDBOX_NOT_FOUND",
        Kind::Session => "SESSION_NOT_FOUND",
        Kind::Command => "COMMAND_NOT_FOUND",
        Kind::Image => "IMAGE_NOT_FOUND",
        Kind::Tenant => "TENANT_NOT_FOUND",
        Kind::Key => "KEY_NOT_FOUND",
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
        Reason::MessageTooLarge => "MESSAGE_TOO_LARGE",
        Reason::ServerStopping => "SERVER_STOPPING",
        Reason::TooMuchMemory => "TOO_MUCH_MEMORY",
        Reason::TooManyRequests => "TOO_MANY_REQUESTS",
        Reason::TooManyConnections => "TOO_MANY_CONNECTIONS",
        Reason::TooManyCreations => "TOO_MANY_CREATIONS",
        Reason::OnOtherServer => "ON_OTHER_SERVER",
        Reason::OnOtherRuntime => "ON_OTHER_RUNTIME",
        Reason::DatabaseUnreachable => "DATABASE_UNREACHABLE",
        Reason::RuntimeUnreachable => "RUNTIME_UNREACHABLE",
        Reason::NoSpace => "NO_SPACE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Violation;

    fn reason_of(status: &Status) -> String {
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.domain, "sandshell");
        info.reason
    }

    #[test]
    fn every_error_has_a_code_and_a_reason() {
        let wrong = |reason| Error::WrongState { reason, message: "m".into() };
        let exhausted = |reason| Error::Exhausted { reason, message: "m".into(), retry_after: None };
        let unreachable = Error::Unreachable {
            sandbox_id: "s".into(),
            cause: None,
            retry_after: Duration::from_secs(1),
            source: "x".into(),
        };
        let table = [
            (Error::invalid("f", "d"), Code::InvalidArgument, "INVALID_ARGUMENT"),
            (Error::not_found(Kind::Sandbox, "s"), Code::NotFound, "SANDBOX_NOT_FOUND"),
            (Error::not_found(Kind::Session, "s"), Code::NotFound, "SESSION_NOT_FOUND"),
            (Error::not_found(Kind::Command, "s"), Code::NotFound, "COMMAND_NOT_FOUND"),
            (Error::not_found(Kind::Image, "s"), Code::NotFound, "IMAGE_NOT_FOUND"),
            (Error::not_found(Kind::Tenant, "s"), Code::NotFound, "TENANT_NOT_FOUND"),
            (Error::not_found(Kind::Key, "s"), Code::NotFound, "KEY_NOT_FOUND"),
            (wrong(Reason::SessionClosed), Code::FailedPrecondition, "SESSION_CLOSED"),
            (wrong(Reason::SessionBusy), Code::FailedPrecondition, "SESSION_BUSY"),
            (wrong(Reason::CommandExited), Code::FailedPrecondition, "COMMAND_EXITED"),
            (wrong(Reason::RequestIdReused), Code::FailedPrecondition, "REQUEST_ID_REUSED"),
            (wrong(Reason::SandboxNotRunning), Code::FailedPrecondition, "SANDBOX_NOT_RUNNING"),
            (wrong(Reason::NotSupportedByHost), Code::FailedPrecondition, "NOT_SUPPORTED_BY_HOST"),
            (wrong(Reason::NotAllowed), Code::FailedPrecondition, "NOT_ALLOWED"),
            (wrong(Reason::ServerStopping), Code::FailedPrecondition, "SERVER_STOPPING"),
            (exhausted(Reason::QueueFull), Code::ResourceExhausted, "QUEUE_FULL"),
            (exhausted(Reason::TooManySessions), Code::ResourceExhausted, "TOO_MANY_SESSIONS"),
            (exhausted(Reason::TooManySandboxes), Code::ResourceExhausted, "TOO_MANY_SANDBOXES"),
            (exhausted(Reason::SandboxOutOfResources), Code::ResourceExhausted, "SANDBOX_OUT_OF_RESOURCES"),
            (exhausted(Reason::MessageTooLarge), Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            (exhausted(Reason::TooManyRequests), Code::ResourceExhausted, "TOO_MANY_REQUESTS"),
            (Error::Unauthenticated { message: "m".into() }, Code::Unauthenticated, "UNAUTHENTICATED"),
            (unreachable, Code::Unavailable, "SANDBOX_UNREACHABLE"),
            (Error::internal("c", "x"), Code::Internal, "INTERNAL"),
        ];
        for (error, code, reason) in table {
            let status = Status::from(error);
            assert_eq!((status.code(), reason_of(&status).as_str()), (code, reason));
        }
    }

    #[test]
    fn an_internal_error_keeps_its_cause_to_itself() {
        let status = Status::from(Error::internal("open /secret", "disk on fire"));
        assert_eq!(status.message(), INTERNAL_MESSAGE);
    }

    #[test]
    fn an_unreachable_sandbox_says_when_to_try_again() {
        let retry_after = Duration::from_millis(500);
        let status = Status::from(Error::Unreachable {
            sandbox_id: "s".into(),
            cause: Some("it is frozen".into()),
            retry_after,
            source: "x".into(),
        });
        assert_eq!(status.message(), "sandbox \"s\" cannot be reached: it is frozen");
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(retry_after));
    }

    #[test]
    fn an_answer_fits_into_headers_however_much_is_wrong() {
        let violations = (0..10_000).map(|n| Violation::new(format!("labels[\"{n}\"]"), "x".repeat(100))).collect();
        let status = Status::from(Error::Invalid(violations));
        assert_eq!(status.get_details_bad_request().unwrap().field_violations.len(), MAX_VIOLATIONS);
        assert!(status.details().len() + status.message().len() < 5000);
    }

    #[test]
    fn errors_that_grpc_makes_are_explained() {
        let table = [
            (Status::out_of_range("Error, decoded message length too large: found"), Code::ResourceExhausted),
            (Status::internal("failed to decode Protobuf message: invalid"), Code::InvalidArgument),
            (Status::internal("Missing request message."), Code::InvalidArgument),
            (Status::unimplemented(""), Code::Unimplemented),
            (Status::not_found("service not registered"), Code::NotFound),
        ];
        for (status, code) in table {
            let mut headers = HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            explain_headers(&mut headers);
            let explained = Status::from_header_map(&headers).unwrap();
            assert_eq!(explained.code(), code, "{status:?}");
            reason_of(&explained);
        }
    }
}
