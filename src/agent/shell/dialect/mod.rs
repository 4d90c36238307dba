//! What differs between shells: how they are started, and the lines that we give them.
//!
//! Our lines name built-ins in a way that no alias or function of the user's can take over (`\command printf`), and do
//! nothing but evaluate files: the user's text is never part of a line.

mod abandon;
mod call;
mod idle;
mod loan;
mod names;
mod pieces;
mod plain;
mod saver;
pub(super) mod sections;
mod seen;
mod startup;
mod taken;
mod whole;
mod words;
mod zsh;

use super::{directory::Directory, quoting};
use std::path::Path;

pub(super) use abandon::ABANDON;
pub(crate) use call::Term;
pub(super) use call::{Call, LastArgument, UNTRACE};
pub(super) use loan::{Errand, WAS, Was};
pub(super) use plain::last_word;
pub(super) use seen::{Seen, mentions_last_argument, mentions_pipes};
pub(super) use startup::{NOTHING, RESTRICTED, StartUpFile};
pub(super) use taken::Taken;
pub(super) use whole::{changes_reading, is_surely_whole, may_start_jobs, needs_top, speaks_at_top};

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
            for option in [
                "interactivecomments",
                "nopromptsp",
                "nopromptcr",
                "nocheckjobs",
                "nohup",
                "histignorespace",
                "nonotify",
            ] {
                arguments.extend(["-o".to_owned(), option.to_owned()]);
            }
        }
        arguments
    }

    /// Whether a shell of this family that is called so restricts itself.
    pub(super) fn is_restricted_as(self, name: &str) -> bool {
        match self {
            Self::Posix => false,
            Self::Bash => name == "rbash",
            Self::Zsh => name.starts_with('r'),
        }
    }

    /// The word that makes the next one a built-in, whatever the user has defined, and its errors survivable.
    fn builtin(self) -> &'static str {
        match self {
            Self::Posix | Self::Bash => "\\command",
            Self::Zsh => "\\builtin",
        }
    }

    /// Lines as they are given to the shell, so that they do not become part of its history.
    pub(super) fn unremembered(self, lines: &str) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Posix | Self::Bash => lines.into(),
            // `histignorespace` leaves out what begins with a space.
            Self::Zsh => lines.split_inclusive('\n').flat_map(|line| [" ", line]).collect::<String>().into(),
        }
    }
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
/// Script of the trap of our own signal, in all shells. A user sees its name in `trap`.
pub(super) const ABANDON_FILE: &str = "SANDSHELL_ABANDON";
/// FIFO that is standard output of dash and ash while no command runs, so that a trap can find out whether one does.
pub(super) const OWN: &str = "own";
/// Variable that is 1 while a command runs, and 2 when it is aborted, in shells whose INT trap is ours. A user
/// sees it in `set`.
pub(super) const RUNNING: &str = "SANDSHELL_RUNNING";
/// Tag of the report that a command was aborted.
pub(super) const ABORTED: &str = "aborted";
