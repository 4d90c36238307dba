//! How a shell is given a command, and reports its end.
//!
//! The command's text is a quoted word in a file of ours, or that file itself, and the shell evaluates it. So no text can
//! break a line, and what a shell says of a mistake names no file.

use super::{
    COMMAND, Dialect, LEAVE, RETURN, RUNNING, STATUS,
    quoting::{escaped, quoted},
    taken::Taken,
};
use crate::agent::shell::environment::TERM as DUMB;
use std::{borrow::Cow, fmt::Write};

/// As `format!`, with room for most lines of ours from the beginning: each command needs several.
macro_rules! line {
    ($($part:tt)*) => {{
        let mut line = String::with_capacity(512);
        // A string takes all that is written to it.
        let _ = write!(line, $($part)*);
        line
    }};
}

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

    /// The content of the file [`COMMAND`]. Our lines do as little as they can, because zsh reads them byte by byte.
    pub(in crate::agent::shell) fn file(self, call: &Call<'_>, tag: u64, directory: &str) -> Vec<u8> {
        let mut text = Vec::with_capacity(call.text.len() + call.text.len() / 8 + 512);
        if self.retraces(call) {
            text.extend_from_slice(line!("{}set -x;", self.word(call.taken)).as_bytes());
        }
        // For zsh the last argument of `eval` is one too.
        if self == Self::Zsh && call.last_status == 0 && call.pipes.is_empty() && !call.in_lines {
            let last = call.last_word();
            if !last.is_empty() {
                text.extend_from_slice(line!("{}:{last};", self.word(call.taken)).as_bytes());
            }
        }
        text.extend_from_slice(call.text);
        if call.tells_end {
            text.extend_from_slice(self.end(call, tag).as_bytes());
        }
        let before = || self.before(call, directory);
        match self {
            Self::Zsh if call.in_lines || call.may_start_jobs => text,
            Self::Zsh => [before().as_bytes(), &escaped(&text), call.streams("").as_bytes()].concat(),
            Self::Bash if call.is_plain => text,
            Self::Bash if call.at_top => [b"SANDSHELL_TEXT=", &quoted(&text)[..], b"\n"].concat(),
            Self::Bash => [before().as_bytes(), &quoted(&text), call.streams("'").as_bytes()].concat(),
            Self::Posix => {
                let before = line!("{RUNNING}=1; {}", before());
                let after = line!("{}; SANDSHELL_END=$? {RUNNING}=\n", call.streams("").trim_end());
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
        let last = if self == Self::Bash { call.last_word() } else { String::new() };
        // Under `set -e` only the right side counts.
        let status = match call.last_status {
            _ if call.pipes.len() > 1 && call.pipes.last() == Some(&call.last_status) => {
                let parts: Vec<_> = call.pipes.iter().map(|status| line!("({word}exit {status})")).collect();
                let then = if call.last_status == 0 { ";" } else { " ||" };
                let last = if last.is_empty() { String::new() } else { line!("{word}:{last}; ") };
                line!("{last}{}{then} ", parts.join(" | "))
            }
            0 if last.is_empty() => String::new(),
            0 => line!("{word}:{last}; "),
            // In busybox ash an ERR trap would run for the script that sets it.
            status if self == Self::Posix && call.asks_traps => line!("({word}exit {status}) || "),
            _ => line!("{word}. {directory}/{RETURN}{last} || "),
        };
        match self {
            // Not by `command`: a mistake in the text is survived by the line that reads the file, which no file is open
            // around. In busybox ash the copy of the shell that is a subshell survives it there too. With a file or another
            // text open around it, it would try to close that for ever.
            Self::Posix => line!("{status}\\eval "),
            Self::Bash | Self::Zsh => {
                let (found, term) = Self::term(call);
                line!("{found}{status}{term}{word}eval ")
            }
        }
    }

    /// What sets `TERM` for one command: what stands before, and the assignment.
    fn term(call: &Call<'_>) -> (String, String) {
        match call.term {
            None => (String::new(), String::new()),
            Some(Term::Asked(term)) => (String::new(), line!("TERM={term} ")),
            Some(Term::Usual(term)) => {
                (line!("{FOUND}=${{TERM-{DUMB}}}; {FOUND}=${{{FOUND}#{DUMB}}}; "), line!("TERM=${{{FOUND}:-{term}}} "))
            }
        }
    }

    /// What is put behind a text that is surely whole: notes what the lines after it would overwrite. The tag tells it from
    /// what an earlier command has noted, when this one does not get to its end.
    fn end(self, call: &Call<'_>, tag: u64) -> String {
        let (pipes, last) = match self {
            Self::Posix => return String::new(),
            Self::Bash if call.has_many_pipes => ("${PIPESTATUS[@]:0:1000}", "${_:0:4096}"),
            Self::Bash => ("${PIPESTATUS[@]}", "${_:0:4096}"),
            Self::Zsh if call.has_many_pipes => ("${(j: :)${pipestatus[@]:0:1000}}", "${_[1,4096]}"),
            Self::Zsh => ("${(j: :)pipestatus[@]}", "${_[1,4096]}"),
        };
        line!("\nSANDSHELL_END=\"{tag:x} $? {pipes}\" SANDSHELL_LAST=\"{last}\"")
    }

    /// Lines that run the command file.
    pub(in crate::agent::shell) fn run(self, call: &Call<'_>, tag: u64, directory: &str) -> String {
        let word = self.word(call.taken);
        let file = line!("{word}. {directory}/{COMMAND}");
        let leave = line!("{word}. {directory}/{LEAVE}");
        // What is traced when the streams are opened goes where they lead to without that.
        let untraced = if self.retraces(call) { line!("{word}set +x; ") } else { String::new() };
        // What comes before a text, for one that is read from its file and not evaluated.
        let before_file = || {
            let before = self.before(call, directory);
            before.strip_suffix("eval ").unwrap_or_default().to_owned()
        };
        let source = match self {
            Self::Posix => {
                let (found, term) = Self::term(call);
                line!("{found}{term}{file}")
            }
            Self::Zsh if call.in_lines => {
                line!("{untraced}{}. {directory}/{COMMAND}{}", before_file(), call.streams("").trim_end())
            }
            // Each command around a job of the user's takes a number from it.
            Self::Zsh if call.may_start_jobs => line!(
                "{untraced}{}\"$(<{directory}/{COMMAND})\"{}",
                self.before(call, directory),
                call.streams("").trim_end()
            ),
            Self::Zsh => line!("{untraced}{word}eval \"$(<{directory}/{COMMAND})\""),
            Self::Bash if call.is_plain => {
                line!("{}. '{directory}/{COMMAND}'{}", before_file(), call.streams("'").trim_end())
            }
            Self::Bash if call.at_top => {
                line!("{file}\n{}\"$SANDSHELL_TEXT\"{}", self.before(call, directory), call.streams("'").trim_end())
            }
            Self::Bash => file,
        };
        let source = if call.taken.disabled { self.enabled_after(source) } else { source };
        match self {
            // The variable tells the INT trap whether there is a command to abort: an INT that comes before or after would
            // end the shell. The file leaves it set when a mistake or a `return` ends the text.
            Self::Posix if call.leave => line!("{source}; {leave}\n"),
            Self::Posix => line!(
                "{source}; SANDSHELL_END=${{SANDSHELL_END:-$?}} {RUNNING}=; {}{}; SANDSHELL_END=\n",
                Self::only_the_shell_itself(word, directory),
                self.report_of(call, tag, directory)
            ),
            // A second time on a line of its own, because an INT drops the rest of a line. Not at once, because before each
            // line the shell runs what the user has it do for a prompt.
            Self::Bash | Self::Zsh if call.leave => line!("{source}; {leave}\n{leave}\n"),
            Self::Bash | Self::Zsh => line!("{source}\n{}\n", self.report_of(call, tag, directory)),
        }
    }

    /// After a failure, ends a copy of the shell that goes on in the place of the shell. The copy would report the end of a
    /// command that goes on, and read our next line. (The comparison of two names of its process is the quick way for
    /// the shell itself.)
    fn only_the_shell_itself(word: &str, directory: &str) -> String {
        line!(
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
                line!("{line}\n{ENDED_WITH}=$?; \\enable {NEEDED}")
            }
        }
    }

    /// The report of a command, with more than [`Self::report`] says.
    fn report_of(self, call: &Call<'_>, tag: u64, directory: &str) -> String {
        let word = self.word(call.taken);
        let status = if call.taken.disabled { line!("${ENDED_WITH}") } else { "$?".to_owned() };
        let report = || self.report_in_words(word, &line!("{tag:x}"), &status, call.tells_end);
        match self {
            Self::Posix => {
                line!(
                    "{word}printf \"\\000{tag:x} %s %s\\000\" \"$SANDSHELL_END\" \"${{PWD-}}\" >|{directory}/{STATUS}"
                )
            }
            // Whether there is a DEBUG trap comes before the report, as a record of its own.
            Self::Bash | Self::Zsh if call.asks_traps => {
                let traps = if self == Self::Bash { "trap -p DEBUG" } else { "trap" };
                line!(
                    "{word}eval '{ENDED_WITH}={status}; {word}{traps}; {}' >|{directory}/{STATUS}",
                    self.report_in_words(word, &line!("{tag:x}"), &line!("${ENDED_WITH}"), call.tells_end)
                )
            }
            Self::Zsh if !call.taken.disabled && word == self.word(Taken::default()) => {
                line!("{word}. {directory}/{REPORT} {tag:x}")
            }
            Self::Bash => line!("{} >|'{directory}/{STATUS}'", report()),
            Self::Zsh => line!("{} >|{directory}/{STATUS}", report()),
        }
    }

    /// The script of a report, whose tag is its only argument. For zsh this is less work than to read the line.
    pub(super) fn report_script(self, directory: &str) -> String {
        let report = self.report_in_words(self.word(Taken::default()), "$1", "$?", true);
        line!("{report} >|{directory}/{STATUS}\n")
    }

    fn report_in_words(self, word: &str, tag: &str, status: &str, tells_end: bool) -> String {
        let (end, noted) = if tells_end { ("%s", "\"${SANDSHELL_END-}\" ") } else { ("", "") };
        line!("{word}printf \"\\000{tag} {status}\\001$-\\001{end}\\001%s\\000\" {noted}\"${{PWD-}}\"")
    }

    /// The script that ends a shell after its only command, with its status. It puts an end to traces of our lines, and its
    /// own trace is known by the name in it.
    pub(in crate::agent::shell) fn leave_script(self, taken: Taken) -> String {
        let word = self.word(taken);
        let noted = match self {
            // Its command file has noted the status.
            Self::Posix => "SANDSHELL_END",
            Self::Bash | Self::Zsh => ENDED_WITH,
        };
        line!("{word}eval '{noted}=${{{noted}:-$?}}; {word}set +xv' 2>/dev/null\n{word}exit \"${noted}\"\n")
    }

    /// The script that sets `$?`.
    pub(in crate::agent::shell) fn return_script(self, status: i32, taken: Taken) -> String {
        line!("{}return {status}\n", self.word(taken))
    }

    /// The line that reports the last status under a tag.
    pub(in crate::agent::shell) fn report(self, tag: u64, directory: &str) -> String {
        match self {
            // Whoever hears the report may send a signal, and no trap must take that for one that aborts a command.
            Self::Posix => line!(
                "SANDSHELL_END=$? {RUNNING}=; {}; SANDSHELL_END=\n",
                self.report_status(tag, directory, "$SANDSHELL_END")
            ),
            Self::Bash | Self::Zsh => line!("{}\n", self.report_command(tag, directory)),
        }
    }

    /// A report begins with a NUL too: what somebody else has written before it, without an end, is no part of it.
    pub(super) fn report_command(self, tag: u64, directory: &str) -> String {
        self.report_status(tag, directory, "$?")
    }

    fn report_status(self, tag: u64, directory: &str, status: &str) -> String {
        line!("{} printf \"\\000{tag:x} %s %s\\000\" \"{status}\" \"${{PWD-}}\" >|{directory}/{STATUS}", self.builtin())
    }

    /// Lines that take a pending signal, which else would hit the next command, and report when that is done.
    pub(in crate::agent::shell) fn settle(self, tag: u64, directory: &str) -> String {
        line!("{}{}", self.after_abandoning(), self.report(tag, directory))
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
    /// `$_` that the command should find, when something may ask for it.
    pub(in crate::agent::shell) last_argument: Option<LastArgument<'a>>,
    /// PIPESTATUS that the command should find, when it asks for it.
    pub(in crate::agent::shell) pipes: &'a [i32],
    /// Whether the text is followed by [`Dialect::end`].
    pub(in crate::agent::shell) tells_end: bool,
    /// Whether there may be more parts in a pipeline of it than are told.
    pub(in crate::agent::shell) has_many_pipes: bool,
    /// Whether it is one simple command of literal words, and nothing else happens beside it.
    pub(in crate::agent::shell) is_plain: bool,
    /// Whether it may start jobs.
    pub(in crate::agent::shell) may_start_jobs: bool,
    /// Whether the shell may have a DEBUG trap after it.
    pub(in crate::agent::shell) asks_traps: bool,
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
    /// What makes `$_` what the command should find, as an argument of a built-in.
    fn last_word(&self) -> String {
        match self.last_argument {
            None => String::new(),
            Some(LastArgument::Noted) => " \"$SANDSHELL_LAST\"".to_owned(),
            Some(LastArgument::Word(word)) => line!(" {word}"),
        }
    }

    /// The redirections. bash expands a quoted name with less work; elsewhere they may be in quotes already. Standard output is
    /// last, because it tells that the shell is inside the command: a signal that interrupted the opening of another one would
    /// end dash.
    fn streams(&self, quote: &str) -> String {
        let Self { input, output, error, .. } = self;
        line!(" <{quote}{input}{quote} 2>|{quote}{error}{quote} >|{quote}{output}{quote}\n")
    }
}

/// `$_` of the command before.
#[derive(Clone, Copy)]
pub(in crate::agent::shell) enum LastArgument<'a> {
    /// The shell has noted it.
    Noted,
    /// It is this word, which needs no quotes.
    Word(&'a str),
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

/// Variable that has the status of a command after which our lines do something else before they tell it.
const ENDED_WITH: &str = "SANDSHELL_STATUS";

/// What turns off the traces of a shell that is about to leave. Some show that itself.
pub(in crate::agent::shell) const UNTRACE: &[u8] = b"set +xv";

/// Script of the report of a command, for zsh.
pub(super) const REPORT: &str = "report";

/// Script that ends a copy of a shell.
pub(super) const ORIGINAL: &str = "original";

/// Scripts of the INT trap while a command runs, and when it is already aborted: the name ends with what [`RUNNING`] is then.
pub(super) const ABORT: &str = "abort1";
pub(super) const ABORT_AGAIN: &str = "abort2";
