//! The one table from domain errors to `tonic::Status` with rich details.

use super::codec::NotProtobuf;
use crate::error::{Error, Kind, Reason, Violation};
use http::Response;
use std::{collections::HashMap, error::Error as _, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// `ErrorInfo.domain` of every error.
const DOMAIN: &str = "sandshell";

/// What `ErrorInfo.metadata` calls the command that an error is about.
const COMMAND_ID: &str = "command_id";

/// What it calls the path.
const PATH: &str = "path";

/// When to try again what the server could not do for a while.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// All that a client reads of an error that it can do nothing about.
pub const INTERNAL_MESSAGE: &str = "internal error; the server's log has the cause under this request id";

/// Most violations in one answer.
const MAX_VIOLATIONS: usize = 20;

/// Clients bound headers to 8 KiB, in which all of an answer must fit. The message counts as it is sent, where a byte that
/// is not plain ASCII takes three; details grow by a third.
const MAX_MESSAGE: usize = 1536;
pub const MAX_DETAILS: usize = 4096;

/// Longest name of a field, and longest text about it, in one violation.
const MAX_PART: usize = 512;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        let mut metadata = HashMap::new();
        let error = match error {
            Error::About { command_id, error } => {
                metadata.insert(COMMAND_ID.to_owned(), bounded(&command_id));
                *error
            }
            error => error,
        };
        if let Error::File { path: Some(path), .. } = &error {
            let mut path = path.clone();
            shorten(&mut path);
            metadata.insert(PATH.to_owned(), path);
        }
        let (code, reason, message) = match error {
            Error::Invalid(violations) => return invalid(violations),
            error => describe(error, &mut details),
        };
        details.set_error_info(reason, DOMAIN, metadata);
        Status::with_error_details(code, bounded(&message), details)
    }
}

/// As many violations as fit, and at least one.
fn invalid(mut violations: Vec<Violation>) -> Status {
    violations.truncate(MAX_VIOLATIONS);
    for violation in &mut violations {
        shorten(&mut violation.field);
        shorten(&mut violation.description);
    }
    loop {
        let fields = violations.iter().map(|v| FieldViolation::new(&v.field, &v.description)).collect::<Vec<_>>();
        let mut details = ErrorDetails::with_bad_request(fields);
        details.set_error_info("INVALID_ARGUMENT", DOMAIN, HashMap::new());
        let message = bounded(&Error::Invalid(violations.clone()).to_string());
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        if status.details().len() <= MAX_DETAILS || violations.len() <= 1 {
            return status;
        }
        violations.pop();
    }
}

fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_PART));
}

/// A message, or as much of it as may be sent.
pub fn bounded(message: &str) -> String {
    let mut sent = 0;
    let fitting = message.chars().take_while(|character| {
        // As gRPC has it: all but these is sent as `%` and two digits for each byte.
        let plain = character.is_ascii_graphic() && !"\"#%<>`?{}".contains(*character);
        sent += if plain { 1 } else { 3 * character.len_utf8() };
        sent <= MAX_MESSAGE
    });
    fitting.collect()
}

/// Code, reason and message of an error that is not about fields.
fn describe(error: Error, details: &mut ErrorDetails) -> (Code, &'static str, String) {
    let message = error.to_string();
    match error {
        Error::Invalid(_) => (Code::InvalidArgument, "INVALID_ARGUMENT", message),
        Error::DeadlineExceeded { .. } => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message),
        // Nothing makes one of another one.
        Error::About { error, .. } => describe(*error, details),
        Error::NotFound { kind, .. } => (Code::NotFound, not_found_reason(kind), message),
        Error::WrongState { reason, .. } => (Code::FailedPrecondition, reason_name(reason), message),
        Error::Exhausted { reason, retry_after, .. } => {
            if retry_after.is_some() {
                details.set_retry_info(retry_after);
            }
            (Code::ResourceExhausted, reason_name(reason), message)
        }
        Error::Exists { .. } => (Code::AlreadyExists, reason_name(Reason::AlreadyExists), message),
        Error::File { reason, .. } => (file_code(reason), reason_name(reason), message),
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
    }
}

/// What a call of a method is told that its service does not have.
const NO_METHOD: &str = "the service has no method of this name";

/// Gives an error that gRPC itself made, before or beside our handlers, a code and details like ours.
pub fn explain(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    match status.code() {
        // What cannot be decoded is the client's mistake, not ours.
        Code::Internal if is_not_protobuf(&status) => Error::invalid("message", "is not valid protobuf").into(),
        Code::Internal => Error::internal("gRPC", status.message()).into(),
        code => {
            let details = ErrorDetails::with_error_info(code_name(code), DOMAIN, HashMap::new());
            // Of a service that is here gRPC says nothing else.
            let no_method = code == Code::Unimplemented && status.message().is_empty();
            let message = if no_method { NO_METHOD.to_owned() } else { bounded(status.message()) };
            Status::with_error_details(code, message, details)
        }
    }
}

/// [`explain`] for a response, if it is an error.
pub fn explain_response<B>(response: &mut Response<B>) {
    const STATUS: &str = "grpc-status";
    let headers = response.headers();
    if headers.get(STATUS).is_none_or(|code| code == "0") || headers.contains_key("grpc-status-details-bin") {
        return;
    }
    // gRPC leaves the error itself beside its headers, which cannot hold its source.
    let status = response.extensions_mut().remove::<Status>().or_else(|| Status::from_header_map(response.headers()));
    if let Some(status) = status {
        // It only fails for metadata that is not ours.
        drop(explain(status).add_header(response.headers_mut()));
    }
}

