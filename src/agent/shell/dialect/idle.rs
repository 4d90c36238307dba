//! How long a shell may be idle before it ends by itself.

use super::{Dialect, STATUS};

impl Dialect {
    /// Lines that report under a tag after how many seconds without a command the shell ends: `TMOUT`, which only
    /// interactive shells heed. Nothing is reported when it is not set.
    pub(in crate::agent::shell) fn patience(self, tag: u64, directory: &str) -> Option<String> {
        let builtin = self.builtin();
        // Shells take the digits at the beginning, and so do we.
        let report =
            format!("{builtin} printf '\\000{tag:x} 0%s \\000' \"${{TMOUT%%[^0-9]*}}\" >|{directory}/{STATUS}");
        match self {
            Self::Posix => None,
            Self::Bash | Self::Zsh => Some(format!("case ${{TMOUT-}} in ?*) {report};; esac\n")),
        }
    }
}
