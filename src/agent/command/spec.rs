//! What a client asks of one command.

use super::super::{
    output::{Budget, Charge, Log},
    shell::Loan,
    users::User,
};
use crate::{
    api::v1::{self, TerminalSize},
    error::{Error, Reason, Result},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// Time between INT, TERM and KILL unless the client says otherwise.
pub(in crate::agent) const KILL_GRACE: Duration = Duration::from_millis(500);

/// A terminal's size unless the client says otherwise.
pub(in crate::agent) const DEFAULT_SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };

/// What was asked.
pub(in crate::agent) struct Spec {
    /// Shell text.
    pub(in crate::agent) text: Bytes,
    /// The program and its arguments instead, and the charge for them.
    pub(in crate::agent) arguments: Option<Box<(Vec<String>, Charge)>>,
    /// Longest run time.
    pub(in crate::agent) timeout: Option<Duration>,
    /// Time between INT, TERM and KILL.
    pub(in crate::agent) grace: Duration,
    /// Where its standard input comes from.
    pub(in crate::agent) input: Input,
    /// Whether its client can answer questions, for as long as it has not ended its input.
    pub(in crate::agent) answers: Answers,
    /// Its terminal, when it runs on one.
    pub(in crate::agent) pty: Option<Pty>,
    /// Where its output goes.
    pub(in crate::agent) log: Arc<Log>,
    /// Whether both outputs are one.
    pub(in crate::agent) merge: bool,
    /// As whom it runs in a session that belongs to somebody else.
    pub(in crate::agent) user: Option<Arc<User>>,
    /// What it has of its own in a session, and the charge for it.
    pub(in crate::agent) loan: Option<Box<(Loan, Charge)>>,
}

/// Where standard input comes from.
pub(in crate::agent) enum Input {
    /// Nowhere: end of file at once.
    Empty,
    /// The client's stream.
    Streamed,
    /// All of it is here.
    Whole(Bytes),
}

/// Whether the client can answer what a program asks on the session's terminal, where ssh asks for passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) enum Answers {
    /// It has no way to.
    Never,
    /// It has one, but did not say that it would use it.
    Briefly,
    /// It streams input.
    Streamed,
}

/// The terminal of a command.
pub(in crate::agent) struct Pty {
    /// Its size.
    pub(in crate::agent) size: TerminalSize,
    /// `TERM`, when the client has said it.
    pub(in crate::agent) term: Option<String>,
}

impl Spec {
    /// Reads what a client asked for. The message was checked at the edge. Its text and its input are charged for until
    /// the shell has read them, and what its output needs at least until it is over.
    pub(in crate::agent) fn new(
        start: &mut v1::ExecStart,
        whole_input: Option<Bytes>,
        budget: &Arc<Budget>,
    ) -> Result<Self> {
        let text = Bytes::from(std::mem::take(&mut start.command));
        let arguments = std::mem::take(&mut start.argv);
        let long: usize = arguments.iter().map(|argument| argument.len() + size_of::<String>()).sum();
        let wanted = text.len() + long + whole_input.as_ref().map_or(0, Bytes::len);
        let full = || no_room(wanted, budget);
        let keep = |bytes: Bytes| budget.keep(bytes).ok_or_else(full);
        let text = keep(text)?;
        let arguments = match arguments.is_empty() {
            true => None,
            false => Some(Box::new((arguments, budget.hold(long).ok_or_else(full)?))),
        };
        let whole_input = whole_input.map(keep).transpose()?;
        let asked_log = usize::try_from(start.max_log_bytes).ok().filter(|bytes| *bytes > 0);
        let log = Log::new(budget, asked_log).ok_or_else(full)?;
        let duration = |d: Option<prost_types::Duration>| d.and_then(|d| Duration::try_from(d).ok());
        let pty = start.pty.take().map(|pty| Pty {
            size: pty.size.unwrap_or(DEFAULT_SIZE),
            term: (!pty.term.is_empty()).then_some(pty.term),
        });
        let answers = match &whole_input {
            Some(_) => Answers::Never,
            None if start.stdin || pty.is_some() => Answers::Streamed,
            None => Answers::Briefly,
        };
        let input = match whole_input {
            Some(bytes) if !bytes.is_empty() => Input::Whole(bytes),
            // `Run` has no stream, so that nothing would ever follow what is here.
            Some(_) => Input::Empty,
            None if start.stdin && pty.is_none() => Input::Streamed,
            None => Input::Empty,
        };
        Ok(Self {
            text,
            arguments,
            timeout: duration(start.timeout),
            grace: duration(start.kill_grace).unwrap_or(KILL_GRACE),
            input,
            answers,
            pty,
            log,
            merge: start.merge_stderr,
            user: None,
            loan: None,
        })
    }
}

/// A command that does not fit in.
pub(in crate::agent) fn no_room(wanted: usize, budget: &Budget) -> Error {
    let message = format!(
        "the sandbox's agent has no room for {wanted} bytes of text and input: it keeps {} bytes for all commands, and \
         can take {} more now; wait until others are over, read their output, or give the sandbox more memory",
        budget.total(),
        budget.free()
    );
    Error::exhausted(Reason::SandboxOutOfResources, message)
}
