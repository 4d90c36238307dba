//! How a shell is given a command, and reports its end.
//!
//! The command's text is a quoted word in a file of ours, or that file itself, and the shell evaluates it. So no text can
//! break a line, and what a shell says of a mistake names no file.

use super::{COMMAND, Dialect, LEAVE, RETURN, RUNNING, STATUS, quoting::quoted, taken::Taken};
use crate::agent::environment::TERM as DUMB;
use std::borrow::Cow;

impl Dialect {
    /// The word before a built-in that makes the next one a built-in, whatever the user has defined, and its errors
    /// survivable. Quoted, like the built-in itself, so that no alias takes it.
    fn word(self, taken: Taken) -> &'static str {
        match self {
            // Only what is special there is no function's. A mistake ends the shell then, as it ends a script.
            Self::Posix if taken.command => "\\",
            Self::Bash if taken.command => "\\builtin \\",
            Self::Posix | Self::Bash => "\\command \\",
            // For zsh that is a built-in which changes nothing here.
            Self::Zsh if taken.builtin => "\\- \\",
            Self::Zsh => "\\builtin \\",
        }
    }

    /// Lines of ours, which name built-ins as if nobody had taken the word for that.
    pub(in crate::agent::shell) fn reworded(self, lines: &str, taken: Taken) -> Cow<'_, str> {
        match self {
            Self::Posix if taken.command => lines.replace("\\command ", "\\").into(),
            Self::Bash if taken.builtin => lines.replace("\\builtin ", "\\command ").into(),
            Self::Bash if taken.command => lines.replace("\\command ", "\\builtin ").into(),
            Self::Zsh if taken.builtin => lines.replace("\\builtin ", "\\- ").into(),
            _ => lines.into(),
        }
    }

    /// The content of the file [`COMMAND`].
    pub(in crate::agent::shell) fn file(self, call: &Call<'_>, directory: &str) -> Vec<u8> {
        let mut text = Vec::with_capacity(call.text.len() + call.text.len() / 8 + 512);
        if self == Self::Zsh && call.last_status == 0 {
            let word = self.word(call.taken);
            if self.retraces(call) {
                text.extend_from_slice(format!("{word}set -x;").as_bytes());
            }
            if call.knows_last && !call.in_lines {
                text.extend_from_slice(format!("{word}: \"$SANDSHELL_LAST\";").as_bytes());
            }
        }
        text.extend_from_slice(call.text);
        if call.tells_end {
            text.extend_from_slice(self.end());
        }
        match self {
            Self::Zsh => text,
            Self::Bash if call.at_top => [b"SANDSHELL_TEXT=", &quoted(&text)[..], b"\n"].concat(),
            Self::Bash => [self.before(call, directory).as_bytes(), &quoted(&text), call.streams().as_bytes()].concat(),
            Self::Posix => {
                let before = format!("{RUNNING}=1; {}", self.before(call, directory));
                let after = format!("{}; SANDSHELL_END=$? {RUNNING}=\n", call.streams().trim_end());
                [before.as_bytes(), &quoted(&text), after.as_bytes()].concat()
            }
        }
    }

    /// Whether the trace is turned off for our line and on for the text. `$?` would be lost where it is not 0.
    fn retraces(self, call: &Call<'_>) -> bool {
        self == Self::Zsh && call.traced && call.last_status == 0
    }

    /// What stands before the text: `$?`, `$_` and PIPESTATUS of the user's text are those of the user's last command.
    fn before(self, call: &Call<'_>, directory: &str) -> String {
        let word = self.word(call.taken);
        let last = if call.knows_last && self == Self::Bash { " \"$SANDSHELL_LAST\"" } else { "" };
        // Under `set -e` only the right side counts.
        let status = match call.last_status {
            _ if call.pipes.len() > 1 && call.pipes.last() == Some(&call.last_status) => {
                let parts: Vec<_> = call.pipes.iter().map(|status| format!("({word}exit {status})")).collect();
                let then = if call.last_status == 0 { ";" } else { " ||" };
                let last = if last.is_empty() { String::new() } else { format!("{word}:{last}; ") };
                format!("{last}{}{then} ", parts.join(" | "))
            }
            0 if last.is_empty() => String::new(),
            0 => format!("{word}:{last}; "),
            _ => format!("{word}. {directory}/{RETURN}{last} || "),
        };
        match self {
            // Not by `command`: a mistake in the text is survived by the line that reads the file, which no file is open
            // around. In busybox ash the copy of the shell that is a subshell survives it there too. With a file or another
            // text open around it, it would try to close that for ever.
            Self::Posix => format!("{status}\\eval "),
            Self::Bash | Self::Zsh => {
                let (found, term) = Self::term(call);
                format!("{found}{status}{term}{word}eval ")
            }
        }
    }

    /// What sets `TERM` for one command: what stands before, and the assignment.
    fn term(call: &Call<'_>) -> (String, String) {
        match call.term {
            None => (String::new(), String::new()),
            Some(Term::Asked(term)) => (String::new(), format!("TERM={term} ")),
            Some(Term::Usual(term)) => (
                format!("{FOUND}=${{TERM-{DUMB}}}; {FOUND}=${{{FOUND}#{DUMB}}}; "),
                format!("TERM=${{{FOUND}:-{term}}} "),
            ),
        }
    }

    /// What is put behind a text that is surely whole: notes what the lines after it would overwrite.
    fn end(self) -> &'static [u8] {
        match self {
            Self::Posix => b"",
            Self::Bash => b"\nSANDSHELL_END=$? SANDSHELL_LAST=\"${_:0:4096}\" SANDSHELL_PIPES=${PIPESTATUS[@]}",
            Self::Zsh => {
                b"\nSANDSHELL_END=$? SANDSHELL_LAST=\"${_[1,4096]}\" SANDSHELL_PIPES=\"${(j: :)pipestatus[@]}\""
            }
        }
    }

    /// Lines that run the command file.
    pub(in crate::agent::shell) fn run(self, call: &Call<'_>, tag: u64, directory: &str) -> String {
        let word = self.word(call.taken);
        let file = format!("{word}. {directory}/{COMMAND}");
        let leave = format!("{word}. {directory}/{LEAVE}");
        // What is traced when the streams are opened goes where they lead to without that.
        let untraced = if self.retraces(call) { format!("{word}set +x; ") } else { String::new() };
        let source = match self {
            Self::Posix => {
                let (found, term) = Self::term(call);
                format!("{found}{term}{file}")
            }
            Self::Zsh if call.in_lines => {
                let before = self.before(call, directory);
                let before = before.strip_suffix("eval ").unwrap_or_default();
                format!("{untraced}{before}. {directory}/{COMMAND}{}", call.streams().trim_end())
            }
            Self::Bash if call.at_top => {
                format!("{file}\n{}\"$SANDSHELL_TEXT\"{}", self.before(call, directory), call.streams().trim_end())
            }
            Self::Bash => file,
            Self::Zsh => {
                format!(
                    "{untraced}{}\"$(<{directory}/{COMMAND})\"{}",
                    self.before(call, directory),
                    call.streams().trim_end()
                )
            }
        };
        let source = if call.taken.disabled { self.enabled_after(source) } else { source };
        match self {
            // The variable tells the INT trap whether there is a command to abort: an INT that comes before or after would
            // end the shell. The file leaves it set when a mistake or a `return` ends the text.
            Self::Posix if call.leave => format!("{source}; {leave}\n"),
            Self::Posix => format!(
                "{source}; SANDSHELL_END=${{SANDSHELL_END:-$?}} {RUNNING}=; {}{}; SANDSHELL_END=\n",
                Self::only_the_shell_itself(word, directory),
                self.report_of(word, tag, directory)
            ),
            // A second time on a line of its own, because an INT drops the rest of a line. Not at once, because before each
            // line the shell runs what the user has it do for a prompt.
            Self::Bash | Self::Zsh if call.leave => format!("{source}; {leave}\n{leave}\n"),
            Self::Bash | Self::Zsh => format!("{source}\n{}\n", self.report_of(word, tag, directory)),
        }
    }

    /// After a failure, ends a copy of the shell that goes on in the place of the shell. The copy would report the end of a
    /// command that goes on, and read our next line. (The comparison of two names of its process is the quick way for
    /// the shell itself.)
    fn only_the_shell_itself(word: &str, directory: &str) -> String {
        format!(
            "{word}test \"$SANDSHELL_END\" = 0 || {word}test /proc/self -ef \"/proc/$$\" || {word}. {directory}/{ORIGINAL}; "
        )
    }

    /// The script that ends a copy of the shell. Whoever cannot find out its process id is none.
    pub(super) fn original_script() -> String {
        "IFS=' ' \\command \\read -r SANDSHELL_PID SANDSHELL_REST </proc/self/stat\n\
         \\command \\test \"${SANDSHELL_PID:-$$}\" = \"$$\" || \\exit \"${SANDSHELL_END:-1}\"\n\
         SANDSHELL_PID= SANDSHELL_REST=\n"
            .to_owned()
    }

    /// A line, and one that enables the built-ins of our lines again. A shell without them could not be told anything.
    fn enabled_after(self, line: String) -> String {
        const NEEDED: &str = "command builtin . : eval exit printf return set trap";
        match self {
            Self::Posix => line,
            Self::Bash | Self::Zsh => {
                format!("{line}\nSANDSHELL_END=${{SANDSHELL_END:-$?}}; \\enable {NEEDED}")
            }
        }
    }

    /// The report of a command, with more than [`Self::report`] says.
    fn report_of(self, word: &str, tag: u64, directory: &str) -> String {
        match self {
            Self::Posix => {
                format!(
                    "{word}printf \"\\000{tag:x} %s %s\\000\" \"$SANDSHELL_END\" \"${{PWD-}}\" >|{directory}/{STATUS}"
                )
            }
            // zsh reads our lines byte by byte: this is a third of the line that is in the file.
            Self::Zsh if word == self.word(Taken::default()) => {
                format!("{word}. {directory}/{REPORT} {tag:x} >|{directory}/{STATUS}")
            }
            Self::Bash | Self::Zsh => {
                format!("{word}eval '{}' >|{directory}/{STATUS}", self.report_in_words(word, &format!("{tag:x}")))
            }
        }
    }

    /// The script of a report, whose tag is its only argument.
    pub(super) fn report_script(self) -> String {
        format!("{}\n", self.report_in_words(self.word(Taken::default()), "$1"))
    }

    /// Whether there is a DEBUG trap comes before the report, as a record of its own.
    fn report_in_words(self, word: &str, tag: &str) -> String {
        let told = "\"$-\" \"${SANDSHELL_PIPES:0:4096}\" \"${PWD-}\"";
        let traps = if self == Self::Bash { "trap -p DEBUG" } else { "trap" };
        format!(
            "SANDSHELL_END=${{SANDSHELL_END:-$?}} SANDSHELL_PIPES=${{SANDSHELL_PIPES-}}; {word}{traps}; \
             {word}printf \"\\000{tag} %s\\001%s\\001%s\\001%s\\000\" \"$SANDSHELL_END\" {told}; {CLEAR}"
        )
    }

    /// The script that ends a shell after its only command, with its status. It puts an end to traces of our lines, and its
    /// own trace is known by the name in it.
    pub(in crate::agent::shell) fn leave_script(self, taken: Taken) -> String {
        let word = self.word(taken);
        format!(
            "{word}eval 'SANDSHELL_END=${{SANDSHELL_END:-$?}}; {word}set +xv' 2>/dev/null\n{word}exit \"$SANDSHELL_END\"\n"
        )
    }

    /// The script that sets `$?`.
    pub(in crate::agent::shell) fn return_script(self, status: i32, taken: Taken) -> String {
        format!("{}return {status}\n", self.word(taken))
    }

    /// The line that reports the last status under a tag.
    pub(in crate::agent::shell) fn report(self, tag: u64, directory: &str) -> String {
        let report = self.report_command(tag, directory);
        match self {
            Self::Posix => format!("{report}; {RUNNING}=\n"),
            // What a command has noted and no report has told is of no use to the next one.
            Self::Bash | Self::Zsh => format!("{report}; {CLEAR}\n"),
        }
    }

    /// A report begins with a NUL too: what somebody else has written before it, without an end, is no part of it.
    pub(super) fn report_command(self, tag: u64, directory: &str) -> String {
        format!("{} printf \"\\000{tag:x} %s %s\\000\" \"$?\" \"${{PWD-}}\" >|{directory}/{STATUS}", self.builtin())
    }

    /// Lines that take a pending signal, which else would hit the next command, and report when that is done.
    pub(in crate::agent::shell) fn settle(self, tag: u64, directory: &str) -> String {
        format!("{}{}", self.after_abandoning(), self.report(tag, directory))
    }
}

