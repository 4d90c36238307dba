//! Whether a text is surely a whole script, so that a line may follow it.
//!
//! A line of ours behind a text that is not whole would become a part of it: of a here-document, of a quotation, of a list that
//! ends with `&&`. This knows much less than a shell does, and in doubt says no: then that line is left out, and all that is
//! lost is what it would have told.

/// Words that begin something that a later word ends, and those that do not end it.
const OPENING: &[&[u8]] = &[b"if", b"for", b"while", b"until", b"select", b"{"];
const CLOSING: &[&[u8]] = &[b"fi", b"done", b"}"];
/// Words after which something must follow.
const UNFINISHED: &[&[u8]] = &[b"then", b"do", b"else", b"elif", b"in", b"!", b"time", b"function", b"coproc"];
/// What is read in ways of its own, or changes how what follows is read or shown.
const STRANGE: &[&[u8]] =
    &[b"case", b"[[", b"repeat", b"foreach", b"always", b"emulate", b"alias", b"trap", b"set", b"setopt"];

/// Groups in groups.
const MOST_NESTED: usize = 50;

/// A longer text is not looked at.
const LONGEST: usize = 64 << 10;

/// Whether it is.
pub(in crate::agent::shell) fn is_surely_whole(text: &[u8]) -> bool {
    text.len() <= LONGEST && Scanner { text, at: 0 }.list(None, 0)
}

/// Whether a line of a text may change how the next ones are read, so that zsh must not read all of it first: by aliases,
/// by options, by files that may have either.
pub(in crate::agent::shell) fn changes_reading(text: &[u8]) -> bool {
    const WORDS: &[&[u8]] =
        &[b"alias", b"unalias", b"setopt", b"unsetopt", b"set", b"emulate", b"source", b".", b"eval", b"autoload"];
    let mut words = text.split(|byte| b" \t\n;&|(){}\\".contains(byte));
    text.contains(&b'\n') && words.any(|word| WORDS.contains(&word))
}

/// Whether bash should evaluate a text at the top: because it may have a substitution that begins and does not end, or a trace,
/// which has a sign more for each level below.
pub(in crate::agent::shell) fn needs_top(text: &[u8]) -> bool {
    let has = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
    [&b"`"[..], b"$(", b"<(", b">(", b"set -", b"xtrace"].iter().any(|word| has(word))
}

/// Whether bash may say more on a text's standard error than a script would, when a line evaluates it: that it exits, or which
/// job it has begun.
pub(in crate::agent::shell) fn speaks_at_top(text: &[u8]) -> bool {
    let has = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
    has(b"exit") || has(b"logout") || may_start_jobs(text)
}

/// Whether a text may put something into the background.
pub(in crate::agent::shell) fn may_start_jobs(text: &[u8]) -> bool {
    let single = |(at, byte): (usize, &u8)| {
        let near =
            |at: Option<usize>, bytes: &[u8]| at.and_then(|at| text.get(at)).is_some_and(|byte| bytes.contains(byte));
        *byte == b'&' && !near(at.checked_sub(1), b"&<>") && !near(Some(at + 1), b"&>")
    };
    text.iter().enumerate().any(single)
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.text.get(self.at).copied();
        self.at += 1;
        byte
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Commands up to this byte, or to the end of the text.
    fn list(&mut self, end: Option<u8>, depth: usize) -> bool {
        if depth > MOST_NESTED {
            return false;
        }
        let mut open = 0u32;
        // Whether something must follow.
        let mut unfinished = false;
        let mut word: Vec<u8> = Vec::new();
        loop {
            let byte = self.next();
            let is_break = byte.is_none_or(|byte| b" \t\n;&|()<>".contains(&byte));
            if is_break && !word.is_empty() {
                let is = |words: &[&[u8]]| words.contains(&word.as_slice());
                if is(STRANGE) {
                    return false;
                }
                open += u32::from(is(OPENING));
                if is(CLOSING) {
                    let Some(less) = open.checked_sub(1) else { return false };
                    open = less;
                }
                unfinished = is(OPENING) || is(UNFINISHED);
                word.clear();
            }
            match byte {
                byte if byte == end => return open == 0 && !unfinished,
                None | Some(b')' | b'`') => return false,
                Some(b' ' | b'\t' | b'\n' | b';') => {}
                Some(b'|') => unfinished = true,
                Some(b'&') if self.peek() == Some(b'&') => {
                    self.at += 1;
                    unfinished = true;
                }
                Some(b'&') => {}
                Some(b'<' | b'>') if self.peek() == Some(b'<') || self.peek() == Some(b'(') => return false,
                Some(b'<' | b'>') => {}
                Some(b'(') => {
                    let is_empty = self.peek() == Some(b')');
                    if !self.list(Some(b')'), depth + 1) {
                        return false;
                    }
                    // The head of a function, without its body yet.
                    unfinished = is_empty;
                }
                Some(b'#') if word.is_empty() => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                Some(byte) => {
                    word.push(byte);
                    unfinished = false;
                    if !self.rest_of(byte, depth) {
                        return false;
                    }
                }
            }
        }
    }

    /// What belongs to a byte that begins a quotation or an expansion.
    fn rest_of(&mut self, byte: u8, depth: usize) -> bool {
        match byte {
            b'\\' => self.next().is_some(),
            b'\'' => std::iter::from_fn(|| self.next()).any(|byte| byte == b'\''),
            b'"' => self.until(b'"', depth + 1),
            b'$' => match self.peek() {
                Some(b'(') => {
                    self.at += 1;
                    self.list(Some(b')'), depth + 1)
                }
                Some(b'{') => {
                    self.at += 1;
                    self.until(b'}', depth + 1)
                }
                Some(b'\'' | b'"') => false,
                _ => true,
            },
            _ => true,
        }
    }

    /// The rest of a quotation or an expansion, which this ends.
    fn until(&mut self, end: u8, depth: usize) -> bool {
        if depth > MOST_NESTED {
            return false;
        }
        loop {
            match self.next() {
                None | Some(b'`') => return false,
                Some(byte) if byte == end => return true,
                Some(b'\'') if end == b'"' => {}
                Some(byte) if !self.rest_of(byte, depth) => return false,
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_may_follow_is_known() {
        for text in [
            "",
            "echo two",
            "false | true | (exit 3)",
            "a; b &",
            "a &",
            "echo 'x y' \"$(echo \"a)\")\" ${x:-y}",
            "# only",
            "echo hi # it's",
            "if a; then b; fi",
            "for i in 1 2; do a | b; done",
            "f() { a; }",
            "{ a; } | { b; }",
            "a\n\n",
            "x=1",
            "echo \\\\",
            "a >f 2>&1",
            "echo \"it's\"",
            "while a\ndo\nb\ndone",
        ] {
            assert!(is_surely_whole(text.as_bytes()), "{text}");
        }
        for text in [
            "cat <<E\nx",
            "cat <<E\nx\nE",
            "echo 'oops",
            "echo \"oops",
            "echo $(echo x",
            "echo ${x",
            "a &&",
            "a |",
            "a ||\n",
            "a \\",
            "if then",
            "if a; then b",
            "echo a )",
            "done",
            "for i in a b; do x",
            "{ a",
            "(a",
            "a; }",
            "case x in",
            "f() {",
            "f()",
            "echo `a`",
            "!",
            "if",
            "for i in",
            "a && # b",
            "set -x; a",
            "trap x DEBUG",
            "echo $'a\\'b'",
        ] {
            assert!(!is_surely_whole(text.as_bytes()), "{text}");
        }
    }
}
