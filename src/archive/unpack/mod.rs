//! Unpacking an archive into a directory as its bytes arrive.

mod beside;
mod owners;
mod place;
mod writing;

use super::{
    compression::{Compression, Decoder, ENOUGH_TO_TELL, Fed, KINDS, kind_of},
    error::{Error, Refusal, Result},
    format::Reader,
};
use place::Placing;
use rustix::fd::OwnedFd;
use std::io::{self, Write};

/// How entries are unpacked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Whether they get the owner and group, by number, that the archive has.
    pub owners: bool,
    /// Whether entries that are refused are left out. Else the first one ends it all.
    pub skip_refused: bool,
    /// Whether symbolic links may lead out of the directory. They are made, and never followed.
    pub outside_links: bool,
    /// Whether what is in a directory named `.git` is refused: git runs what its configuration and hooks say.
    pub no_git: bool,
    /// Whether the directory itself gets the attributes that the archive has for it.
    pub top: bool,
}

/// How much an archive may have.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes when it is not compressed.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

/// What was unpacked.
#[derive(Debug, Default, Clone)]
pub struct Unpacked {
    /// Regular files, hard links to them included.
    pub files: u64,
    /// Directories that the archive mentions.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of the regular files, holes included.
    pub bytes: u64,
    /// Entries that were left out: the first of them, and why.
    pub refused: Vec<(String, Refusal)>,
    /// How many those are in all.
    pub refused_total: u64,
}

/// An archive that is being unpacked. One that is dropped leaves what was unpacked whole, and nothing of the entry under way.
pub struct Import(State);

enum State {
    /// The first bytes, which say how it is compressed unless its client does.
    Beginning(Option<Compression>, Vec<u8>, Feed),
    Decoding(Compression, Decoder<Feed>),
    /// Nothing more can be done.
    Over,
}

impl Import {
    /// Begins to unpack into an open directory. Without a compression the first bytes tell which.
    pub fn new(into: OwnedFd, compression: Option<Compression>, rules: Rules, limits: Limits) -> Result<Self> {
        let feed = Feed {
            reader: Reader::new(),
            placing: Placing::new(into, rules, limits.entries),
            read: 0,
            limits,
            failed: None,
            wanted: Box::new(|| true),
        };
        Ok(Self(State::Beginning(compression, Vec::new(), feed)))
    }

    /// Takes bytes of the archive. `wanted` is asked now and then whether to go on.
    pub fn take(&mut self, bytes: &[u8], wanted: Box<dyn Fn() -> bool + Send>) -> Result<()> {
        match std::mem::replace(&mut self.0, State::Over) {
            State::Beginning(compression, mut first, mut feed) => {
                first.extend_from_slice(bytes);
                feed.wanted = wanted;
                if first.len() < ENOUGH_TO_TELL {
                    self.0 = State::Beginning(compression, first, feed);
                    return Ok(());
                }
                self.begin(compression, &first, feed)
            }
            State::Decoding(compression, mut decoder) => {
                decoder.target().wanted = wanted;
                self.0 = State::Decoding(compression, decoder);
                self.write(bytes)
            }
            State::Over => Err(Error::GivenUp),
        }
    }

    fn begin(&mut self, compression: Option<Compression>, first: &[u8], feed: Feed) -> Result<()> {
        let compression = compression.or(Compression::of(first)).unwrap_or(Compression::None);
        if let (Compression::None, Some(kind)) = (compression, kind_of(first)) {
            return Err(Error::damaged(b"", format!("it is compressed with {kind}; {KINDS}")));
        }
        let decoder = Decoder::new(compression, feed).map_err(|error| Error::io("", error))?;
        self.0 = State::Decoding(compression, decoder);
        self.write(first)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let State::Decoding(compression, decoder) = &mut self.0 else { return Err(Error::GivenUp) };
        let written = decoder.write(bytes);
        // What comes in the archive before a fault is unpacked.
        decoder.target().placing.wait()?;
        written.map_err(|error| decoder.target().explain(*compression, &error))
    }

    /// All bytes have come.
    pub fn finish(mut self, wanted: Box<dyn Fn() -> bool + Send>) -> Result<Unpacked> {
        let (compression, mut decoder) = match self.0 {
            State::Beginning(compression, first, feed) => {
                self.0 = State::Over;
                self.begin(compression, &first, feed)?;
                return self.finish(wanted);
            }
            State::Decoding(compression, decoder) => (compression, decoder),
            State::Over => return Err(Error::GivenUp),
        };
        decoder.target().wanted = wanted;
        let finished = decoder.finish();
        let feed = decoder.target();
        feed.placing.wait()?;
        if let Err(error) = finished {
            return Err(feed.explain(compression, &error));
        }
        if feed.read == 0 {
            return Err(Error::damaged(b"", "it has not one byte"));
        }
        if !feed.reader.may_end() {
            return Err(Error::damaged(feed.reader.current(), "it ends in the middle"));
        }
        feed.placing.finish()
    }
}

/// Where the bytes of the archive itself go.
struct Feed {
    reader: Reader,
    placing: Placing,
    /// Bytes that came.
    read: u64,
    limits: Limits,
    /// What went wrong, which a decoder cannot pass on.
    failed: Option<Error>,
    wanted: Box<dyn Fn() -> bool + Send>,
}

impl Feed {
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if !(self.wanted)() {
            return Err(Error::GivenUp);
        }
        self.read = self.read.saturating_add(bytes.len() as u64);
        if self.read > self.limits.bytes && !self.reader.has_ended() {
            let entry = super::error::text(self.reader.current());
            return Err(Error::TooLarge { entry, what: "bytes", most: self.limits.bytes });
        }
        self.reader.push(bytes, &mut self.placing)
    }

    /// What an error of the decoder means.
    fn explain(&mut self, compression: Compression, error: &io::Error) -> Error {
        if let Some(failed) = self.failed.take() {
            return failed;
        }
        let how = match compression {
            Compression::None => return Error::damaged(self.reader.current(), error.to_string()),
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        };
        let kinds = if self.read == 0 { format!("; {KINDS}") } else { String::new() };
        let what = format!("it cannot be decompressed as {how}: {error}{kinds}");
        Error::damaged(self.reader.current(), what)
    }
}

impl Fed for Feed {
    fn has_enough(&self) -> bool {
        self.reader.has_ended()
    }
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        // A decoder gives a lot at once; whether it is still wanted is asked in between.
        match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.failed = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
