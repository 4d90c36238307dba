//! Compression of archives, in both directions a piece at a time.

use std::io::{self, Write};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// The largest window of zstd as a power of two: 8 MiB, as up to `zstd -19` has it. It bounds the memory that an archive takes.
const ZSTD_WINDOW: u32 = 23;

/// What zstd compresses with: its own default.
const ZSTD_LEVEL: i32 = 3;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

impl Compression {
    /// What the first bytes of an archive look like; `None` while there are too few to tell.
    pub(crate) fn of(first: &[u8]) -> Option<Self> {
        match first {
            _ if first.starts_with(GZIP_MAGIC) => Some(Self::Gzip),
            _ if first.starts_with(ZSTD_MAGIC) => Some(Self::Zstd),
            _ if first.len() < ZSTD_MAGIC.len() => None,
            _ => Some(Self::None),
        }
    }
}

/// Gives what is written to it on, uncompressed.
pub(super) enum Decoder<W: Write> {
    Plain(W),
    Gzip(Box<flate2::write::MultiGzDecoder<W>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, W>>),
}

impl<W: Write> Decoder<W> {
    pub(super) fn new(compression: Compression, to: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(to),
            Compression::Gzip => Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(to))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::write::Decoder::new(to)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(to) => to.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    /// Gives on what is still held. Fails when the compressed bytes are not complete.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zstd(decoder) => decoder.do_finish(),
        }
    }

    /// Where the bytes go.
    pub(super) fn target(&mut self) -> &mut W {
        match self {
            Self::Plain(to) => to,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

/// Compresses what is written to it.
pub(super) enum Encoder {
    Plain(Vec<u8>),
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(Vec::new()),
            Compression::Gzip => {
                Self::Gzip(Box::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default())))
            }
            Compression::Zstd => Self::Zstd(Box::new(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?)),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(encoder) => encoder.try_finish(),
            Self::Zstd(encoder) => encoder.do_finish(),
        }
    }

    /// The compressed bytes so far that nobody took.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(out) => out,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }
}
