//! Reading a tar archive as its bytes arrive: whoever has some gives them, and nothing waits for the rest.

use super::{
    entry::{Entry, Kind},
    error::{Error, Result},
    header::{self, BLOCK, Extensions},
    sparse::{self, MapReader},
};
use tar::{EntryType, Header};

/// Longest header that speaks of another entry: names and a few numbers, or a map of holes.
const MOST_EXTENSION: u64 = 1 << 20;

/// What becomes of entries.
pub(super) trait Receive {
    /// An entry begins.
    fn begin(&mut self, entry: Entry) -> Result<()>;
    /// Bytes of it, and where in the file they belong.
    fn data(&mut self, at: u64, bytes: &[u8]) -> Result<()>;
    /// It has come whole.
    fn end(&mut self) -> Result<()>;
}

/// A reader.
pub(super) struct Reader {
    /// A block that has not come whole.
    block: Vec<u8>,
    more: Extensions,
    state: State,
    /// The entry that is being read, for errors.
    current: Vec<u8>,
}

enum State {
    /// A header comes. Whether the block before was empty.
    Header { after_empty: bool },
    /// A header that speaks of the next entry.
    Extension { kind: EntryType, left: u64, bytes: Vec<u8> },
    /// More of the holes of this entry, in blocks of GNU tar.
    Pieces(Box<Entry>),
    /// The map of the holes of this entry, in front of its bytes.
    Map(Box<Entry>, MapReader),
    /// Bytes of an entry.
    Data { pieces: std::vec::IntoIter<(u64, u64)>, at: u64, left: u64, padding: u64 },
    /// What fills the last block up, or is of no interest.
    Skip { left: u64, is_entry: bool },
    /// Nothing that follows counts.
    Ended,
}

impl Reader {
    pub(super) fn new() -> Self {
        let state = State::Header { after_empty: false };
        Self { block: Vec::with_capacity(BLOCK), more: Extensions::default(), state, current: Vec::new() }
    }

    /// Whether the archive's end was reached.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether the archive may end here. Many have no mark at their end.
    pub(super) fn may_end(&self) -> bool {
        self.has_ended() || (matches!(self.state, State::Header { .. }) && self.block.is_empty())
    }

    /// The entry that was read last.
    pub(super) fn current(&self) -> &[u8] {
        &self.current
    }

