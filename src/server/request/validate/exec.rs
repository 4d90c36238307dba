//! Requests that start a command, and what may follow a start.

use super::{Checks, MAX_ENV_STRING, MAX_PATH};
use crate::{
    api::v1::{ExecRequest, ExecStart, IfBusy, RunRequest, TerminalSize, exec_request::Request, exec_start::Target},
    error::{Error, Result},
};
use prost_types::Duration;

const MAX_COMMAND: usize = 4 << 20;
/// Bytes of all arguments, and how many. With the pointers to them they fit below the kernel's usual bound of 2 MiB.
const MAX_ARGUMENTS: (usize, usize) = (5 << 18, 1 << 16);
const MAX_TERM: usize = 64;
const MAX_RUN_OUTPUT: i64 = 16 << 20;
const LOG_BYTES: (i64, i64) = (64 << 10, 1 << 30);
const MILLIS: i128 = 1_000_000;
const SECONDS: i128 = 1000 * MILLIS;
const DAYS: i128 = 86_400 * SECONDS;

pub(in crate::server) fn run(request: &RunRequest) -> Result<()> {
    let mut checks = Checks::default();
    match &request.start {
        Some(start) => {
            check_start(&mut checks, start);
            checks.check(start.pty.is_none(), "start.pty", "Run has no terminal; use Exec");
            checks.check(start.resume_from.is_none(), "start.resume_from", "only in Exec; Run answers once, with all");
        }
        None => checks.wrong("start", "is required"),
    }
    if let Some(wait) = &request.wait {
        span(&mut checks, "wait", wait, 0, 30 * DAYS, "0 to 30 days");
    }
    checks.range("max_output_bytes", request.max_output_bytes, 0, MAX_RUN_OUTPUT);
    checks.finish()
}

pub(in crate::server) fn start(start: &ExecStart) -> Result<()> {
    let mut checks = Checks::default();
    check_start(&mut checks, start);
    checks.finish()
}

fn check_start(checks: &mut Checks, start: &ExecStart) {
    match &start.target {
        Some(Target::SessionId(id)) => {
            checks.required("start.session_id", id);
            let message = "only for a direct execution; a session has its own: give sandbox_id, or leave it out";
            checks.check(start.shell.is_empty(), "start.shell", message);
            checks.shell_names("start.env", &start.env);
        }
        Some(Target::SandboxId(id)) => {
            checks.required("start.sandbox_id", id);
            checks.text("start.shell", &start.shell, MAX_PATH);
        }
        None => checks.wrong("start.target", "give session_id or sandbox_id"),
    }
    checks.env("start.env", &start.env);
    checks.text("start.working_directory", &start.working_directory, MAX_PATH);
    checks.user("start.user", &start.user);
    checks.text("start.command", &start.command, MAX_COMMAND);
    if !start.argv.is_empty() {
        arguments(checks, start);
    }
    if let Some(timeout) = &start.timeout {
        time(checks, "start.timeout", timeout);
    }
    if let Some(grace) = &start.kill_grace {
        span(checks, "start.kill_grace", grace, 0, 60 * SECONDS, "0 to 60 s");
    }
    if let Some(pty) = &start.pty {
        checks.text("start.pty.term", &pty.term, MAX_TERM);
        // It becomes a word of a shell's line.
        let plain = pty.term.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte));
        checks.check(plain, "start.pty.term", "must be the name of a terminal: letters, digits, +, -, . and _");
        if let Some(size) = &pty.size {
            terminal_size(checks, "start.pty.size", size);
        }
    }
    if start.max_log_bytes != 0 {
        checks.range("start.max_log_bytes", start.max_log_bytes, LOG_BYTES.0, LOG_BYTES.1);
    }
    checks.known::<IfBusy>("start.if_busy", start.if_busy);
    checks.request_id("start.request_id", &start.request_id);
    if let Some(from) = &start.resume_from {
        let message = "is required with resume_from: the one that the start had before";
        checks.check(!start.request_id.is_empty(), "start.request_id", message);
        let offsets =
            [("stdout", from.stdout_offset), ("stderr", from.stderr_offset), ("terminal", from.terminal_offset)];
        for (name, offset) in offsets {
            checks.range(&format!("start.resume_from.{name}_offset"), offset, 0, i64::MAX);
        }
    }
}

fn arguments(checks: &mut Checks, start: &ExecStart) {
    let field = "start.argv";
    let direct = !matches!(start.target, Some(Target::SessionId(_)));
    checks.check(
        direct,
        field,
        "only for a direct execution: give sandbox_id, or write the program as shell text in command",
    );
    checks.check(start.command.is_empty(), field, "give either command or argv");
    checks.check(
        start.shell.is_empty(),
        "start.shell",
        "a program is executed without a shell: leave it out with argv",
    );
    let (most_bytes, most) = MAX_ARGUMENTS;
    let bytes: usize = start.argv.iter().map(String::len).sum();
    if bytes > most_bytes {
        checks.wrong(field, format!("has {bytes} bytes; may have at most {most_bytes}"));
    }
    if start.argv.len() > most {
        checks.wrong(field, format!("has {} arguments; may have at most {most}", start.argv.len()));
    }
    checks.check(start.argv.first().is_some_and(|name| !name.is_empty()), "start.argv[0]", "must name a program");
    // The kernel counts the NUL that ends it.
    let wrong = |argument: &String| argument.len() >= MAX_ENV_STRING || argument.contains('\0');
    if let Some((at, argument)) = start.argv.iter().enumerate().find(|(_, argument)| wrong(argument)) {
        checks.text(&format!("{field}[{at}]"), argument, MAX_ENV_STRING - 1);
    }
}

