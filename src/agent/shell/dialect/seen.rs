//! What may be in a shell beside its own words, as far as the texts that it was given tell.
//!
//! Our lines do more for a shell that may have it: they ask for a DEBUG trap, give `$_` back, note what a command leaves. A shell
//! that cannot have it is not asked. Whoever hides a word from this (`tr\ap`) loses only what the line would have done.

/// What may be there. It stays so for as long as the shell lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::agent::shell) struct Seen {
    /// Traps.
    pub(in crate::agent::shell) traps: bool,
    /// Aliases.
    pub(in crate::agent::shell) aliases: bool,
    /// Something that reads `$_`, in a function for example.
    pub(in crate::agent::shell) last_argument: bool,
}

impl Seen {
    /// Notes what a text may define.
    pub(in crate::agent::shell) fn note(&mut self, text: &[u8]) {
        let knows_all = self.traps && self.aliases && self.last_argument;
        if !knows_all && runs_other_code(text) {
            self.note_other_code();
        }
        self.traps = self.traps || has(text, b"trap") || has(text, b"TRAP");
        self.aliases = self.aliases || has(text, b"alias");
        self.last_argument = self.last_argument || mentions_last_argument(text);
    }

    /// Notes that the shell runs code that nobody has looked at.
    pub(in crate::agent::shell) fn note_other_code(&mut self) {
        *self = Self { traps: true, aliases: true, last_argument: true };
    }
}

/// Whether a text reads `$_` itself.
pub(in crate::agent::shell) fn mentions_last_argument(text: &[u8]) -> bool {
    [&b"$_"[..], b"${_", b"${#_", b"${!", b"(P)"].iter().any(|name| has(text, name))
}

/// Whether a text asks for the statuses of a pipeline.
pub(in crate::agent::shell) fn mentions_pipes(text: &[u8]) -> bool {
    [&b"PIPESTATUS"[..], b"pipestatus"].iter().any(|name| has(text, name))
}

fn has(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

/// Whether a text may run code that it does not contain: a file, or a text that it makes.
fn runs_other_code(text: &[u8]) -> bool {
    const WORDS: &[&[u8]] = &[b"source", b"eval", b"autoload", b"emulate", b"PROMPT_COMMAND", b"zmodload"];
    const BEFORE_COMMANDS: &[&[u8]] =
        &[b"then", b"do", b"else", b"elif", b"if", b"while", b"until", b"time", b"command", b"builtin", b"-"];
    let is_end = |byte: &u8| b" \t\n;&|(){}<>'\"`\\!".contains(byte);
    let (mut at, mut before): (usize, &[u8]) = (0, b"");
    // Whether a word that begins here may be a command.
    let mut may_be_command = true;
    while at < text.len() {
        let length = text[at..].iter().position(is_end).unwrap_or(text.len() - at);
        if length == 0 {
            may_be_command |= !b" \t<>".contains(&text[at]);
            at += 1;
            continue;
        }
        let word = &text[at..at + length];
        let is_first = may_be_command || BEFORE_COMMANDS.contains(&before) || before.contains(&b'=');
        if WORDS.contains(&word) || word == b"." && is_first {
            return true;
        }
        (at, before, may_be_command) = (at + length, word, false);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_from_elsewhere_is_noticed() {
        for text in [
            ". ./x",
            "a; . x",
            "a && . x",
            "if . x; then y; fi",
            "if true; then . x; fi",
            "(. x)",
            "\\. x",
            "A=1 . x",
            "command . x",
            "f() { . \"$1\"; }",
            "trap '. x' EXIT",
            "! . x",
            "a\n. x",
            "source x",
            "eval \"$x\"",
            "x=$(. y)",
        ] {
            assert!(runs_other_code(text.as_bytes()), "{text}");
        }
        for text in ["ls .", "git add . && ls", "find . -name x", "cp a/. .", "./x", "cd ..", "", "resource x"] {
            assert!(!runs_other_code(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn each_thing_is_noted_for_good() {
        let mut seen = Seen::default();
        seen.note(b"echo hi; f() { x; }; ls -la . | wc");
        assert_eq!(seen, Seen::default());
        seen.note(b"trap x DEBUG");
        assert_eq!(seen, Seen { traps: true, ..Seen::default() });
        seen.note(b"TRAPDEBUG() { x; }");
        seen.note(b"f() { echo ${_}; }");
        assert_eq!(seen, Seen { traps: true, last_argument: true, aliases: false });
        seen.note(b"alias a=b");
        assert_eq!(seen, Seen { traps: true, last_argument: true, aliases: true });
    }
}
