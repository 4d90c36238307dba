//! Requests of SessionService, except those that start a command.

use super::{Checks, MAX_PATH};
use crate::{
    api::v1::{
        AttachRequest, CloseSessionRequest, CreateSessionRequest, GetCommandRequest, GetSessionRequest,
        ListCommandsRequest, ListProcessesRequest, ListSessionsRequest, OnShellExit, SignalCommandRequest,
        SignalProcessRequest,
    },
    error::Result,
};

pub(in crate::server) fn create_session(request: &CreateSessionRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("sandbox_id", &request.sandbox_id);
    checks.text("shell", &request.shell, MAX_PATH);
    checks.env("env", &request.env);
    checks.text("working_directory", &request.working_directory, MAX_PATH);
    checks.known::<OnShellExit>("on_shell_exit", request.on_shell_exit);
    checks.request_id("request_id", &request.request_id);
    checks.user("user", &request.user);
    checks.finish()
}

pub(in crate::server) fn get_session(request: &GetSessionRequest) -> Result<()> {
    id("session_id", &request.session_id)
}

pub(in crate::server) fn close_session(request: &CloseSessionRequest) -> Result<()> {
    id("session_id", &request.session_id)
}

pub(in crate::server) fn get_command(request: &GetCommandRequest) -> Result<()> {
    id("command_id", &request.command_id)
}

fn id(field: &str, value: &str) -> Result<()> {
    let mut checks = Checks::default();
    checks.required(field, value);
    checks.finish()
}

pub(in crate::server) fn list_sessions(request: &ListSessionsRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("sandbox_id", &request.sandbox_id);
    checks.page(request.page_size, crate::rpc::paging::is_token(&request.page_token));
    checks.finish()
}

pub(in crate::server) fn list_commands(request: &ListCommandsRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("session_id", &request.session_id);
    checks.page(request.page_size, crate::rpc::paging::is_token(&request.page_token));
    checks.finish()
}

pub(in crate::server) fn attach(request: &AttachRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("command_id", &request.command_id);
    let offsets = [
        ("stdout_offset", request.stdout_offset),
        ("stderr_offset", request.stderr_offset),
        ("terminal_offset", request.terminal_offset),
    ];
    for (field, offset) in offsets {
        checks.check(offset >= 0, field, "must not be negative");
    }
    checks.finish()
}

pub(in crate::server) fn signal_command(request: &SignalCommandRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("command_id", &request.command_id);
    checks.range("signal", request.signal.into(), 0, 64);
    checks.finish()
}

pub(in crate::server) fn list_processes(request: &ListProcessesRequest) -> Result<()> {
    let mut checks = Checks::default();
    one_of(&mut checks, &request.session_id, &request.command_id);
    checks.page(request.page_size, crate::rpc::paging::is_token(&request.page_token));
    checks.finish()
}

pub(in crate::server) fn signal_process(request: &SignalProcessRequest) -> Result<()> {
    let mut checks = Checks::default();
    one_of(&mut checks, &request.session_id, &request.command_id);
    checks.check(request.pid > 0, "pid", "is required: the id of a process, as ListProcesses gives it");
    checks.range("signal", request.signal.into(), 0, 64);
    checks.finish()
}

fn one_of(checks: &mut Checks, session_id: &str, command_id: &str) {
    let one = session_id.is_empty() != command_id.is_empty();
    checks.check(one, "session_id", "give one of session_id and command_id");
}

#[cfg(test)]
mod tests {
    use super::{super::fields, *};

    #[test]
    fn all_violations_come_at_once() {
        let request = CreateSessionRequest {
            shell: "\0".into(),
            env: [("".into(), "".into())].into(),
            working_directory: "\0".into(),
            on_shell_exit: 7,
            request_id: "\u{e9}".repeat(129),
            ..CreateSessionRequest::default()
        };
        assert_eq!(
            fields(create_session(&request)),
            ["sandbox_id", "shell", "env[\"\"]", "working_directory", "on_shell_exit", "request_id"]
        );
        let request = CreateSessionRequest {
            sandbox_id: "s".into(),
            request_id: "\u{e9}".repeat(128),
            ..CreateSessionRequest::default()
        };
        assert!(create_session(&request).is_ok());
        let request = AttachRequest { stdout_offset: -1, terminal_offset: -1, ..AttachRequest::default() };
        assert_eq!(fields(attach(&request)), ["command_id", "stdout_offset", "terminal_offset"]);
        let request = SignalCommandRequest { command_id: "c".into(), signal: 65 };
        assert_eq!(fields(signal_command(&request)), ["signal"]);
    }
}
