//! How a shell abandons the command that it runs, whatever the user has made of its interrupts.
//!
//! INT is the user's: they may trap it, ignore it or give it back its usual effect, and a shell without job control drops
//! it when the program that it waits for did not end by it. So there is a signal of our own too, which nothing else sends.
//! Every shell has a trap for it, which it runs as soon as the program in its foreground is over and before anything else
//! of the command, or at once when it waits, reads or computes itself.

use super::{ABANDON_FILE, ABORTED, Dialect, INTERRUPT_FILE, OWN, RUNNING, STATUS};

/// The signal. Linux has it and never sends it; shells know it by its number, whatever they call it.
pub(in crate::agent::shell) const ABANDON: i32 = libc::SIGSTKFLT;

/// Where bash keeps the user's INT trap while it abandons a command.
const INT_TRAP: &str = "SANDSHELL_INT_TRAP";

impl Dialect {
    /// The line that sets the trap of our own signal.
    pub(in crate::agent::shell) fn abandon_trap(self, directory: &str) -> String {
        // Not by `command`, which would keep a failure from aborting anything.
        format!("{} trap '\\. {directory}/{ABANDON_FILE}' {ABANDON}\n", self.builtin())
    }

    /// The line that sets the INT trap of shells that would end by an INT.
    pub(in crate::agent::shell) fn interrupt_trap(self, directory: &str) -> String {
        format!("{} trap '\\. {directory}/{INTERRUPT_FILE}' INT\n", self.builtin())
    }

    /// The script of that trap: says that the command is aborted, then fails in a way that aborts it. It has no keyword,
    /// which an alias could take.
    pub(super) fn interrupt_script(self, directory: &str) -> String {
        format!("{} || \\eval \"${{{RUNNING}:+\\\\. {directory}/abort${RUNNING}}}\"\n", Self::at_top(directory))
    }

    /// The script that it runs while a command does, [`super::call::ABORT`].
    pub(super) fn abort_script(self, directory: &str) -> String {
        format!(
            "\\command printf '\\000{ABORTED} 130 \\000' >|{directory}/{STATUS}\n{RUNNING}=2\n{}\n",
            Self::failure(directory, libc::SIGINT)
        )
    }

    /// The script that it runs when the command is already aborted and goes on, [`super::call::ABORT_AGAIN`].
    pub(super) fn abort_again_script(self, directory: &str) -> String {
        format!("{}\n", Self::failure(directory, libc::SIGINT))
    }

    /// Succeeds when no command runs: standard output is the shell's own then. What aborts a command would end the shell there.
    fn at_top(directory: &str) -> String {
        format!("\\command \\test /proc/self/fd/1 -ef {directory}/{OWN}")
    }

    /// Fails in a way that aborts what runs, up to the next built-in that survives it (`command eval`, `command .`, our `source`). So
    /// the signal whose trap this is comes once more, and is taken as soon as that one is over: until no command runs. (It is sent within
    /// the failing line, because the shell would take it before the next one.)
    fn failure(directory: &str, signal: i32) -> String {
        format!("\\. {directory}/SANDSHELL_NOTHING$(\\command \\kill -{signal} $$) 2>/dev/null")
    }

    /// The script of our own signal: says with which status the command is abandoned, then abandons it. Outside of a
    /// command it does nothing.
    pub(super) fn abandon_script(self, directory: &str) -> String {
        let builtin = self.builtin();
        let report = format!("{builtin} printf '\\000{ABORTED} %s \\000' \"$?\" >|{directory}/{STATUS}");
        let fail = Self::failure(directory, ABANDON);
        match self {
            // The command's status is told once.
            Self::Posix => format!(
                "case ${{{RUNNING}-}} in 1) SANDSHELL_END=$?;; esac; {} || case ${{{RUNNING}-}} in \
                 1) {builtin} printf '\\000{ABORTED} %s \\000' \"$SANDSHELL_END\" >|{directory}/{STATUS}; {RUNNING}=2; {fail};; 2) {fail};; esac\n",
                Self::at_top(directory)
            ),
            // Nothing that fails aborts more than the trap itself. Its own way out is an INT, which the user may trap or
            // ignore: that is put back by the lines that follow on every abandoned command. (At the top there is nothing
            // to abandon, and bash 5.2 ends by a fault when it is interrupted in a trap there.)
            Self::Bash => format!(
                "case ${{#BASH_SOURCE[@]}} in 0|1) ;; *) {report}; {INT_TRAP}=$(\\builtin trap -p INT); \
                 \\builtin trap - INT; \\builtin kill -INT $$;; esac\n"
            ),
            // An error in a trap is one of the command too. An INT would keep `wait` waiting.
            Self::Zsh => format!(
                "case $ZSH_EVAL_CONTEXT in toplevel:trap*) ;; *) {report}; {{ \\builtin : \"${{SANDSHELL_NOTHING:?}}\"; }} 2>/dev/null;; esac\n"
            ),
        }
    }

    /// Takes a pending signal, and puts back what [`Self::abandon_script`] has changed.
    pub(super) fn after_abandoning(self) -> String {
        let builtin = self.builtin();
        match self {
            Self::Posix | Self::Zsh => format!("{builtin} eval :\n"),
            Self::Bash => format!("{builtin} eval \"${{{INT_TRAP}-:}}\"; {builtin} unset {INT_TRAP}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_one_line_each() {
        for dialect in [Dialect::Posix, Dialect::Bash, Dialect::Zsh] {
            for text in [dialect.abandon_script("/d"), dialect.abandon_trap("/d"), dialect.after_abandoning()] {
                assert_eq!(text.matches('\n').count(), 1, "{text}");
                assert!(text.ends_with('\n'), "{text}");
            }
            assert!(dialect.abandon_script("/d").contains(">|/d/status"));
        }
    }
}
