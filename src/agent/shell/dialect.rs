//! What differs between shells: how they are started, and the lines that we give them.
//!
//! Our lines name built-ins in a way that no alias or function of the user's can take over (`\command printf`), and do
//! nothing but source files: the user's text is never part of a line.

use super::directory::Directory;
use std::path::Path;

/// A family of shells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// dash, busybox ash, and what else is called `sh`: not interactive, with job control. An INT trap aborts the
    /// whole command, as a prompt would.
    Posix,
    /// bash, interactive without a line editor.
    Bash,
    /// zsh, interactive without its line editor.
    Zsh,
}

/// Names of shells that are known, for people who asked for another one.
pub(super) const KNOWN: &[&str] = &["sh", "dash", "ash", "busybox", "bash", "zsh"];

impl Dialect {
    /// The dialect of a program by its name.
    pub(super) fn of(program: &Path) -> Option<Self> {
        match program.file_name()?.to_str()? {
            "sh" | "dash" | "ash" | "busybox" => Some(Self::Posix),
            "bash" | "rbash" => Some(Self::Bash),
            "zsh" | "zsh5" => Some(Self::Zsh),
            _ => None,
        }
    }

    /// Arguments, the name first. `name` is what the user called the shell.
    pub(super) fn arguments(self, name: &str) -> Vec<String> {
        let options: &[&str] = match self {
            Self::Posix => &["-m", "-s"],
            Self::Bash => &["--norc", "--noprofile", "--noediting", "+o", "history", "-i"],
            Self::Zsh => &["-f", "-i", "+o", "zle"],
        };
        let mut arguments = vec![if name == "busybox" { "ash".to_owned() } else { name.to_owned() }];
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        if self == Self::Zsh {
            for option in ["interactivecomments", "nopromptsp", "nopromptcr", "nocheckjobs", "nohup", "histignorespace"]
            {
                arguments.extend(["-o".to_owned(), option.to_owned()]);
            }
        }
        arguments
    }

