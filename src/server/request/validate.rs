//! Checks of requests, before anything else looks at them. Pure; each finds all violations of a request at once.

pub(in crate::server) mod code;
mod exec;
pub(in crate::server) mod file;
pub(in crate::server) mod image;
pub(in crate::server) mod sample;
mod sandbox;
mod session;
pub(in crate::server) mod verification;
pub(in crate::server) mod volume;

pub(in crate::server) use exec::{StdinRules, run, start};
pub(in crate::server) use sandbox::{
    create_sandbox, delete_sandbox, get_sandbox, list_sandboxes, sandbox_id, update_sandbox,
};
pub(in crate::server) use session::{
    attach, close_session, create_session, get_command, get_session, list_commands, list_processes, list_sessions,
    signal_command, signal_process,
};

use crate::error::{Error, Result, Violation};
use std::{collections::HashMap, fmt::Display};

const MAX_PATH: usize = 4096;
/// The kernel refuses longer strings in `execve`.
const MAX_ENV_STRING: usize = 128 << 10;
/// Leaves room for arguments below the kernel's usual bound of 2 MiB.
const MAX_ENV_TOTAL: usize = 1 << 20;

/// A user and a group.
const MAX_USER: usize = 256;

/// Pairs that a sandbox or a volume may have.
const MAX_LABELS: usize = 64;

/// Characters of a `request_id`.
const MAX_REQUEST_ID: usize = 128;

/// What a page holds unless the client says otherwise.
const DEFAULT_PAGE_SIZE: usize = 100;

/// Collects what is wrong with a request.
#[derive(Default)]
struct Checks(Vec<Violation>);

impl Checks {
    fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }

    fn wrong(&mut self, field: impl Display, description: impl Into<String>) {
        self.0.push(Violation::new(field.to_string(), description));
    }

    fn check(&mut self, right: bool, field: &str, description: &str) {
        if !right {
            self.wrong(field, description);
        }
    }

    fn required(&mut self, field: &str, value: &str) {
        self.check(!value.is_empty(), field, "is required");
    }

    fn range(&mut self, field: &str, value: i64, from: i64, to: i64) {
        if !(from..=to).contains(&value) {
            self.wrong(field, format!("is {value}; must be {from} to {to}"));
        }
    }

    /// An enum's number that this version knows.
    fn known<E: TryFrom<i32>>(&mut self, field: &str, value: i32) {
        if E::try_from(value).is_err() {
            self.wrong(field, format!("{value} is not a value of this enum"));
        }
    }

    /// Text that becomes an argument or a path inside the sandbox.
    fn text(&mut self, field: &str, value: &str, longest: usize) {
        if value.len() > longest {
            self.wrong(field, format!("has {} bytes; may have at most {longest}", value.len()));
        }
        self.check(!value.contains('\0'), field, "must not contain NUL");
    }

    /// A directory that the sandbox itself is given: nothing is there yet that it could be relative to.
    fn absolute_directory(&mut self, field: &str, value: &str) {
        self.text(field, value, MAX_PATH);
        self.check(value.is_empty() || value.starts_with('/'), field, "must be an absolute path");
    }

    fn env(&mut self, field: &str, env: &HashMap<String, String>) {
        for (name, value) in env {
            let path = || format!("{field}[{:?}]", short(name));
            if name.is_empty() || name.contains(['=', '\0']) {
                self.wrong(path(), "a name must not be empty or contain \"=\" or NUL");
            }
            if value.contains('\0') {
                self.wrong(path(), "a value must not contain NUL");
            }
            if name.len() + value.len() + 2 > MAX_ENV_STRING {
                self.wrong(path(), format!("name and value may have at most {MAX_ENV_STRING} bytes together"));
            }
        }
        let total: usize = env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        if total > MAX_ENV_TOTAL {
            self.wrong(field, format!("has {total} bytes; may have at most {MAX_ENV_TOTAL}"));
        }
    }

    /// Names of variables that a shell which runs already can take.
    fn shell_names(&mut self, field: &str, env: &HashMap<String, String>) {
        for name in env.keys().filter(|name| !name.is_empty()) {
            let first = !name.starts_with(|first: char| first.is_ascii_digit());
            if !first || !name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') {
                let message = "in a session a name may only have A-Z, a-z, 0-9 and _, and must not begin with a digit";
                self.wrong(format!("{field}[{:?}]", short(name)), message);
            } else if name.starts_with("SANDSHELL_") {
                self.wrong(
                    format!("{field}[{:?}]", short(name)),
                    "names that begin with SANDSHELL_ are kept for Sandshell",
                );
            }
        }
    }

    /// Name or number of a user, and perhaps of a group.
    fn user(&mut self, field: &str, value: &str) {
        self.text(field, value, MAX_USER);
        self.check(
            !value.contains('\n') && !value.starts_with(':'),
            field,
            "must be a name or a number, and may have :GROUP behind it",
        );
    }

    /// The caller's own pairs.
    fn labels(&mut self, labels: &HashMap<String, String>) {
        if labels.len() > MAX_LABELS {
            self.wrong("labels", format!("has {} pairs; may have at most {MAX_LABELS}", labels.len()));
        }
        for (key, value) in labels {
            let path = || format!("labels[{:?}]", short(key));
            if !(1..=63).contains(&key.chars().count()) {
                self.wrong(path(), "a key must have 1 to 63 characters");
            }
            if !(1..=255).contains(&value.chars().count()) {
                self.wrong(path(), "a value must have 1 to 255 characters");
            }
        }
    }

    fn request_id(&mut self, field: &str, value: &str) {
        let fits = value.chars().count() <= MAX_REQUEST_ID;
        self.check(fits, field, &format!("may have at most {MAX_REQUEST_ID} characters"));
    }

    fn page(&mut self, size: i32, is_token: bool) {
        self.range("page_size", size.into(), 0, 1000);
        if !is_token {
            self.wrong("page_token", crate::rpc::paging::BAD_TOKEN);
        }
    }
}

/// How many a checked request wants on a page.
pub(in crate::server) fn page_size(size: i32) -> usize {
    usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE_SIZE)
}

/// A client's text as part of an error: not all of it.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
fn fields(result: Result<()>) -> Vec<String> {
    match result {
        Ok(()) => Vec::new(),
        Err(Error::Invalid(violations)) => violations.into_iter().map(|violation| violation.field).collect(),
        Err(error) => panic!("another error: {error}"),
    }
}