fn is_not_protobuf(status: &Status) -> bool {
    status.source().is_some_and(|source| source.is::<NotProtobuf>())
}

/// Whether an agent said so itself; else the line to it failed, and the status was made on this side of it.
pub fn is_agents_word(status: &Status) -> bool {
    let of_the_line = matches!(
        status.code(),
        Code::Unknown | Code::Internal | Code::Unavailable | Code::Cancelled | Code::OutOfRange
    );
    status.source().is_none() && !(of_the_line && status.details().is_empty())
}

/// Why a call of an agent failed.
#[derive(Debug)]
pub enum Told {
    /// The agent refuses it: the name of the cause, and its words. Neither is longer than an answer may be.
    Refused(String, String),
    /// The line to it failed.
    OfTheLine(Box<dyn std::error::Error + Send + Sync>),
}

/// What a failed call of an agent means.
pub fn told(status: Status) -> Told {
    if !is_agents_word(&status) {
        return Told::OfTheLine(status.into());
    }
    let info = if status.details().len() <= MAX_DETAILS { status.get_details_error_info() } else { None };
    Told::Refused(info.map(|info| bounded(&info.reason)).unwrap_or_default(), bounded(status.message()))
}

/// The name of a code, as gRPC has it.
pub fn code_name(code: Code) -> &'static str {
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

fn file_code(reason: Reason) -> Code {
    match reason {
        Reason::FileNotFound => Code::NotFound,
        Reason::AlreadyExists => Code::AlreadyExists,
        Reason::PermissionDenied => Code::PermissionDenied,
        Reason::NoSpace | Reason::FileTooLarge | Reason::TooManyStreams => Code::ResourceExhausted,
        Reason::IoError => Code::Internal,
        _ => Code::FailedPrecondition,
    }
}

fn not_found_reason(kind: Kind) -> &'static str {
    match kind {
        Kind::Sandbox => "SANDBOX_NOT_FOUND",
        Kind::Session => "SESSION_NOT_FOUND",
        Kind::Command => "COMMAND_NOT_FOUND",
        Kind::Context => "CONTEXT_NOT_FOUND",
        Kind::Process => "PROCESS_NOT_FOUND",
        Kind::Image => "IMAGE_NOT_FOUND",
        Kind::Verification => "VERIFICATION_NOT_FOUND",
        Kind::Volume => "VOLUME_NOT_FOUND",
        Kind::Tenant => "TENANT_NOT_FOUND",
        Kind::Key => "KEY_NOT_FOUND",
        Kind::Dataset => "DATASET_NOT_FOUND",
        Kind::Sample => "SAMPLE_NOT_FOUND",
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
        Reason::StartUpFileFailed => "START_UP_FILE_FAILED",
        Reason::ShellNotStarted => "SHELL_NOT_STARTED",
        Reason::MessageTooLarge => "MESSAGE_TOO_LARGE",
        Reason::MessageTooSlow => "MESSAGE_TOO_SLOW",
        Reason::ServerBusy => "SERVER_BUSY",
        Reason::ServerStopping => "SERVER_STOPPING",
        Reason::TooMuchMemory => "TOO_MUCH_MEMORY",
        Reason::TooManyRequests => "TOO_MANY_REQUESTS",
        Reason::TooManyStreams => "TOO_MANY_STREAMS",
        Reason::TooManyConnections => "TOO_MANY_CONNECTIONS",
        Reason::TlsRequired => "TLS_REQUIRED",
        Reason::TooManyCreations => "TOO_MANY_CREATIONS",
        Reason::OnOtherServer => "ON_OTHER_SERVER",
        Reason::OnOtherRuntime => "ON_OTHER_RUNTIME",
        Reason::DatabaseUnreachable => "DATABASE_UNREACHABLE",
        Reason::RuntimeUnreachable => "RUNTIME_UNREACHABLE",
        Reason::NoSpace => "NO_SPACE",
        Reason::LanguageNotInstalled => "LANGUAGE_NOT_INSTALLED",
        Reason::SandboxTooOld => "SANDBOX_TOO_OLD",
        Reason::NoSample => "NO_SAMPLE",
        Reason::SampleChanged => "SAMPLE_CHANGED",
        Reason::TooManyVerifications => "TOO_MANY_VERIFICATIONS",
        Reason::TooManyVolumes => "TOO_MANY_VOLUMES",
        Reason::VolumeInUse => "VOLUME_IN_USE",
        Reason::VolumeUnusable => "VOLUME_UNUSABLE",
        Reason::FileNotFound => "FILE_NOT_FOUND",
        Reason::AlreadyExists => "ALREADY_EXISTS",
        Reason::PermissionDenied => "PERMISSION_DENIED",
        Reason::IsADirectory => "IS_A_DIRECTORY",
        Reason::NotADirectory => "NOT_A_DIRECTORY",
        Reason::NotAFile => "NOT_A_FILE",
        Reason::DirectoryNotEmpty => "DIRECTORY_NOT_EMPTY",
        Reason::EtagMismatch => "ETAG_MISMATCH",
        Reason::TextNotFound => "TEXT_NOT_FOUND",
        Reason::TextNotUnique => "TEXT_NOT_UNIQUE",
        Reason::FileTooLarge => "FILE_TOO_LARGE",
        Reason::TooManyLinks => "TOO_MANY_LINKS",
        Reason::ReadOnly => "READ_ONLY",
        Reason::EntryRefused => "ENTRY_REFUSED",
        Reason::SampleSetupFailed => "SAMPLE_SETUP_FAILED",
        Reason::SampleUnusable => "SAMPLE_UNUSABLE",
        Reason::IoError => "IO_ERROR",
    }
}

#[cfg(test)]
mod tests;
