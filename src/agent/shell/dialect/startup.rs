//! What a new shell is told before its first command.

use super::{Dialect, INTERRUPT_FILE, SAVE_FILE};

impl Dialect {
    /// Lines of a new shell. `directory` is the session's private one.
    pub(in crate::agent::shell) fn setup(self, directory: &str) -> String {
        let builtin = self.builtin();
        let save = format!("{builtin} trap '{builtin} \\. {directory}/{SAVE_FILE}' EXIT\n");
        match self {
            // `[ -t … ]`-free and quiet: nothing that a user can see but the two traps, which tell by name what they are.
            Self::Posix => format!(
                "\\command -v source >/dev/null || \\command eval 'source() {{ {SOURCE}; }}'\n\
                 \\command trap '\\. {directory}/{INTERRUPT_FILE}' INT\n{save}"
            ),
            Self::Bash => format!("\\unset PS1 PS2 HISTFILE\n\\builtin shopt -u checkjobs\n{save}"),
            Self::Zsh => format!("\\builtin unset HISTFILE\nPS1= PS2=\n{save}"),
        }
    }

    /// Lines that read the user's start-up files, as a login shell does. The shell itself would read them with our lines as
    /// their input, and end over a mistake in them.
    pub(in crate::agent::shell) fn login(self) -> String {
        let files: &[&[&str]] = match self {
            Self::Posix => &[&["/etc/profile"], &["~/.profile"]],
            Self::Bash => &[&["/etc/profile"], &["~/.bash_profile", "~/.bash_login", "~/.profile"]],
            Self::Zsh => &[
                &["/etc/zsh/zshenv"],
                &["~/.zshenv"],
                &["/etc/zsh/zprofile"],
                &["~/.zprofile"],
                &["/etc/zsh/zshrc"],
                &["~/.zshrc"],
                &["/etc/zsh/zlogin"],
                &["~/.zlogin"],
            ],
        };
        let builtin = self.builtin();
        let read =
            |file: &&str| format!("if {builtin} test -r {file}; then {builtin} . {file} </dev/null >|/dev/null 2>&1");
        // Of several, the first that is there.
        let first = |group: &&[&str]| {
            let branches: Vec<_> = group.iter().map(read).collect();
            format!("{}; fi\n", branches.join("; el"))
        };
        files.iter().map(first).collect()
    }
}

/// `source` for shells that lack it: as bash does, a name without a slash is looked for in `PATH` and then here, and an
/// absent file is an ordinary error.
const SOURCE: &str = "case ${1-} in */*) ;; ?*) if ! \\command -v \"$1\" >/dev/null && \\command [ -f \"./$1\" ]; \
then \\command set -- \"./$1\"; fi;; esac; \\command . \"$@\"";
