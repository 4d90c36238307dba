//! Cuts what `declare -f` of bash prints into functions, while it comes.
//!
//! A function ends with a line `}`, but so may a line of a here-document in it. The names are known before, in the order in
//! which the functions come: a function is over where the next one begins. When a here-document looks like that too, one
//! name begins twice, and only the shell can tell where.

use super::{Found, statements::BEGINNING};
use std::collections::{HashSet, VecDeque};

/// Functions of which one is not complete yet.
pub(super) struct Bodies {
    /// Names of those that have not begun.
    names: VecDeque<Vec<u8>>,
    /// Names of those that have.
    begun: HashSet<Vec<u8>>,
    /// Whether one has seemed to begin twice.
    doubtful: bool,
    text: Vec<u8>,
    line: Vec<u8>,
    /// Whether the line before was `}`, or there was none.
    after_end: bool,
    too_long: bool,
    longest: usize,
}

impl Bodies {
    /// Functions with these names, none of which is kept when it is longer than this, in bytes.
    pub(super) fn new(names: VecDeque<Vec<u8>>, longest: usize) -> Self {
        Self {
            names,
            begun: HashSet::new(),
            doubtful: false,
            text: Vec::new(),
            line: Vec::new(),
            after_end: true,
            too_long: false,
            longest,
        }
    }

    /// Whether a function may be cut in the wrong place. All of them together, in order, are what was listed.
    pub(super) fn are_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Takes bytes, and gives the functions that they complete.
    pub(super) fn feed(&mut self, data: &[u8], found: &mut impl FnMut(Found)) {
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            // A line may be as long as all of a function.
            if self.line.len() + part.len() > self.longest {
                self.too_long = true;
                self.line.truncate(BEGINNING);
                self.line.shrink_to_fit();
            } else {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                self.end_line(found);
            }
        }
    }

    /// The listing is over: gives the last function.
    pub(super) fn finish(&mut self, found: &mut impl FnMut(Found)) {
        self.end_line(found);
        self.end_function(found);
    }

    fn end_line(&mut self, found: &mut impl FnMut(Found)) {
        let line = std::mem::take(&mut self.line);
        if self.after_end && self.begins_next(&line) {
            self.end_function(found);
            self.begun.extend(self.names.pop_front());
        } else if self.after_end {
            let name = line.strip_prefix(b"function ").unwrap_or(&line).strip_suffix(b" () \n");
            self.doubtful |= name.is_some_and(|name| self.begun.contains(name));
        }
        // What may follow a function is its attributes, which its name was listed with.
        if self.after_end && line.starts_with(b"declare -f") {
            return;
        }
        self.after_end = line == b"}\n";
        if self.text.len() + line.len() > self.longest {
            self.too_long = true;
        }
        if self.too_long {
            let room = BEGINNING.saturating_sub(self.text.len());
            self.text.extend_from_slice(&line[..room.min(line.len())]);
            self.text.truncate(BEGINNING);
            self.text.shrink_to_fit();
        } else {
            self.text.extend_from_slice(&line);
        }
    }

    fn begins_next(&self, line: &[u8]) -> bool {
        let plain = line.strip_prefix(b"function ").unwrap_or(line);
        let begins = |line: &[u8], name: &[u8]| line.strip_prefix(name).is_some_and(|rest| rest == b" () \n");
        self.names.front().is_some_and(|name| begins(plain, name) || begins(line, name))
    }

    fn end_function(&mut self, found: &mut impl FnMut(Found)) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            found(if self.too_long { Found::TooLong(text) } else { Found::Whole(text) });
        }
        self.too_long = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(names: &[&str], longest: usize, listing: &[u8], piece: usize) -> Vec<Found> {
        let mut all = Vec::new();
        let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut bodies = Bodies::new(names, longest);
        for part in listing.chunks(piece) {
            bodies.feed(part, &mut |found| all.push(found));
        }
        bodies.finish(&mut |found| all.push(found));
        all
    }

    #[test]
    fn a_function_is_over_where_the_next_one_begins() {
        let functions = [
            "a-b () \n{ \n    cat <<E\n}\nother () \n{ \n    no function\n}\nE\n\n}\n",
            "f () \n{ \n    echo\n}\n",
            "function if () \n{ \n    :\n}\n",
        ];
        let listing = [functions[0], functions[1], "declare -fx f\n", functions[2]].concat();
        let expected: Vec<_> = functions.iter().map(|text| Found::Whole(text.as_bytes().to_vec())).collect();
        for piece in [1, 7, 1000] {
            assert_eq!(cut(&["a-b", "f", "if"], 1000, listing.as_bytes(), piece), expected);
        }
    }

    #[test]
    fn a_here_document_that_looks_like_the_next_function_is_noticed() {
        let listing = "f () \n{ \n    cat <<E\n}\ng () \n{ \nE\n\n}\ng () \n{ \n    :\n}\n";
        for (names, doubtful) in [(["f", "g"], true), (["f", "h"], false)] {
            let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            let mut bodies = Bodies::new(names, 1000);
            let mut all = Vec::new();
            let mut keep = |found| {
                if let Found::Whole(text) = found {
                    all.extend(text)
                }
            };
            bodies.feed(listing.as_bytes(), &mut keep);
            bodies.finish(&mut keep);
            assert_eq!((bodies.are_doubtful(), all.as_slice()), (doubtful, listing.as_bytes()));
        }
    }

    #[test]
    fn one_that_is_too_long_costs_only_itself() {
        let line = format!("    echo {}\n", "x".repeat(3000));
        for body in [line.repeat(100), format!("    echo {}\n", "x".repeat(300_000))] {
            let listing = format!("a () \n{{ \n    :\n}}\nb () \n{{ \n{body}}}\nc () \n{{ \n    :\n}}\n");
            let found = cut(&["a", "b", "c"], 50_000, listing.as_bytes(), 4096);
            assert_eq!(found.len(), 3);
            assert!(
                matches!(&found[1], Found::TooLong(text) if text.starts_with(b"b () \n") && text.len() <= BEGINNING)
            );
            assert_eq!(found[2], Found::Whole(b"c () \n{ \n    :\n}\n".to_vec()));
        }
    }
}
