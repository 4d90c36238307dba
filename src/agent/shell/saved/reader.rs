//! Makes a [`Saved`] of what comes from the pipe: sections that end with NUL and begin with a letter.

use super::{Charged, Found, Item, Kind, MOST_SAVED, NotRestored, Saved, bodies::Bodies, statements::Statements};
use crate::agent::{
    output::{Budget, Charge},
    shell::dialect::{Dialect, sections},
};
use std::{
    collections::{BinaryHeap, VecDeque},
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    sync::Arc,
};

/// Bytes in sections that hold one short word or a path.
const LONGEST_WORD: usize = libc::PATH_MAX as usize;

/// Numbers of pieces that are noted as failed.
const MOST_FAILED: usize = 1000;

/// How much is charged for at a time while a state is read: asking for each small thing would take longer.
const STEP: usize = 4096;

/// Reads what a shell saves.
pub(super) struct Reader {
    dialect: Dialect,
    budget: Arc<Budget>,
    section: Section,
    draft: Option<Draft>,
    /// Pieces that a new shell could not carry out.
    failed: Vec<usize>,
}

/// What is being read.
enum Section {
    /// The letter of the next one.
    Letter,
    /// Nothing that is known.
    Unknown,
    /// A word, until it is complete.
    Word { letter: u8, word: Vec<u8>, most: usize },
    /// A listing.
    Listing { kind: Kind, statements: Statements },
    /// Names of functions that follow.
    Names(Statements),
    /// Functions.
    Bodies(Bodies),
}

/// What was read of a state so far.
struct Draft {
    directory: PathBuf,
    items: Vec<Item>,
    functions_doubtful: bool,
    lost: NotRestored,
    size: usize,
    charge: Charge,
    /// What is charged for.
    charged: usize,
    /// Names of functions.
    names: VecDeque<Vec<u8>>,
    /// The name of a function whose body follows.
    name: Option<Vec<u8>>,
    /// How many positional parameters there are.
    parameters: usize,
    /// Variables that no program sees, the largest first: what they count, and which items they are.
    spare: BinaryHeap<(usize, usize)>,
}

impl Reader {
    /// Nothing was read yet.
    pub(super) fn new(dialect: Dialect, budget: Arc<Budget>) -> Self {
        Self { dialect, budget, section: Section::Unknown, draft: None, failed: Vec::new() }
    }

    /// Takes bytes. Returns the last state that they complete.
    pub(super) fn feed(&mut self, mut data: &[u8]) -> Option<Saved> {
        let mut latest = None;
        while let Some(end) = data.iter().position(|byte| *byte == 0) {
            self.take(&data[..end]);
            latest = self.end_section().or(latest);
            data = &data[end + 1..];
        }
        self.take(data);
        latest
    }

    /// Whether a state has begun to come and is not complete.
    pub(super) fn is_in_the_middle(&self) -> bool {
        self.draft.is_some()
    }

