//! What an error must say.

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Fails unless the error has this code, and an `ErrorInfo` with this reason and the domain `sandshell`.
#[track_caller]
pub fn expect_error(status: &Status, code: Code, reason: &str) {
    let info = status.get_details_error_info();
    let said = info.as_ref().map(|i| (i.reason.as_str(), i.domain.as_str()));
    assert!(
        status.code() == code && said == Some((reason, "sandshell")),
        "wanted {code:?} with reason {reason}, and got {:?} ({:?}), {said:?}",
        status.code(),
        status.message()
    );
    assert!(!status.message().is_empty(), "an error says what is wrong");
}

/// Fails unless the request was refused for exactly these fields, in any order.
#[track_caller]
pub fn expect_bad_fields(status: &Status, fields: &[&str]) {
    expect_error(status, Code::InvalidArgument, "INVALID_ARGUMENT");
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let mut named: Vec<_> = bad.iter().map(|v| v.field.as_str()).collect();
    let mut wanted = fields.to_vec();
    named.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(named, wanted, "fields named in BadRequest; the message is {:?}", status.message());
    for violation in &bad {
        assert!(violation.description.len() > 5, "a violation says what would be right: {violation:?}");
    }
}

/// What was said of one field.
#[track_caller]
pub fn description_of(status: &Status, field: &str) -> String {
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let said = bad.into_iter().find(|v| v.field == field);
    said.unwrap_or_else(|| panic!("nothing was said of {field}: {status:?}")).description
}

/// The answer's `x-request-id`.
pub fn request_id(metadata: &tonic::metadata::MetadataMap) -> Option<String> {
    Some(metadata.get("x-request-id")?.to_str().ok()?.to_owned())
}
