//! Texts that are one simple command of literal words.
//!
//! Of such a command it is known without asking the shell what `$_` and PIPESTATUS are after it: its last word, and its status.
//! And it cannot have a mistake of syntax, in whose message the shell would name the file that it reads.

/// A longer text is not looked at.
const LONGEST: usize = 4096;

/// Words of the language, and built-ins after which all of that may be otherwise.
const OTHERS: &[&[u8]] = &[
    b"if",
    b"then",
    b"else",
    b"elif",
    b"fi",
    b"case",
    b"esac",
    b"for",
    b"select",
    b"while",
    b"until",
    b"do",
    b"done",
    b"in",
    b"function",
    b"time",
    b"coproc",
    b"exec",
    b"exit",
    b"logout",
    b"return",
    b"break",
    b"continue",
    b"suspend",
    b"source",
    b".",
    b"eval",
    b"set",
    b"shopt",
    b"trap",
    b"alias",
    b"unalias",
    b"enable",
    b"command",
    b"builtin",
    b"unset",
    b"wait",
    b"fg",
];

/// The last word of a text that is one simple command of literal words.
pub(in crate::agent::shell) fn last_word(text: &[u8]) -> Option<&[u8]> {
    let text = text.trim_ascii();
    let is_literal = |byte: &u8| byte.is_ascii_alphanumeric() || b" \t_-./,:+@%".contains(byte);
    if text.len() > LONGEST || !text.iter().all(is_literal) {
        return None;
    }
    let mut words = text.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
    let first = words.next().filter(|word| !OTHERS.contains(word))?;
    Some(words.next_back().unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_plain_is() {
        for (text, last) in [
            ("true", "true"),
            ("ls -la /tmp", "/tmp"),
            ("  cargo build --release \n", "--release"),
            ("python3 x.py\t1", "1"),
            ("echo if", "if"),
        ] {
            assert_eq!(last_word(text.as_bytes()), Some(last.as_bytes()), "{text}");
        }
        for text in [
            "", "a\nb", "a;b", "a&", "a|b", "A=1 b", "a=1", "exit 3", "exec x", ". x", "if", "echo $x", "echo 'x'",
            "ls *.c", "ls ~", "! a", "a # b", "a >b", "{ a", "a \\", "time a", "set -x", "é",
        ] {
            assert_eq!(last_word(text.as_bytes()), None, "{text}");
        }
    }
}