    /// Takes bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8], to: &mut impl Receive) -> Result<()> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Ended => return Ok(()),
                State::Data { pieces, at, left, padding } => {
                    if *left == 0 {
                        match pieces.next() {
                            Some((offset, length)) => (*at, *left) = (offset, length),
                            None => {
                                let left = *padding;
                                self.skip(left, true, to)?;
                            }
                        }
                        continue;
                    }
                    let (part, rest) = split(bytes, *left);
                    to.data(*at, part)?;
                    *at += part.len() as u64;
                    *left -= part.len() as u64;
                    bytes = rest;
                    self.finish_data(to)?;
                }
                State::Skip { left, is_entry } => {
                    let (part, rest) = split(bytes, *left);
                    let (left, is_entry) = (*left - part.len() as u64, *is_entry);
                    bytes = rest;
                    self.skip(left, is_entry, to)?;
                }
                State::Extension { left, .. } if *left > 0 => {
                    let (part, rest) = split(bytes, *left);
                    *left -= part.len() as u64;
                    if let State::Extension { bytes, .. } = &mut self.state {
                        bytes.extend_from_slice(part);
                    }
                    bytes = rest;
                    self.finish_extension()?;
                }
                _ => {
                    let (part, rest) = split(bytes, (BLOCK - self.block.len()) as u64);
                    self.block.extend_from_slice(part);
                    bytes = rest;
                    if self.block.len() == BLOCK {
                        let block = std::mem::take(&mut self.block);
                        self.whole_block(&block, to)?;
                        self.block = block;
                        self.block.clear();
                    }
                }
            }
        }
        Ok(())
    }

    fn whole_block(&mut self, block: &[u8], to: &mut impl Receive) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Header { after_empty } => self.header(block, after_empty, to),
            State::Pieces(mut entry) => {
                let more = header::more_pieces(block);
                let map = entry.map.get_or_insert_default();
                header::add_pieces(map, &more.sparse).ok_or_else(|| self.damaged("its holes are wrong"))?;
                if more.is_extended() {
                    self.state = State::Pieces(entry);
                    return Ok(());
                }
                self.begin(*entry, to)
            }
            State::Map(mut entry, mut reader) => {
                entry.stored =
                    entry.stored.checked_sub(BLOCK as u64).ok_or_else(|| self.damaged("its holes are wrong"))?;
                match reader.block(block) {
                    Some(true) => {
                        entry.map = Some(reader.map());
                        self.begin(*entry, to)
                    }
                    Some(false) => {
                        self.state = State::Map(entry, reader);
                        Ok(())
                    }
                    None => Err(self.damaged("its holes are wrong")),
                }
            }
            state => {
                self.state = state;
                Ok(())
            }
        }
    }

    fn header(&mut self, block: &[u8], after_empty: bool, to: &mut impl Receive) -> Result<()> {
        if block.iter().all(|byte| *byte == 0) {
            self.state = if after_empty { State::Ended } else { State::Header { after_empty: true } };
            return Ok(());
        }
        let header = Header::from_byte_slice(block);
        if !header::is_sound(header) {
            return Err(self.damaged("what follows it is no header of a tar archive"));
        }
        let kind = header.entry_type();
        match kind {
            EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink => {
                let left = header.entry_size().unwrap_or(u64::MAX);
                if left > MOST_EXTENSION {
                    return Err(self.damaged("the header that follows it is too long"));
                }
                self.state = State::Extension { kind, left, bytes: Vec::new() };
                self.finish_extension()
            }
            // Comments, as `git archive` writes one, and the name of a tape.
            _ if kind == EntryType::XGlobalHeader || kind.as_byte() == b'V' => {
                let left = header.entry_size().map_err(|_| self.damaged("what follows it has no size"))?;
                let left =
                    left.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| self.damaged("it is too large"))?;
                self.skip(left, false, to)
            }
            _ => {
                let mut more = std::mem::take(&mut self.more);
                let entry = header::entry(header, &mut more)?;
                self.current.clone_from(&entry.path);
                let has_more = header.as_gnu().is_some_and(|gnu| gnu.is_extended()) && kind == EntryType::GNUSparse;
                if has_more {
                    self.state = State::Pieces(Box::new(entry));
                    return Ok(());
                }
                if more.map_follows && entry.kind == Kind::File {
                    self.state = State::Map(Box::new(entry), MapReader::default());
                    return Ok(());
                }
                self.begin(entry, to)
            }
        }
    }

    fn begin(&mut self, entry: Entry, to: &mut impl Receive) -> Result<()> {
        let pieces = match &entry.map {
            Some(map) if !sparse::is_sound(map, entry.size, entry.stored) => {
                return Err(self.damaged("its holes are wrong"));
            }
            Some(map) => map.clone(),
            None => vec![(0, entry.stored)],
        };
        let padding = entry.stored.next_multiple_of(BLOCK as u64) - entry.stored;
        to.begin(entry)?;
        self.state = State::Data { pieces: pieces.into_iter(), at: 0, left: 0, padding };
        self.finish_data(to)
    }

    /// Goes on to what follows the bytes of an entry, if all have come.
    fn finish_data(&mut self, to: &mut impl Receive) -> Result<()> {
        let State::Data { pieces, at, left, padding } = &mut self.state else { return Ok(()) };
        while *left == 0 {
            match pieces.next() {
                Some((offset, length)) => (*at, *left) = (offset, length),
                None => {
                    let left = *padding;
                    return self.skip(left, true, to);
                }
            }
        }
        Ok(())
    }

    fn skip(&mut self, left: u64, is_entry: bool, to: &mut impl Receive) -> Result<()> {
        if left > 0 {
            self.state = State::Skip { left, is_entry };
            return Ok(());
        }
        self.state = State::Header { after_empty: false };
        if is_entry { to.end() } else { Ok(()) }
    }

    fn finish_extension(&mut self) -> Result<()> {
        let State::Extension { kind, left: 0, bytes } = &mut self.state else { return Ok(()) };
        let (kind, bytes) = (*kind, std::mem::take(bytes));
        let padding = bytes.len().next_multiple_of(BLOCK) - bytes.len();
        // GNU tar ends names with a NUL.
        let name = || bytes.strip_suffix(b"\0").unwrap_or(&bytes).to_owned();
        match kind {
            EntryType::GNULongName => self.more.path = Some(name()),
            EntryType::GNULongLink => self.more.link = Some(name()),
            _ => self.more.read(&bytes).ok_or_else(|| self.damaged("the header that follows it is wrong"))?,
        }
        self.state = if padding > 0 {
            State::Skip { left: padding as u64, is_entry: false }
        } else {
            State::Header { after_empty: false }
        };
        Ok(())
    }

    fn damaged(&self, what: &str) -> Error {
        Error::damaged(&self.current, what)
    }
}

/// As many bytes as are wanted, and the rest.
fn split(bytes: &[u8], wanted: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(wanted).map_or(bytes.len(), |wanted| wanted.min(bytes.len())))
}