    /// The word that makes the next one a built-in, whatever the user has defined, and its errors survivable.
    fn builtin(self) -> &'static str {
        match self {
            Self::Posix | Self::Bash => "\\command",
            Self::Zsh => "\\builtin",
        }
    }

    /// Lines of a new shell. `directory` is the session's private one.
    pub(super) fn setup(self, directory: &str) -> String {
        let save = format!("{} trap '. {directory}/{SAVE_FILE}' EXIT\n", self.builtin());
        match self {
            // `[ -t … ]`-free and quiet: nothing that a user can see but the two traps, which tell by name what they are.
            Self::Posix => format!(
                "\\command -v source >/dev/null || \\command eval 'source() {{ {SOURCE}; }}'\n\
                 \\command trap '. {directory}/{INTERRUPT_FILE}' INT\n{save}"
            ),
            Self::Bash => format!("\\unset PS1 PS2 HISTFILE\n\\builtin shopt -u checkjobs\n{save}"),
            Self::Zsh => format!("\\builtin unset HISTFILE\nPS1= PS2=\n{save}"),
        }
    }

    /// Lines that read the user's start-up files, as a login shell does. The shell itself would read them with our lines as
    /// their input, and end over a mistake in them.
    pub(super) fn login(self) -> String {
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

    /// The script that an EXIT trap, or we while the shell is idle, source to save what a next shell should have.
    fn save_script(self, directory: &str) -> String {
        let builtin = self.builtin();
        let list = match self {
            Self::Posix => "\\command export -p; \\command printf '\\001'; \\command alias",
            Self::Bash => "\\builtin export -p; \\builtin alias -p; \\builtin declare -f",
            Self::Zsh => "\\builtin export -p; \\builtin alias -L; \\builtin functions",
        };
        format!(
            "{{ {builtin} printf '\\000%s\\001' \"${{PWD-}}\"; {list}; {builtin} printf '\\000'; }} >|{directory}/{SAVED} 2>/dev/null\n"
        )
    }

    /// The script of the INT trap: says that the command is aborted, then fails in a way that aborts it.
    fn interrupt_script(self, directory: &str) -> String {
        format!(
            "case ${{{RUNNING}-}} in 1) \\command printf '\\000{ABORTED} 130 \\000' >|{directory}/{STATUS}; . {directory}/SANDSHELL_NOTHING 2>/dev/null;; esac\n"
        )
    }

    /// Writes the scripts of the traps.
    pub(super) fn write_scripts(self, directory: &Directory) -> std::io::Result<()> {
        directory.write(SAVE_FILE, self.save_script(directory.path()).as_bytes())?;
        if self == Self::Posix {
            directory.write(INTERRUPT_FILE, self.interrupt_script(directory.path()).as_bytes())?;
        }
        Ok(())
    }

    /// Lines that run the command file.
    pub(super) fn run(self, call: &Call<'_>, tag: u64, directory: &str) -> String {
        let builtin = self.builtin();
        let Call { input, output, error, last_status, term, leave } = call;
        // `$?` of the user's text is the status of the user's last command. Under `set -e` only the right side counts.
        let status = if *last_status == 0 { String::new() } else { format!("{builtin} . {directory}/{RETURN} || ") };
        let term = term.map(|term| format!("TERM={term} ")).unwrap_or_default();
        let source = format!("{status}{term}{builtin} . {directory}/{COMMAND} <{input} >|{output} 2>|{error}");
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
    pub(super) fn report(self, tag: u64, directory: &str) -> String {
        let report = self.report_command(tag, directory);
        match self {
            Self::Posix => format!("{report}; {RUNNING}=\n"),
            Self::Bash | Self::Zsh => format!("{report}\n"),
        }
    }

    /// A report begins with a NUL too: what somebody else has written before it, without an end, is no part of it.
    fn report_command(self, tag: u64, directory: &str) -> String {
        format!("{} printf \"\\000{tag:x} %s %s\\000\" \"$?\" \"${{PWD-}}\" >|{directory}/{STATUS}", self.builtin())
    }

    /// Lines that save the state of an idle shell, and report when that is done.
    pub(super) fn save(self, tag: u64, directory: &str) -> String {
        format!("{} . {directory}/{SAVE_FILE}\n{}", self.builtin(), self.report(tag, directory))
    }

    /// Lines that take a pending INT, which else would hit the next command, and report when that is done.
    pub(super) fn settle(self, tag: u64, directory: &str) -> String {
        format!("{} eval :\n{}", self.builtin(), self.report(tag, directory))
    }

    /// Lines as they are given to the shell, so that they do not become part of its history.
    pub(super) fn unremembered(self, lines: &str) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Posix | Self::Bash => lines.into(),
            // `histignorespace` leaves out what begins with a space.
            Self::Zsh => lines.split_inclusive('\n').flat_map(|line| [" ", line]).collect::<String>().into(),
        }
    }

    /// Lines that source what an earlier shell saved.
    pub(super) fn restore(self, directory: &str) -> String {
        format!("{} . {directory}/{RESTORE} >/dev/null 2>&1\n", self.builtin())
    }

    /// Makes a script of what [`Self::save_script`] printed after the directory.
    pub(super) fn restore_script(self, saved: &[u8]) -> Vec<u8> {
        match self {
            Self::Bash | Self::Zsh => saved.to_vec(),
            Self::Posix => {
                let mut parts = saved.splitn(2, |byte| *byte == 1);
                let mut script = parts.next().unwrap_or_default().to_vec();
                script.push(b'\n');
                script.extend(super::quoting::alias_commands(parts.next().unwrap_or_default()));
                script
            }
        }
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
    pub(crate) term: Option<&'a str>,
    /// Whether the shell ends after it, with its status, instead of reporting.
    pub(crate) leave: bool,
}

/// File of the user's text.
pub(super) const COMMAND: &str = "command";
/// FIFO on which statuses are reported.
pub(super) const STATUS: &str = "status";
/// FIFO on which state is saved.
pub(super) const SAVED: &str = "saved";
/// File that returns the last status.
pub(super) const RETURN: &str = "return";
/// File that ends the shell with the last status. From a file, because bash says "exit" when a line does it.
pub(super) const LEAVE: &str = "leave";
/// File that restores state.
pub(super) const RESTORE: &str = "restore";
/// Script of the EXIT trap. A user sees its name in `trap`.
pub(super) const SAVE_FILE: &str = "SANDSHELL_SAVE";
/// Script of the INT trap of shells without one of their own. A user sees its name in `trap`.
pub(super) const INTERRUPT_FILE: &str = "SANDSHELL_INTERRUPT";
/// Variable that is 1 while a command runs, in shells whose INT trap is ours. A user sees it in `set`.
const RUNNING: &str = "SANDSHELL_RUNNING";
/// Tag of the report that a command was aborted.
pub(super) const ABORTED: &str = "aborted";

/// `source` for shells that lack it: as bash does, a name without a slash is looked for in `PATH` and then here, and an
/// absent file is an ordinary error.
const SOURCE: &str = "case ${1-} in */*) ;; ?*) if ! \\command -v \"$1\" >/dev/null && \\command [ -f \"./$1\" ]; \
then \\command set -- \"./$1\"; fi;; esac; \\command . \"$@\"";
