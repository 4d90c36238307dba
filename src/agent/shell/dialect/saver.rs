//! How a shell saves what a next one gets back, and how that is restored.

use super::{
    ABANDON_FILE, Dialect, Directory, INTERRUPT_FILE, RESTORE, SAVE_FILE, SAVED, Taken,
    call::{ABORT, ABORT_AGAIN, ORIGINAL, REPORT},
    quoting::quoted,
    sections,
};
use crate::agent::shell::saved::{Kind, Saved};

impl Dialect {
    /// The script that an EXIT trap, or we while the shell is idle, source to save what a next shell should have.
    ///
    /// It has neither keywords nor unquoted command words, which an alias could take the place of.
    fn save_script(self, directory: &str, is_last: bool) -> String {
        let builtin = self.builtin();
        let listings: &[(u8, &str)] = match self {
            Self::Posix => &[
                (sections::EXPORTED, "export -p"),
                (sections::READONLY, "readonly -p"),
                (sections::VARIABLES, "set"),
                (sections::ALIASES, "alias"),
                (sections::OPTIONS, "set +o"),
                (sections::TRAPS, "trap"),
                (sections::UMASK, "umask"),
            ],
            Self::Bash => &[
                (sections::VARIABLES, "declare -p"),
                (sections::NAMES, "declare -F"),
                (sections::FUNCTIONS, "declare -f"),
                (sections::ALIASES, "alias -p"),
                (sections::OPTIONS, "set +o; \\builtin shopt -p; \\builtin enable -n"),
                (sections::TRAPS, "trap -p"),
                (sections::UMASK, "umask"),
            ],
            Self::Zsh => &[
                // First, because some of them change how the other things are listed.
                (sections::OPTIONS, "set +o"),
                (sections::VARIABLES, "typeset -p"),
                // Each name and each body is one word in one line, whatever is in it.
                (sections::FUNCTIONS, "print -rl -- \"${(@qqqqkv)functions[@]}\""),
                (sections::ALIASES, "alias -L; \\builtin alias -sL"),
                (sections::EMULATION, "emulate"),
                (sections::TRAPS, "trap"),
                (sections::UMASK, "umask"),
            ],
        };
        // Where no shell comes after this one, only where it was matters.
        let listings = if is_last { &[][..] } else { listings };
        // In bash `command` would find functions of ours only; but the two words mean the same there.
        let list = if self == Self::Bash { "\\builtin" } else { builtin };
        let mut script = format!("{builtin} printf \"\\000{}%s\" \"${{PWD-}}\"", char::from(sections::DIRECTORY));
        for (letter, command) in listings {
            script += &format!("; {builtin} printf \"\\000{}\"; {list} {command}", char::from(*letter));
        }
        if !is_last {
            script += &format!(
                "; {builtin} printf \"\\000{}%s\" \"$#\"; {builtin} printf \"\\000{}%s\" \"$@\"",
                char::from(sections::PARAMETERS),
                char::from(sections::PARAMETER),
            );
        }
        script += &format!("; {builtin} printf \"\\000{}\\000\"", char::from(sections::END));
        format!("{builtin} eval '{script}' >|{directory}/{SAVED} 2>&-\n")
    }

    /// Writes the scripts of the traps, for a shell in which these words of ours are taken. After the last one of a session comes
    /// no other.
    pub(in crate::agent::shell) fn write_scripts(
        self,
        directory: &Directory,
        taken: Taken,
        is_last: bool,
    ) -> std::io::Result<()> {
        let save = self.save_script(directory.path(), is_last);
        directory.write(SAVE_FILE, self.reworded(&save, taken).as_bytes())?;
        if self == Self::Zsh {
            directory.write(REPORT, self.report_script(directory.path()).as_bytes())?;
        }
        let abandon = self.abandon_script(directory.path());
        directory.write(ABANDON_FILE, self.reworded(&abandon, taken).as_bytes())?;
        if self == Self::Posix {
            let scripts = [
                (INTERRUPT_FILE, self.interrupt_script(directory.path())),
                (ABORT, self.abort_script(directory.path())),
                (ABORT_AGAIN, self.abort_again_script(directory.path())),
            ];
            for (name, script) in scripts {
                directory.write(name, self.reworded(&script, taken).as_bytes())?;
            }
            directory.write(ORIGINAL, self.reworded(&Self::original_script(), taken).as_bytes())?;
        }
        Ok(())
    }

    /// Lines that save the state of an idle shell, and report when that is done.
    pub(in crate::agent::shell) fn save(self, tag: u64, directory: &str) -> String {
        format!("{} . {directory}/{SAVE_FILE}\n{}", self.builtin(), self.report(tag, directory))
    }

    /// Lines that source what an earlier shell saved.
    pub(in crate::agent::shell) fn restore(self, directory: &str) -> String {
        format!("{} . {directory}/{RESTORE}\n", self.builtin())
    }

    /// Makes a script of what a shell has saved, and the names of its pieces. Each piece is evaluated alone, so that one
    /// that fails costs only itself; its number is reported then.
    pub(in crate::agent::shell) fn restore_script(self, saved: &Saved, directory: &str) -> (Vec<u8>, Vec<String>) {
        let builtin = self.builtin();
        let (mut script, mut labels) = (Vec::new(), Vec::new());
        for (label, code) in self.pieces(saved) {
            script.extend_from_slice(format!("{builtin} eval ").as_bytes());
            script.extend(quoted(&code));
            if let Some(label) = label {
                let (letter, number) = (char::from(sections::FAILED), labels.len());
                let failed = format!(" || {builtin} printf '\\000{letter}%s\\000' {number} >|{directory}/{SAVED}");
                script.extend_from_slice(failed.as_bytes());
                labels.push(label);
            }
            script.push(b'\n');
        }
        (script, labels)
    }

    /// What a section lists, and what each statement in it begins with; any line will do when there are no words.
    pub(in crate::agent::shell) fn listing(self, letter: u8) -> Option<(Kind, &'static [&'static str])> {
        let words: &[&str] = match (self, letter) {
            (Self::Posix, sections::EXPORTED) => return Some((Kind::Exported, &["export "])),
            (Self::Posix, sections::READONLY) => return Some((Kind::Readonly, &["readonly "])),
            (Self::Bash, sections::NAMES) => return Some((Kind::Attributes, &["declare -f"])),
            (Self::Posix, sections::VARIABLES | sections::ALIASES) | (Self::Zsh, sections::FUNCTIONS) => &[],
            (Self::Bash, sections::VARIABLES) => &["declare "],
            (Self::Zsh, sections::VARIABLES) => &["typeset ", "export "],
            (Self::Bash, sections::FUNCTIONS) => &[],
            (_, sections::ALIASES) => &["alias "],
            (_, sections::OPTIONS) => &["set ", "shopt ", "enable "],
            (_, sections::TRAPS) => &["trap -- "],
            _ => return None,
        };
        let kind = match letter {
            sections::VARIABLES => Kind::Variable,
            sections::FUNCTIONS => Kind::Function,
            sections::ALIASES => Kind::Alias,
            sections::OPTIONS => Kind::Option,
            _ => Kind::Trap,
        };
        Some((kind, words))
    }
}
