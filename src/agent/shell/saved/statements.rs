//! Cuts what a shell lists (`declare -p`, `set`, `alias`, `trap`) into statements, while it comes.
//!
//! A statement ends with a line end that is in no quotation. All shells quote what they list in one of three ways, and in no
//! listing stands anything that has to be understood beyond that.

use super::Found;

/// As much is kept of the beginning of a statement that is too long: its name is there.
pub(super) const BEGINNING: usize = 512;

/// Statements of which one is not complete yet.
pub(super) struct Statements {
    /// What a statement begins with. Lines that begin with anything else belong to none; no words: any line will do.
    words: &'static [&'static str],
    statement: Vec<u8>,
    quote: Quote,
    escaped: bool,
    /// Whether the bytes up to the next line end belong to no statement.
    skipping: bool,
    /// Whether more came than may be kept.
    too_long: bool,
    longest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    /// `'…'`, in which nothing is escaped.
    Single,
    /// `"…"`
    Double,
    /// `$'…'`
    Dollar,
}

impl Statements {
    /// None yet. No statement is kept that is longer than this, in bytes.
    pub(super) fn new(words: &'static [&'static str], longest: usize) -> Self {
        Self {
            words,
            statement: Vec::new(),
            quote: Quote::None,
            escaped: false,
            skipping: false,
            too_long: false,
            longest,
        }
    }

    /// Takes bytes, and gives the statements that they complete.
    pub(super) fn feed(&mut self, data: &[u8], found: &mut impl FnMut(Found)) {
        for &byte in data {
            if self.skipping {
                self.skipping = byte != b'\n';
                continue;
            }
            if byte == b'\n' && self.quote == Quote::None && !self.escaped {
                self.finish(found);
                continue;
            }
            self.look_at(byte);
            self.keep(byte);
            if !self.may_begin_like_this() {
                self.statement.clear();
                (self.quote, self.escaped, self.skipping) = (Quote::None, false, byte != b'\n');
            }
        }
    }

    /// The listing is over: gives the last statement, if there is one.
    pub(super) fn finish(&mut self, found: &mut impl FnMut(Found)) {
        let statement = std::mem::take(&mut self.statement);
        let whole = self.quote == Quote::None && !self.escaped;
        let known = self.words.is_empty() || self.words.iter().any(|word| statement.starts_with(word.as_bytes()));
        if !statement.is_empty() && known {
            found(if self.too_long || !whole { Found::TooLong(statement) } else { Found::Whole(statement) });
        }
        (self.quote, self.escaped, self.skipping, self.too_long) = (Quote::None, false, false, false);
    }

    fn look_at(&mut self, byte: u8) {
        let after_dollar = self.statement.last() == Some(&b'$');
        if self.escaped {
            self.escaped = false;
            return;
        }
        match (self.quote, byte) {
            (Quote::None | Quote::Double | Quote::Dollar, b'\\') => self.escaped = true,
            (Quote::None, b'\'') if after_dollar => self.quote = Quote::Dollar,
            (Quote::None, b'\'') => self.quote = Quote::Single,
            (Quote::None, b'"') => self.quote = Quote::Double,
            (Quote::Single | Quote::Dollar, b'\'') | (Quote::Double, b'"') => self.quote = Quote::None,
            _ => {}
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.too_long {
            // The last byte tells what a quotation mark after it means.
            if self.statement.len() > BEGINNING {
                self.statement.pop();
            }
        } else if self.statement.len() >= self.longest {
            self.too_long = true;
            self.statement.truncate(BEGINNING);
            self.statement.shrink_to_fit();
        }
        self.statement.push(byte);
    }

    fn may_begin_like_this(&self) -> bool {
        self.words.is_empty()
            || self.words.iter().any(|word| {
                let length = word.len().min(self.statement.len());
                word.as_bytes()[..length] == self.statement[..length]
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(words: &'static [&'static str], longest: usize, pieces: &[&[u8]]) -> Vec<Found> {
        let mut all = Vec::new();
        let mut statements = Statements::new(words, longest);
        for piece in pieces {
            statements.feed(piece, &mut |found| all.push(found));
        }
        statements.finish(&mut |found| all.push(found));
        all
    }

    #[test]
    fn line_ends_in_quotations_end_no_statement() {
        let listing = b"a='x\ny'\nb='it'\"'\"'s\n'\nc='it'\\''s'\nd=$'\\'\\\\'\ne=\"\\\"\n\"\nf=a\\\nb\n";
        let expected = ["a='x\ny'", "b='it'\"'\"'s\n'", "c='it'\\''s'", "d=$'\\'\\\\'", "e=\"\\\"\n\"", "f=a\\\nb"];
        let expected: Vec<_> = expected.iter().map(|text| Found::Whole(text.as_bytes().to_vec())).collect();
        assert_eq!(cut(&[], 100, &[listing]), expected);
    }

    #[test]
    fn what_begins_otherwise_is_skipped_with_its_quotation_marks() {
        let listing = b"TRAPINT () {\n\techo it's\n}\ntrap -- 'a\nb' USR1\ntra\ntrap";
        assert_eq!(cut(&["trap -- "], 100, &[listing]), [Found::Whole(b"trap -- 'a\nb' USR1".to_vec())]);
    }

    #[test]
    fn a_statement_that_is_too_long_costs_only_itself_and_keeps_its_name() {
        let long = [b"long='".as_slice(), &[b'x'; 3 << 20], b"'\"\n\"'\n'\nshort=1\n"].concat();
        let found = cut(&[], 1 << 20, &[&long]);
        assert!(
            matches!(&found[0], Found::TooLong(text) if text.starts_with(b"long='xx") && text.len() <= BEGINNING + 1)
        );
        assert_eq!(found[1..], [Found::Whole(b"short=1".to_vec())]);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_pieces_a_listing_comes(
            listing in "[ab=\\\\'\"$\n]{0,60}", at in 0usize..60, longest in 1usize..20,
        ) {
            let (whole, at) = (listing.as_bytes(), at.min(listing.len()));
            prop_assert_eq!(
                cut(&["a", "b="], longest, &[&whole[..at], &whole[at..]]),
                cut(&["a", "b="], longest, &[whole])
            );
        }
    }
}