/// One command for [`Dialect::run`]. Paths are our own and need no quotes.
pub(in crate::agent::shell) struct Call<'a> {
    /// The user's text.
    pub(in crate::agent::shell) text: &'a [u8],
    /// Where standard input comes from.
    pub(in crate::agent::shell) input: &'a str,
    /// Where standard output goes.
    pub(in crate::agent::shell) output: &'a str,
    /// Where standard error goes.
    pub(in crate::agent::shell) error: &'a str,
    /// `$?` that the command should find.
    pub(in crate::agent::shell) last_status: i32,
    /// `TERM` for this command alone.
    pub(in crate::agent::shell) term: Option<Term<'a>>,
    /// Whether the shell ends after it, with its status, instead of reporting.
    pub(in crate::agent::shell) leave: bool,
    /// Whose names the user's functions have.
    pub(in crate::agent::shell) taken: Taken,
    /// Whether the shell still has `$_` of the user's last command.
    pub(in crate::agent::shell) knows_last: bool,
    /// PIPESTATUS that the command should find, when it asks for it.
    pub(in crate::agent::shell) pipes: &'a [i32],
    /// Whether the text is followed by [`Dialect::end`].
    pub(in crate::agent::shell) tells_end: bool,
    /// Whether the shell traces what it runs.
    pub(in crate::agent::shell) traced: bool,
    /// Whether bash evaluates it on a line and not in a file. There its DEBUG trap counts, a trace has a sign less, and a
    /// substitution without an end does not damage the memory of bash 5.2. But there bash also says on standard error that it
    /// exits, and which jobs it begins.
    pub(in crate::agent::shell) at_top: bool,
    /// Whether zsh must read it line by line, from its file, because a line changes how the next ones are read.
    pub(in crate::agent::shell) in_lines: bool,
}

impl Call<'_> {
    fn streams(&self) -> String {
        format!(" <{} >|{} 2>|{}\n", self.input, self.output, self.error)
    }
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

/// Forgets what [`Dialect::end`] has noted of the command, but for `$_`.
const CLEAR: &str = "SANDSHELL_END= SANDSHELL_PIPES=";

/// What turns off the traces of a shell that is about to leave. Some show that itself.
pub(in crate::agent::shell) const UNTRACE: &[u8] = b"set +xv";

/// Script of the report of a command, for zsh.
pub(super) const REPORT: &str = "report";

/// Script that ends a copy of a shell.
pub(super) const ORIGINAL: &str = "original";

/// Script of the INT trap while a command runs.
pub(super) const ABORT: &str = "abort";
