//! How a shell saves what a next one gets back, and how that is restored.

use super::{Dialect, Directory, INTERRUPT_FILE, RESTORE, SAVE_FILE, SAVED, quoting};

impl Dialect {
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

    /// Writes the scripts of the traps.
    pub(in crate::agent::shell) fn write_scripts(self, directory: &Directory) -> std::io::Result<()> {
        directory.write(SAVE_FILE, self.save_script(directory.path()).as_bytes())?;
        if self == Self::Posix {
            directory.write(INTERRUPT_FILE, self.interrupt_script(directory.path()).as_bytes())?;
        }
        Ok(())
    }

    /// Lines that save the state of an idle shell, and report when that is done.
    pub(in crate::agent::shell) fn save(self, tag: u64, directory: &str) -> String {
        format!("{} . {directory}/{SAVE_FILE}\n{}", self.builtin(), self.report(tag, directory))
    }

    /// Lines that source what an earlier shell saved.
    pub(in crate::agent::shell) fn restore(self, directory: &str) -> String {
        format!("{} . {directory}/{RESTORE} >/dev/null 2>&1\n", self.builtin())
    }

    /// Makes a script of what [`Self::save_script`] printed after the directory.
    pub(in crate::agent::shell) fn restore_script(self, saved: &[u8]) -> Vec<u8> {
        match self {
            Self::Bash | Self::Zsh => saved.to_vec(),
            Self::Posix => {
                let mut parts = saved.splitn(2, |byte| *byte == 1);
                let mut script = parts.next().unwrap_or_default().to_vec();
                script.push(b'\n');
                script.extend(quoting::alias_commands(parts.next().unwrap_or_default()));
                script
            }
        }
    }
}