    /// Numbers of pieces that failed since this was asked last.
    pub(super) fn take_failed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.failed)
    }

    fn take(&mut self, mut data: &[u8]) {
        if let (Section::Letter, Some((letter, rest))) = (&self.section, data.split_first()) {
            self.section = self.begin(*letter);
            data = rest;
        }
        let Self { dialect, section, draft, .. } = self;
        match section {
            Section::Letter | Section::Unknown => {}
            Section::Word { word, most, .. } => {
                // One byte more than may be is enough to tell that it is too long.
                let room = (*most + 1).saturating_sub(word.len());
                word.extend_from_slice(&data[..room.min(data.len())]);
            }
            Section::Listing { kind, statements } => {
                if let Some(draft) = draft {
                    statements.feed(data, &mut |found| draft.add(*dialect, *kind, found));
                }
            }
            Section::Names(statements) => {
                if let Some(draft) = draft {
                    statements.feed(data, &mut |found| draft.add_name(*dialect, found));
                }
            }
            Section::Bodies(bodies) => {
                if let Some(draft) = draft {
                    bodies.feed(data, &mut |found| draft.add(*dialect, Kind::Function, found));
                }
            }
        }
    }

    fn begin(&mut self, letter: u8) -> Section {
        let word = |most| Section::Word { letter, word: Vec::new(), most };
        match letter {
            sections::DIRECTORY | sections::FAILED => return word(LONGEST_WORD),
            _ if self.draft.is_none() => return Section::Unknown,
            sections::UMASK | sections::EMULATION | sections::PARAMETERS | sections::END => return word(LONGEST_WORD),
            sections::PARAMETER => return word(MOST_SAVED),
            _ => {}
        }
        let Some((kind, words)) = self.dialect.listing(letter) else { return Section::Unknown };
        let statements = || Statements::new(words, MOST_SAVED);
        match (kind, &mut self.draft) {
            (Kind::Attributes, _) => Section::Names(statements()),
            (Kind::Function, Some(draft)) if self.dialect == Dialect::Bash => {
                Section::Bodies(Bodies::new(std::mem::take(&mut draft.names), MOST_SAVED))
            }
            _ => Section::Listing { kind, statements: statements() },
        }
    }

    fn end_section(&mut self) -> Option<Saved> {
        let dialect = self.dialect;
        match std::mem::replace(&mut self.section, Section::Letter) {
            Section::Letter | Section::Unknown => {}
            Section::Word { letter: sections::DIRECTORY, word, most } => {
                self.draft = (word.len() <= most).then(|| Draft::new(&word, self.budget.nothing()));
            }
            Section::Word { letter: sections::FAILED, word, .. } => {
                if let Some(number) = number(&word).filter(|_| self.failed.len() < MOST_FAILED) {
                    self.failed.push(number);
                }
            }
            Section::Word { letter: sections::END, .. } => return self.draft.take().map(Draft::complete),
            Section::Word { letter, word, most } => {
                if let Some(draft) = &mut self.draft {
                    draft.add_word(dialect, letter, word, most);
                }
            }
            Section::Listing { kind, mut statements } => {
                if let Some(draft) = &mut self.draft {
                    statements.finish(&mut |found| draft.add(dialect, kind, found));
                    draft.name = None;
                }
            }
            Section::Names(mut statements) => {
                if let Some(draft) = &mut self.draft {
                    statements.finish(&mut |found| draft.add_name(dialect, found));
                }
            }
            Section::Bodies(mut bodies) => {
                if let Some(draft) = &mut self.draft {
                    bodies.finish(&mut |found| draft.add(dialect, Kind::Function, found));
                    draft.functions_doubtful = bodies.are_doubtful();
                }
            }
        }
        None
    }
}

impl Draft {
    fn new(directory: &[u8], charge: Charge) -> Self {
        Self {
            directory: PathBuf::from(OsStr::from_bytes(directory)),
            items: Vec::new(),
            functions_doubtful: false,
            lost: NotRestored::default(),
            size: 0,
            charge,
            charged: 0,
            names: VecDeque::new(),
            name: None,
            parameters: 0,
            spare: BinaryHeap::new(),
        }
    }

    /// Whether so many bytes more may be kept: of this state, and of all that the agent keeps.
    fn has_room_for(&mut self, more: usize) -> bool {
        let size = self.size + more;
        if size > MOST_SAVED {
            return false;
        }
        let wanted = size.saturating_sub(self.charged).next_multiple_of(STEP);
        if wanted > 0 && !self.charge.try_grow(wanted) {
            return false;
        }
        self.charged += wanted;
        true
    }

    fn add_word(&mut self, dialect: Dialect, letter: u8, word: Vec<u8>, most: usize) {
        let kind = match letter {
            sections::UMASK => Kind::Umask,
            sections::EMULATION => Kind::Emulation,
            sections::PARAMETERS => {
                self.parameters = number(&word).unwrap_or(0);
                return;
            }
            // A shell without parameters prints an empty one.
            sections::PARAMETER if self.parameters > 0 => Kind::Parameter,
            _ => return,
        };
        self.add(dialect, kind, if word.len() > most { Found::TooLong(word) } else { Found::Whole(word) });
    }

    /// Adds the name of a function, and its attributes if it has any.
    fn add_name(&mut self, dialect: Dialect, found: Found) {
        let Found::Whole(text) = found else { return };
        let mut words = text.splitn(3, |byte| *byte == b' ');
        let (Some(_), Some(attributes), Some(name)) = (words.next(), words.next(), words.next()) else { return };
        let cost = name.len() + size_of::<Vec<u8>>();
        if !self.has_room_for(cost) {
            return;
        }
        self.size += cost;
        self.names.push_back(name.to_vec());
        if attributes != b"-f" {
            self.add(dialect, Kind::Attributes, Found::Whole(text));
        }
    }

