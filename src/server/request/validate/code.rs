//! Requests of CodeService.

use super::{Checks, MAX_PATH, exec::time};
use crate::{
    api::v1::{DeleteContextRequest, RunCodeRequest},
    error::Result,
};

const MAX_LANGUAGE: usize = 64;
const MAX_CODE: usize = 1 << 20;

/// Characters of a context's id.
const MAX_CONTEXT: usize = 128;

pub(in crate::server) fn run_code(request: &RunCodeRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("sandbox_id", &request.sandbox_id);
    checks.required("language", &request.language);
    checks.text("language", &request.language, MAX_LANGUAGE);
    checks.text("code", &request.code, MAX_CODE);
    context(&mut checks, &request.context_id);
    if let Some(timeout) = &request.timeout {
        time(&mut checks, "timeout", timeout);
    }
    checks.env("env", &request.env);
    checks.text("working_directory", &request.working_directory, MAX_PATH);
    checks.user("user", &request.user);
    checks.finish()
}

pub(in crate::server) fn delete_context(request: &DeleteContextRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("sandbox_id", &request.sandbox_id);
    checks.required("context_id", &request.context_id);
    context(&mut checks, &request.context_id);
    checks.finish()
}

fn context(checks: &mut Checks, id: &str) {
    let fits = id.chars().count() <= MAX_CONTEXT && !id.contains('\0');
    checks.check(fits, "context_id", &format!("may have at most {MAX_CONTEXT} characters, and no NUL"));
}

#[cfg(test)]
mod tests {
    use super::{super::fields, *};
    use prost_types::Duration;

    #[test]
    fn all_violations_come_at_once() {
        assert_eq!(fields(run_code(&RunCodeRequest::default())), ["sandbox_id", "language"]);
        let wrong = RunCodeRequest {
            sandbox_id: "sbx-1".into(),
            language: "x".repeat(MAX_LANGUAGE + 1),
            code: "\0".into(),
            context_id: "é".repeat(MAX_CONTEXT + 1),
            timeout: Some(Duration::default()),
            env: [("=".into(), String::new())].into(),
            working_directory: "\0".into(),
            user: ":group".into(),
        };
        let named = ["language", "code", "context_id", "timeout", "env[\"=\"]", "working_directory", "user"];
        assert_eq!(fields(run_code(&wrong)), named);
        let right = RunCodeRequest {
            sandbox_id: "sbx-1".into(),
            language: "python".into(),
            code: "x".repeat(MAX_CODE),
            context_id: "é".repeat(MAX_CONTEXT),
            ..RunCodeRequest::default()
        };
        assert_eq!(fields(run_code(&right)), [""; 0]);
        assert_eq!(fields(delete_context(&DeleteContextRequest::default())), ["sandbox_id", "context_id"]);
    }
}
