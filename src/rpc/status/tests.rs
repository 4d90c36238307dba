//! Tests of the table of errors.

use super::*;
use std::sync::Arc;

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
        (Error::not_found(Kind::Context, "s"), Code::NotFound, "CONTEXT_NOT_FOUND"),
        (Error::not_found(Kind::Process, "7"), Code::NotFound, "PROCESS_NOT_FOUND"),
        (Error::not_found(Kind::Image, "s"), Code::NotFound, "IMAGE_NOT_FOUND"),
        (Error::not_found(Kind::Tenant, "s"), Code::NotFound, "TENANT_NOT_FOUND"),
        (Error::not_found(Kind::Key, "s"), Code::NotFound, "KEY_NOT_FOUND"),
        (Error::not_found(Kind::Dataset, "s"), Code::NotFound, "DATASET_NOT_FOUND"),
        (Error::not_found(Kind::Sample, "s"), Code::NotFound, "SAMPLE_NOT_FOUND"),
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
    assert!(size(&status) < 8000);
}

/// All headers of an answer together, as HTTP/2 counts them.
fn size(status: &Status) -> usize {
    let mut headers = http::HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

#[test]
fn any_alphabet_fits_into_headers() {
    for character in ["🦀", "ж", "語", " ", "%", "\n", "\u{10ffff}"] {
        let key = character.repeat(64);
        let violation = |n| Violation::new(format!("labels[\"{n}{key}\"]"), "a value must have 1 to 255 characters");
        let status = Status::from(Error::Invalid((0..20).map(violation).collect()));
        assert!(status.get_details_bad_request().unwrap().field_violations.len() > 8, "{character:?}");
        assert!(size(&status) < 8000, "{character:?}: {}", size(&status));
        let long = character.repeat(10_000);
        let errors = [
            Error::invalid(long.clone(), long.clone()),
            Error::not_found(Kind::Session, long.clone()),
            Error::quota(Reason::TooManySessions, long.clone()),
            Error::Unauthenticated { message: long.clone() },
        ];
        for error in errors {
            let status = Status::from(error);
            assert!(size(&status) < 8000, "{character:?}: {}", size(&status));
            reason_of(&status);
        }
        assert!(size(&explain(Status::not_found(long))) < 8000);
    }
}

/// The reason after this one. Whoever adds one is told here that the table below lacks it.
fn after(reason: Reason) -> Option<Reason> {
    use Reason::*;
    Some(match reason {
        SessionClosed => SessionBusy,
        SessionBusy => CommandExited,
        CommandExited => QueueFull,
        QueueFull => TooManySessions,
        TooManySessions => TooManySandboxes,
        TooManySandboxes => RequestIdReused,
        RequestIdReused => SandboxNotRunning,
        SandboxNotRunning => NotSupportedByHost,
        NotSupportedByHost => NotAllowed,
        NotAllowed => SandboxOutOfResources,
        SandboxOutOfResources => NoSpace,
        NoSpace => StartUpFileFailed,
        StartUpFileFailed => ShellNotStarted,
        ShellNotStarted => MessageTooLarge,
        MessageTooLarge => MessageTooSlow,
        MessageTooSlow => ServerBusy,
        ServerBusy => ServerStopping,
        ServerStopping => TooMuchMemory,
        TooMuchMemory => TooManyRequests,
        TooManyRequests => TooManyStreams,
        TooManyStreams => TooManyConnections,
        TooManyConnections => TlsRequired,
        TlsRequired => TooManyCreations,
        TooManyCreations => OnOtherServer,
        OnOtherServer => OnOtherRuntime,
        OnOtherRuntime => DatabaseUnreachable,
        DatabaseUnreachable => RuntimeUnreachable,
        RuntimeUnreachable => LanguageNotInstalled,
        LanguageNotInstalled => SandboxTooOld,
        SandboxTooOld => NoSample,
        NoSample => SampleChanged,
        SampleChanged => TooManyVerifications,
        TooManyVerifications => TooManyVolumes,
        TooManyVolumes => VolumeInUse,
        VolumeInUse => VolumeUnusable,
        VolumeUnusable => FileNotFound,
        FileNotFound => AlreadyExists,
        AlreadyExists => PermissionDenied,
        PermissionDenied => IsADirectory,
        IsADirectory => NotADirectory,
        NotADirectory => NotAFile,
        NotAFile => DirectoryNotEmpty,
        DirectoryNotEmpty => EtagMismatch,
        EtagMismatch => TextNotFound,
        TextNotFound => TextNotUnique,
        TextNotUnique => FileTooLarge,
        FileTooLarge => TooManyLinks,
        TooManyLinks => ReadOnly,
        ReadOnly => EntryRefused,
        EntryRefused => SampleSetupFailed,
        SampleSetupFailed => SampleUnusable,
        SampleUnusable => IoError,
        IoError => return None,
    })
}

#[test]
fn every_reason_is_told_by_its_name_whatever_the_error() {
    let mut names = Vec::new();
    for reason in std::iter::successors(Some(Reason::SessionClosed), |reason| after(*reason)) {
        let message = || "m".to_owned();
        // The name is the variant's, in capitals.
        let mut name = String::new();
        for character in format!("{reason:?}").chars() {
            if character.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.extend(character.to_uppercase());
        }
        let wait = Some(Duration::from_secs(3));
        for (error, code, retry) in [
            (Error::WrongState { reason, message: message() }, Code::FailedPrecondition, None),
            (Error::Exhausted { reason, message: message(), retry_after: None }, Code::ResourceExhausted, None),
            (Error::Exhausted { reason, message: message(), retry_after: wait }, Code::ResourceExhausted, wait),
            (Error::Unavailable { reason, message: message() }, Code::Unavailable, Some(RETRY_AFTER)),
        ] {
            let status = Status::from(error);
            let retry_info = status.get_details_retry_info().and_then(|info| info.retry_delay);
            assert_eq!((status.code(), reason_of(&status), retry_info), (code, name.clone(), retry));
        }
        names.push(name);
    }
    let number = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), number);
}

#[test]
fn errors_that_grpc_makes_are_explained() {
    let mut not_protobuf = Status::internal("whatever it says");
    let error = <() as prost::Message>::decode(&b"\xff"[..]).unwrap_err();
    not_protobuf.set_source(Arc::new(NotProtobuf::from(error)));
    let table = [
        (not_protobuf, Code::InvalidArgument, "INVALID_ARGUMENT"),
        (Status::internal("failed to decode Protobuf message"), Code::Internal, "INTERNAL"),
        (Status::unimplemented(""), Code::Unimplemented, "UNIMPLEMENTED"),
        (Status::not_found("service not registered"), Code::NotFound, "NOT_FOUND"),
    ];
    for (status, code, reason) in table {
        let mut response = status.into_http::<()>();
        explain_response(&mut response);
        let explained = Status::from_header_map(response.headers()).unwrap();
        assert_eq!((explained.code(), reason_of(&explained).as_str()), (code, reason));
    }
}

#[test]
fn the_page_of_errors_has_every_reason() {
    let page = include_str!("../../../docs/errors.md");
    let table = include_str!("../status.rs");
    let reasons: Vec<_> = table
        .lines()
        .filter(|line| line.trim_start().starts_with("Reason::") || line.trim_start().starts_with("Kind::"))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert!(reasons.len() > 50, "{reasons:?}");
    for reason in reasons {
        assert!(page.contains(&format!("`{reason}`")), "docs/errors.md does not have {reason}");
    }
}
