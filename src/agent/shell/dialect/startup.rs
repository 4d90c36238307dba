//! What a new shell is told before its first command.

use super::{Dialect, SAVE_FILE, call::ORIGINAL};

impl Dialect {
    /// Lines of a new shell. `directory` is the session's private one.
    pub(in crate::agent::shell) fn setup(self, directory: &str) -> String {
        let builtin = self.builtin();
        let abandon = self.abandon_trap(directory);
        let save = format!("{abandon}{builtin} trap '{builtin} \\. {directory}/{SAVE_FILE}' EXIT\n");
        // A restricted shell could not even report. From the beginning, so that it says nothing else before.
        let refuse = format!("case $- in *r*) {builtin} exit {RESTRICTED};; esac\n");
        match self {
            // `[ -t … ]`-free and quiet: nothing that a user can see but the traps, which tell by name what they are.
            Self::Posix => format!(
                "\\command -v source || \\command eval 'source() {{ {SOURCE}; }}'\n\
                 {}{save}",
                self.interrupt_trap(directory)
            ),
            Self::Bash => {
                format!("{refuse}\\unset PS2 HISTFILE\nPS1={EMPTY_IN_BASH}\n\\builtin shopt -u checkjobs\n{save}")
            }
            Self::Zsh => format!("{refuse}\\builtin unset HISTFILE\nPS1={EMPTY_IN_ZSH} PS2=\n{save}"),
        }
    }

    /// Lines that read the user's start-up files, as a login shell does. The shell itself would read them with our lines as
    /// their input, and end over a mistake in them.
    pub(in crate::agent::shell) fn login(self, directory: &str) -> Vec<StartUpFile> {
        let files: &[&'static [&'static str]] = match self {
            Self::Posix => &[&["/etc/profile"], &["~/.profile"]],
            Self::Bash => &[&["/etc/profile"], &["~/.bash_profile", "~/.bash_login", "~/.profile"]],
            Self::Zsh => &[
                &["/etc/zsh/zshenv"],
                &["${ZDOTDIR:-$HOME}/.zshenv"],
                &["/etc/zsh/zprofile"],
                &["${ZDOTDIR:-$HOME}/.zprofile"],
                &["/etc/zsh/zshrc"],
                &["${ZDOTDIR:-$HOME}/.zshrc"],
                &["/etc/zsh/zlogin"],
                &["${ZDOTDIR:-$HOME}/.zlogin"],
            ],
        };
        let builtin = self.builtin();
        // What they print is the shell's own words. Both are redirected, so that a file that sends them elsewhere for good does
        // so for itself alone.
        let copies_end =
            if self == Self::Posix { format!(" || {builtin} . {directory}/{ORIGINAL}") } else { String::new() };
        let read = |file: &&str| {
            format!("if {builtin} test -r {file}; then {builtin} . {file} <{directory}/{NOTHING} >&2 2>&1{copies_end}")
        };
        // Of several, the first that is there.
        let first = |group: &&'static [&'static str]| {
            let branches: Vec<_> = group.iter().map(read).collect();
            StartUpFile { names: group, line: format!("{}; fi\n", branches.join("; el")) }
        };
        files.iter().map(first).collect()
    }
}

/// Start-up files, of which the first that is there is read, and the line that does so.
pub(in crate::agent::shell) struct StartUpFile {
    /// As people write them.
    pub(in crate::agent::shell) names: &'static [&'static str],
    /// For the shell.
    pub(in crate::agent::shell) line: String,
}

/// An empty file, the input of start-up files. It is no device, because `/dev` may lack those.
pub(in crate::agent::shell) const NOTHING: &str = "nothing";

/// Exit code of a restricted shell that was told to end.
pub(in crate::agent::shell) const RESTRICTED: i32 = 113;

/// Prompts that are set and print nothing: many files that users source go on only where there is one.
const EMPTY_IN_BASH: &str = "'\\[\\]'";
const EMPTY_IN_ZSH: &str = "'%(?..)'";

/// `source` for shells that lack it: as bash does, a name without a slash is looked for in `PATH` and then here, and an
/// absent file is an ordinary error.
const SOURCE: &str = "case ${1-} in */*) ;; ?*) if ! \\command -v \"$1\" >/dev/null && \\command [ -f \"./$1\" ]; \
then \\command set -- \"./$1\"; fi;; esac; \\command . \"$@\"";
