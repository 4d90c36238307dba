//! Words of ours that a user's function may have as its name.
//!
//! Built-ins are named by `command` or `builtin`, which no alias can take and only a function of that very name. Whether there
//! is one no shell can tell without being asked by such a word. So the texts of commands are looked at, before they run: a word
//! that was taken once counts as taken for as long as the shell lives.

/// The words that count as taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::agent::shell) struct Taken {
    pub(super) command: bool,
    pub(super) builtin: bool,
    /// Whether built-ins may have been disabled, which bash and zsh can do.
    pub(super) disabled: bool,
}

impl Taken {
    /// Notes what a text seems to define.
    pub(in crate::agent::shell) fn note(&mut self, text: &[u8]) {
        self.command |= defines(text, b"command");
        self.builtin |= defines(text, b"builtin");
        let has = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
        self.disabled |= has(b"enable -") || has(b"disable ");
    }
}

/// Whether a text may define a function of this name: `name (` or `function name`.
fn defines(text: &[u8], name: &[u8]) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let mut from = 0;
    while let Some(found) = text[from..].windows(name.len()).position(|part| part == name) {
        let (begin, end) = (from + found, from + found + name.len());
        from = end;
        let (before, after) = (&text[..begin], &text[end..]);
        if before.last().is_some_and(is_word) || after.first().is_some_and(is_word) {
            continue;
        }
        if after.trim_ascii_start().first() == Some(&b'(') || before.trim_ascii_end().ends_with(b"function") {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_seen_however_it_is_written() {
        for text in ["command() { :; }", "x; command ( ) { :; }", "function command { :; }", "a\nfunction\tcommand {"] {
            assert!(defines(text.as_bytes(), b"command"), "{text}");
        }
        for text in ["command -v x", "my_command() { :; }", "commands() { :; }", "x-command() {", "command"] {
            assert!(!defines(text.as_bytes(), b"command"), "{text}");
        }
    }
}