/// A longest run time.
pub(super) fn time(checks: &mut Checks, field: &str, value: &Duration) {
    span(checks, field, value, MILLIS, 30 * DAYS, "1 ms to 30 days");
}

fn span(checks: &mut Checks, field: &str, value: &Duration, from: i128, to: i128, range: &str) {
    let nanos = i128::from(value.seconds) * SECONDS + i128::from(value.nanos);
    let well_formed = (0..1_000_000_000).contains(&value.nanos);
    checks.check(well_formed && (from..=to).contains(&nanos), field, &format!("must be {range}"));
}

fn terminal_size(checks: &mut Checks, field: &str, size: &TerminalSize) {
    checks.range(&format!("{field}.rows"), size.rows.into(), 1, 65535);
    checks.range(&format!("{field}.columns"), size.columns.into(), 1, 65535);
}

/// What may follow a start, in order.
#[derive(Debug)]
pub(in crate::server) struct StdinRules {
    pty: bool,
    closed: bool,
}

impl StdinRules {
    pub(in crate::server) fn after(start: &ExecStart) -> Self {
        Self { pty: start.pty.is_some(), closed: false }
    }

    /// Whether a client that says nothing more has thereby ended the input. Not on a terminal: a client that only watches
    /// is no reason to type an end of file.
    pub(in crate::server) fn an_end_closes(&self) -> bool {
        !self.pty && !self.closed
    }