    /// Adds something, if need be in the place of variables that no program sees.
    fn add(&mut self, dialect: Dialect, kind: Kind, found: Found) {
        let mut text = match found {
            Found::Whole(text) => text,
            Found::TooLong(text) => {
                let name = self.name.take();
                return self.lose(dialect, kind, name.as_deref().unwrap_or(&text));
            }
        };
        if kind == Kind::Function && dialect == Dialect::Zsh {
            // Names and bodies come in turn.
            let Some(name) = self.name.take() else {
                self.name = Some(text);
                return;
            };
            text = [&name, b"\n".as_slice(), &text].concat();
        }
        let kind = if kind == Kind::Variable && dialect.lists_as_exported(&text) { Kind::Exported } else { kind };
        if kind == Kind::Variable && dialect.hides_value(&text, &self.items) {
            return self.lose(dialect, kind, &text);
        }
        let item = Item { kind, text };
        let is_spare = item.kind == Kind::Variable;
        while !self.has_room_for(item.cost()) {
            let largest = if is_spare { None } else { self.spare.pop() };
            let Some((cost, at)) = largest else { return self.lose(dialect, item.kind, &item.text) };
            let text = std::mem::take(&mut self.items[at].text);
            self.size -= cost;
            self.lose(dialect, Kind::Variable, &text);
        }
        self.size += item.cost();
        if is_spare {
            self.spare.push((item.cost(), self.items.len()));
        }
        self.items.push(item);
    }

    /// All of it. What was given up for something else is no item any more.
    fn complete(mut self) -> Saved {
        self.items.retain(|item| item.kind != Kind::Variable || !item.text.is_empty());
        self.charge.set(self.size);
        let Self { directory, items, functions_doubtful, lost, charge, .. } = self;
        Saved { directory, items, functions_doubtful, lost, charge: Charged(Arc::new(charge)) }
    }

    fn lose(&mut self, dialect: Dialect, kind: Kind, text: &[u8]) {
        if let Some(label) = dialect.label(kind, text) {
            self.lost.add(label);
        }
    }
}

fn number(word: &[u8]) -> Option<usize> {
    std::str::from_utf8(word).ok()?.trim().parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What a shell with these positional parameters saves.
    fn saved_by(parameters: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut section = |letter: u8, content: &[u8]| {
            bytes.push(letter);
            bytes.extend_from_slice(content);
            bytes.push(0);
        };
        section(sections::DIRECTORY, b"/tmp");
        section(sections::PARAMETERS, parameters.len().to_string().as_bytes());
        parameters.iter().for_each(|parameter| section(sections::PARAMETER, parameter));
        section(sections::END, b"");
        [&[0], bytes.as_slice()].concat()
    }

    #[test]
    fn what_is_kept_is_charged_for_until_it_is_dropped() {
        let budget = Budget::of(100_000);
        let mut reader = Reader::new(Dialect::Posix, Arc::clone(&budget));
        let saved = reader.feed(&saved_by(&[vec![b'x'; 20_000], vec![b'y'; 10_000]])).unwrap();
        assert_eq!((saved.items.len(), saved.lost.clone().told().len()), (2, 0));
        assert!((30_000..31_000).contains(&budget.used()), "{}", budget.used());
        let copy = saved.clone();
        drop(saved);
        assert!(budget.used() >= 30_000);
        drop(copy);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_there_is_no_room_for_is_told() {
        let budget = Budget::of(100_000);
        let _others = budget.hold(60_000).unwrap();
        let mut reader = Reader::new(Dialect::Posix, Arc::clone(&budget));
        let saved = reader.feed(&saved_by(&[vec![b'x'; 20_000], vec![b'y'; 50_000], vec![b'z'; 100]])).unwrap();
        assert_eq!(saved.items.len(), 2);
        assert_eq!(saved.lost.clone().told(), ["positional parameters"]);
        assert!(budget.used() < 100_000, "{}", budget.used());
        assert_eq!(saved.directory, PathBuf::from("/tmp"));
    }
}
