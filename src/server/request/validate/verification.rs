//! Requests of VerificationService.

use super::Checks;
use crate::{
    api::v1::{
        CancelVerificationRequest, GetVerificationRequest, ListVerificationsRequest, StartVerificationRequest,
        WatchVerificationRequest,
    },
    error::Result,
    verification::{MOST_PATCH, is_verification_id},
};

/// Bytes of the name of a dataset or a sample.
const MAX_NAME: usize = 200;

pub(in crate::server) fn start(request: &StartVerificationRequest) -> Result<()> {
    let mut checks = Checks::default();
    if request.sandbox_id.is_empty() {
        let missing = "is required without sandbox_id: a sample, to be verified with `patch`";
        checks.check(!request.sample_id.is_empty(), "sample_id", missing);
    } else {
        for (field, value) in
            [("dataset", &request.dataset), ("sample_id", &request.sample_id), ("patch", &request.patch)]
        {
            checks.check(value.is_empty(), field, "must be empty with sandbox_id: the sandbox has its sample");
        }
    }
    checks.text("dataset", &request.dataset, MAX_NAME);
    checks.text("sample_id", &request.sample_id, MAX_NAME);
    checks.text("patch", &request.patch, MOST_PATCH);
    checks.request_id("request_id", &request.request_id);
    checks.finish()
}

pub(in crate::server) fn get(request: &GetVerificationRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("verification_id", &request.verification_id);
    checks.finish()
}

pub(in crate::server) fn cancel(request: &CancelVerificationRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("verification_id", &request.verification_id);
    checks.finish()
}

pub(in crate::server) fn list(request: &ListVerificationsRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.page(request.page_size, request.page_token.is_empty() || is_verification_id(&request.page_token));
    checks.finish()
}

pub(in crate::server) fn watch(request: &WatchVerificationRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("verification_id", &request.verification_id);
    for (field, offset) in [("stdout_offset", request.stdout_offset), ("stderr_offset", request.stderr_offset)] {
        checks.range(field, offset, 0, i64::MAX);
    }
    checks.range("attempt", request.attempt.into(), 0, i32::MAX.into());
    checks.finish()
}

#[cfg(test)]
mod tests {
    use super::{super::fields, *};

    #[test]
    fn a_verification_is_of_a_sandbox_or_of_a_sample() {
        let ask = |sandbox_id: &str, sample_id: &str, patch: &str| {
            let (sandbox_id, sample_id, patch) = (sandbox_id.to_owned(), sample_id.to_owned(), patch.to_owned());
            fields(start(&StartVerificationRequest { sandbox_id, sample_id, patch, ..Default::default() }))
        };
        assert_eq!(ask("sbx-1", "", ""), [""; 0]);
        assert_eq!(ask("", "s", ""), [""; 0]);
        assert_eq!(ask("", "", "x"), ["sample_id"]);
        assert_eq!(ask("sbx-1", "s", "p"), ["sample_id", "patch"]);
        assert_eq!(ask("", "s", "a\0"), ["patch"]);
        assert_eq!(ask("", "s", &"x".repeat(MOST_PATCH + 1)), ["patch"]);
    }

    #[test]
    fn all_violations_come_at_once() {
        let wrong =
            WatchVerificationRequest { stdout_offset: -1, stderr_offset: -1, attempt: -1, ..Default::default() };
        assert_eq!(fields(watch(&wrong)), ["verification_id", "stdout_offset", "stderr_offset", "attempt"]);
        let wrong = ListVerificationsRequest { page_size: 1001, page_token: "x".into(), ..Default::default() };
        assert_eq!(fields(list(&wrong)), ["page_size", "page_token"]);
        assert_eq!(fields(get(&GetVerificationRequest::default())), ["verification_id"]);
        assert_eq!(fields(cancel(&CancelVerificationRequest::default())), ["verification_id"]);
    }
}
