//! How a shell is given a command, and reports its end.

use super::{ABORTED, COMMAND, Dialect, LEAVE, RETURN, STATUS};
use crate::agent::environment::TERM as DUMB;

impl Dialect {
    /// Lines that run the command file.
    pub(in crate::agent::shell) fn run(self, call: &Call<'_>, tag: u64, directory: &str) -> String {
        let builtin = self.builtin();
        let Call { input, output, error, last_status, term, leave } = call;
        // `$?` of the user's text is the status of the user's last command. Under `set -e` only the right side counts.
        let status = if *last_status == 0 { String::new() } else { format!("{builtin} . {directory}/{RETURN} || ") };
        let (found, term) = match term {
            None => (String::new(), String::new()),
            Some(Term::Asked(term)) => (String::new(), format!("TERM={term} ")),
            Some(Term::Usual(term)) => (
                format!("{FOUND}=${{TERM-{DUMB}}}; {FOUND}=${{{FOUND}#{DUMB}}}; "),
                format!("TERM=${{{FOUND}:-{term}}} "),
            ),
        };
        let source = format!("{found}{status}{term}{builtin} . {directory}/{COMMAND} <{input} >|{output} 2>|{error}");
        let then =
            if *leave { format!("{builtin} . {directory}/{LEAVE}") } else { self.report_command(tag, directory) };
        match self {
            // In one list, which an INT may abort at any point without ending the shell. The variable tells the trap
            // whether it is there to abort: an INT that comes before or after would end the shell.
            Self::Posix => format!("{builtin} eval '{RUNNING}=1; {source}; {then}; {RUNNING}='\n"),
            Self::Bash | Self::Zsh => format!("{source}\n{then}\n"),
        }
    }

    /// The line that reports the last status under a tag.
    pub(in crate::agent::shell) fn report(self, tag: u64, directory: &str) -> String {
        let report = self.report_command(tag, directory);
        match self {
            Self::Posix => format!("{report}; {RUNNING}=\n"),
            Self::Bash | Self::Zsh => format!("{report}\n"),
        }
    }

    /// A report begins with a NUL too: what somebody else has written before it, without an end, is no part of it.
    pub(super) fn report_command(self, tag: u64, directory: &str) -> String {
        format!("{} printf \"\\000{tag:x} %s %s\\000\" \"$?\" \"${{PWD-}}\" >|{directory}/{STATUS}", self.builtin())
    }

    /// Lines that take a pending INT, which else would hit the next command, and report when that is done.
    pub(in crate::agent::shell) fn settle(self, tag: u64, directory: &str) -> String {
        format!("{} eval :\n{}", self.builtin(), self.report(tag, directory))
    }

    /// The script of the INT trap: says that the command is aborted, then fails in a way that aborts it.
    pub(super) fn interrupt_script(self, directory: &str) -> String {
        format!(
            "case ${{{RUNNING}-}} in 1) \\command printf '\\000{ABORTED} 130 \\000' >|{directory}/{STATUS}; . {directory}/SANDSHELL_NOTHING 2>/dev/null;; esac\n"
        )
    }
}

/// One command for [`Dialect::run`]. Paths are our own and need no quotes.
pub(crate) struct Call<'a> {
    /// Where standard input comes from.
    pub(crate) input: &'a str,
    /// Where standard output goes.
    pub(crate) output: &'a str,
    /// Where standard error goes.
    pub(crate) error: &'a str,
    /// `$?` that the command should find.
    pub(crate) last_status: i32,
    /// `TERM` for this command alone.
    pub(crate) term: Option<Term<'a>>,
    /// Whether the shell ends after it, with its status, instead of reporting.
    pub(crate) leave: bool,
}

/// `TERM` of a command on a terminal. Both are words that need no quotes.
#[derive(Clone, Copy)]
pub(crate) enum Term<'a> {
    /// What its client says.
    Asked(&'a str),
    /// What the user has set in the session, and this when that is only what says that there is no terminal.
    Usual(&'a str),
}

/// Variable that has what is left of `TERM` without [`DUMB`]. A user sees it in `set`.
const FOUND: &str = "SANDSHELL_TERM";

/// Variable that is 1 while a command runs, in shells whose INT trap is ours. A user sees it in `set`.
const RUNNING: &str = "SANDSHELL_RUNNING";
