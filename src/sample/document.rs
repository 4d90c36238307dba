//! A TOML file whose mistakes are all found, each with its line.

use super::problem::Problem;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IntoDeserializer},
};
use std::{ops::Range, path::Path};
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

/// Where mistakes of one file are gathered.
pub(super) struct Mistakes<'a> {
    file: &'a Path,
    text: &'a str,
    found: Vec<Problem>,
}

/// A table of the file. Keys are taken out one by one, and what is left is a mistake.
pub(super) struct Section<'a> {
    /// What leads to it, with a dot at the end; empty for the whole file.
    name: String,
    entries: DeTable<'a>,
    /// Where it begins.
    start: usize,
}

/// A value, and where it is in the file.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// Reads the file. None if it is not TOML.
pub(super) fn read<'a>(file: &'a Path, text: &'a str) -> (Option<Section<'a>>, Mistakes<'a>) {
    let mut mistakes = Mistakes { file, text, found: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return (Some(Section { name: String::new(), entries: table.into_inner(), start: 0 }), mistakes);
    }
    // What was understood of it is not looked at: a key that seems to be missing may be in what was not understood.
    for error in errors {
        mistakes.add(start(error.span()), error.message().trim_end());
    }
    (None, mistakes)
}

fn start(span: Option<Range<usize>>) -> usize {
    span.map_or(0, |span| span.start)
}

/// The line, from 1 on, of a place in a text.
pub(super) fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

impl Mistakes<'_> {
    /// One more, at a place in the file.
    pub(super) fn add(&mut self, at: usize, message: impl Into<String>) {
        let line = line(self.text, at);
        self.found.push(Problem { file: self.file.to_owned(), line: Some(line), message: message.into() });
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All, in the order of their lines.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.found.sort();
        self.found
    }
}

impl<'a> Section<'a> {
    /// The value of a key. One of another type is a mistake, and counts as none.
    pub(super) fn take<T: DeserializeOwned>(&mut self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Located<T>> {
        let value = self.entries.remove(key)?;
        let at = value.span().start;
        match T::deserialize(ValueDeserializer::from(value).into_deserializer()) {
            Ok(value) => Some(Located { value, at }),
            Err(error) => {
                let at = error.span().map_or(at, |span| span.start);
                mistakes.add(at, format!("{}{key}: {}", self.name, error.message().trim_end()));
                None
            }
        }
    }

    /// The same for a key that has to be there.
    pub(super) fn need<T: DeserializeOwned>(
        &mut self,
        key: &str,
        what: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Located<T>> {
        if !self.entries.contains_key(key) {
            mistakes.add(self.start, format!("{}{key} is missing: {what}", self.name));
            return None;
        }
        self.take(key, mistakes)
    }

    /// A table below this one.
    pub(super) fn section(&mut self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Section<'a>> {
        let value: Spanned<DeValue<'a>> = self.entries.remove(key)?;
        let start = value.span().start;
        match value.into_inner() {
            DeValue::Table(entries) => Some(Section { name: format!("{}{key}.", self.name), entries, start }),
            other => {
                mistakes
                    .add(start, format!("{}{key}: must be a table, and is a value ({})", self.name, other.type_str()));
                None
            }
        }
    }

    /// Where it begins.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// What is left has a name that nobody knows.
    pub(super) fn finish(self, known: &[&str], mistakes: &mut Mistakes<'_>) {
        for key in self.entries.keys() {
            let name = key.get_ref();
            let nearest = known.iter().max_by(|a, b| nearness(name, a).total_cmp(&nearness(name, b)));
            let hint = match nearest.filter(|known| nearness(name, known) > 0.8) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("there are {}", known.join(", ")),
            };
            mistakes.add(key.span().start, format!("{}{name} is not a key of this file; {hint}", self.name));
        }
    }
}

fn nearness(name: &str, known: &str) -> f64 {
    strsim::jaro_winkler(name, known)
}

/// A length of time, as text such as "300s" or "5m", or a number of seconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Time(pub(super) std::time::Duration);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Seconds(f64),
    Text(String),
}

impl TryFrom<Written> for Time {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let text = match written {
            Written::Seconds(seconds) => seconds.to_string(),
            Written::Text(text) => text,
        };
        crate::span::time(&text).map(Self)
    }
}