    /// Checks the next message.
    pub(in crate::server) fn check(&mut self, message: &ExecRequest) -> Result<()> {
        match &message.request {
            Some(Request::Stdin(_)) if self.closed => Err(Error::invalid("stdin", "comes after close_stdin")),
            Some(Request::Stdin(_)) => Ok(()),
            Some(Request::CloseStdin(_)) => {
                self.closed = true;
                Ok(())
            }
            Some(Request::InputAt(_)) if self.closed => {
                Err(Error::invalid("input_at", "comes after the end of the input"))
            }
            Some(Request::InputAt(input)) => {
                self.closed = input.end;
                let mut checks = Checks::default();
                checks.range("input_at.offset", input.offset, 0, i64::MAX);
                checks.finish()
            }
            Some(Request::Signal(signal)) => {
                let mut checks = Checks::default();
                checks.range("signal", (*signal).into(), 1, 64);
                checks.finish()
            }
            Some(Request::Resize(_)) if !self.pty => {
                Err(Error::invalid("resize", "the command was started without pty"))
            }
            Some(Request::Resize(size)) => {
                let mut checks = Checks::default();
                terminal_size(&mut checks, "resize", size);
                checks.finish()
            }
            Some(Request::Start(_)) => Err(Error::invalid("start", "only the first message may be a start")),
            None => Err(Error::invalid("request", "is required: stdin, close_stdin, input_at, signal or resize")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fields, *};
    use crate::api::v1::{CloseStdin, InputAt, OutputOffsets, Pty};

    fn in_session() -> ExecStart {
        ExecStart { target: Some(Target::SessionId("sbx-1/s".into())), ..ExecStart::default() }
    }

    #[test]
    fn all_violations_come_at_once() {
        let wrong = ExecStart {
            command: "a\0".into(),
            env: [("1A".into(), "B".into())].into(),
            timeout: Some(Duration { seconds: 0, nanos: 999_999 }),
            kill_grace: Some(Duration { seconds: 61, nanos: 0 }),
            pty: Some(Pty { size: Some(TerminalSize { rows: 0, columns: 65536 }), term: "x; y".into() }),
            max_log_bytes: 1,
            if_busy: 9,
            request_id: "é".repeat(129),
            ..in_session()
        };
        assert_eq!(
            fields(start(&wrong)),
            [
                "start.env[\"1A\"]",
                "start.command",
                "start.timeout",
                "start.kill_grace",
                "start.pty.term",
                "start.pty.size.rows",
                "start.pty.size.columns",
                "start.max_log_bytes",
                "start.if_busy",
                "start.request_id"
            ]
        );
        assert_eq!(fields(start(&ExecStart::default())), ["start.target"]);
    }

    #[test]
    fn the_edges_of_each_range_are_allowed() {
        let right = ExecStart {
            command: "x".repeat(4 << 20),
            timeout: Some(Duration { seconds: 30 * 86_400, nanos: 0 }),
            kill_grace: Some(Duration::default()),
            pty: Some(Pty { size: Some(TerminalSize { rows: 1, columns: 65535 }), term: "xterm".into() }),
            max_log_bytes: 1 << 30,
            request_id: "é".repeat(128),
            ..in_session()
        };
        assert_eq!(fields(start(&right)), [""; 0]);
        let longer = ExecStart { command: "x".repeat((4 << 20) + 1), ..in_session() };
        assert_eq!(fields(start(&longer)), ["start.command"]);
        let negative = ExecStart { timeout: Some(Duration { seconds: 5, nanos: -1 }), ..in_session() };
        assert_eq!(fields(start(&negative)), ["start.timeout"]);
    }

    #[test]
    fn run_has_no_terminal_and_a_bound() {
        let request = RunRequest {
            start: Some(ExecStart { pty: Some(Pty::default()), ..in_session() }),
            max_output_bytes: MAX_RUN_OUTPUT + 1,
            ..RunRequest::default()
        };
        assert_eq!(fields(run(&request)), ["start.pty", "max_output_bytes"]);
        assert_eq!(fields(run(&RunRequest::default())), ["start"]);
    }

    #[test]
    fn a_start_goes_on_only_where_one_was() {
        let resumed = |from| ExecStart { resume_from: Some(from), ..in_session() };
        let wrong = OutputOffsets { stdout_offset: -1, stderr_offset: -2, terminal_offset: -3 };
        let named =
            ["stdout_offset", "stderr_offset", "terminal_offset"].map(|name| format!("start.resume_from.{name}"));
        assert_eq!(fields(start(&resumed(wrong))), [&["start.request_id".to_owned()][..], &named].concat());
        let right = ExecStart { request_id: "r".into(), ..resumed(OutputOffsets::default()) };
        assert_eq!(fields(start(&right)), [""; 0]);
        let in_run = RunRequest { start: Some(right), ..RunRequest::default() };
        assert_eq!(fields(run(&in_run)), ["start.resume_from"]);
    }

    #[test]
    fn a_program_has_arguments_that_can_be_executed() {
        let direct = |argv: Vec<String>| ExecStart {
            target: Some(Target::SandboxId("sbx-1".into())),
            argv,
            ..ExecStart::default()
        };
        let longest = MAX_ENV_STRING - 1;
        assert_eq!(fields(start(&direct(vec!["x".into(), "y".repeat(longest)]))), [""; 0]);
        assert_eq!(fields(start(&direct(vec!["x".into(), "y".repeat(longest + 1)]))), ["start.argv[1]"]);
        assert_eq!(fields(start(&direct(vec!["x".repeat(longest); 11]))), ["start.argv"]);
        assert_eq!(fields(start(&direct(vec!["x".into(); MAX_ARGUMENTS.1]))), [""; 0]);
        assert_eq!(fields(start(&direct(vec!["x".into(); MAX_ARGUMENTS.1 + 1]))), ["start.argv"]);
        let both = ExecStart { command: "true".into(), shell: "sh".into(), ..direct(vec![String::new(), "\0".into()]) };
        let wrong = ["start.argv", "start.shell", "start.argv[0]", "start.argv[1]"];
        assert_eq!(fields(start(&both)), wrong);
        assert_eq!(fields(start(&ExecStart { argv: vec!["true".into()], ..in_session() })), ["start.argv"]);
    }

    #[test]
    fn what_follows_a_start_is_checked_in_order() {
        let message = |request| ExecRequest { request: Some(request) };
        let size = |rows| message(Request::Resize(TerminalSize { rows, columns: 80 }));
        let mut pipes = StdinRules::after(&in_session());
        assert!(pipes.check(&message(Request::Stdin("x".into()))).is_ok());
        assert_eq!(fields(pipes.check(&size(24))), ["resize"]);
        assert_eq!(fields(pipes.check(&message(Request::Signal(0)))), ["signal"]);
        assert_eq!(fields(pipes.check(&message(Request::Start(in_session())))), ["start"]);
        assert_eq!(fields(pipes.check(&ExecRequest::default())), ["request"]);
        assert!(pipes.check(&message(Request::CloseStdin(CloseStdin {}))).is_ok());
        assert_eq!(fields(pipes.check(&message(Request::Stdin("x".into())))), ["stdin"]);
        let placed = |offset, end| message(Request::InputAt(InputAt { offset, data: "x".into(), end }));
        let mut placing = StdinRules::after(&in_session());
        assert!(placing.check(&placed(0, false)).is_ok());
        assert_eq!(fields(placing.check(&placed(-1, false))), ["input_at.offset"]);
        assert!(placing.check(&placed(1, true)).is_ok());
        assert_eq!(fields(placing.check(&placed(2, false))), ["input_at"]);
        let mut terminal = StdinRules::after(&ExecStart { pty: Some(Pty::default()), ..in_session() });
        assert!(terminal.check(&size(24)).is_ok());
        assert_eq!(fields(terminal.check(&size(0))), ["resize.rows"]);
    }
}
