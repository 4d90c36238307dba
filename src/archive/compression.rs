//! Compression of archives, in both directions a piece at a time.

use flate2::write::GzDecoder;
use std::io::{self, Write};
use zstd::zstd_safe::{DCtx, DParameter, ErrorCode, InBuffer, OutBuffer, get_error_name, zstd_sys::ZSTD_ErrorCode};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
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
    pub fn of(first: &[u8]) -> Option<Self> {
        match first {
            _ if first.starts_with(GZIP_MAGIC) => Some(Self::Gzip),
            _ if first.starts_with(ZSTD_MAGIC) => Some(Self::Zstd),
            _ if first.len() < ZSTD_MAGIC.len() => None,
            _ => Some(Self::None),
        }
    }
}

/// What the first bytes of other kinds of compression look like, which people also use for archives.
const OTHERS: [(&[u8], &str); 5] = [
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
];

/// As many bytes as tell all of them apart.
pub(super) const ENOUGH_TO_TELL: usize = 6;

/// Which compressions there are, for messages.
pub(super) const KINDS: &str = "an archive is a tar file that is not compressed, or compressed with gzip or zstd";

/// The kind of compression that these first bytes have, when an archive is taken for one that is not compressed.
pub(super) fn kind_of(first: &[u8]) -> Option<&'static str> {
    match Compression::of(first) {
        Some(Compression::Gzip) => Some("gzip"),
        Some(Compression::Zstd) => Some("zstd"),
        _ => OTHERS.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, name)| *name),
    }
}

/// Where uncompressed bytes go.
pub(super) trait Fed: Write {
    /// Whether it has all that it needs, and what follows does not count.
    fn has_enough(&self) -> bool;
}

/// Gives what is written to it on, uncompressed. The checksums that end each part of a compressed file are compared; once a part has
/// ended in order, and nothing more is needed, the bytes behind it do not count, whatever they are.
pub(super) enum Decoder<W: Fed> {
    Plain(W),
    Gzip(Box<Gzip<W>>),
    Zstd(Box<Zstd<W>>),
}

/// The members of a gzip file, one behind the other.
pub(super) struct Gzip<W> {
    member: GzDecoder<Vec<u8>>,
    to: W,
    is_over: bool,
}

/// The frames of a zstd file, one behind the other.
pub(super) struct Zstd<W> {
    context: DCtx<'static>,
    buffer: Vec<u8>,
    to: W,
    /// Whether the last frame has come whole.
    is_between: bool,
    is_over: bool,
}

impl<W: Fed> Decoder<W> {
    pub(super) fn new(compression: Compression, to: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(to),
            Compression::Gzip => Self::Gzip(Box::new(Gzip { member: GzDecoder::new(Vec::new()), to, is_over: false })),
            Compression::Zstd => {
                let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
                context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW)).map_err(zstd_error)?;
                let buffer = vec![0; DCtx::out_size()];
                Self::Zstd(Box::new(Zstd { context, buffer, to, is_between: true, is_over: false }))
            }
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(to) => to.write_all(bytes),
            Self::Gzip(members) => members.write(bytes),
            Self::Zstd(frames) => frames.write(bytes),
        }
    }

    /// Gives on what is still held. Fails when the compressed bytes are not complete, or their checksum is wrong.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(members) if members.is_over => Ok(()),
            Self::Gzip(members) => members.end(),
            Self::Zstd(frames) if frames.is_over || frames.is_between => Ok(()),
            Self::Zstd(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Where the bytes go.
    pub(super) fn target(&mut self) -> &mut W {
        match self {
            Self::Plain(to) => to,
            Self::Gzip(members) => &mut members.to,
            Self::Zstd(frames) => &mut frames.to,
        }
    }
}

impl<W: Fed> Gzip<W> {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && !self.is_over {
            let taken = self.member.write(bytes)?;
            self.give()?;
            bytes = &bytes[taken..];
            // A member takes nothing more when its checksum has come.
            if taken == 0 {
                self.end()?;
                self.is_over = self.to.has_enough();
                self.member = GzDecoder::new(Vec::new());
            }
        }
        Ok(())
    }

    /// Compares the checksum of a member.
    fn end(&mut self) -> io::Result<()> {
        self.member.try_finish()?;
        self.give()
    }

    fn give(&mut self) -> io::Result<()> {
        self.to.write_all(self.member.get_ref())?;
        self.member.get_mut().clear();
        Ok(())
    }
}

impl<W: Fed> Zstd<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        while !self.is_over {
            let before = input.pos();
            let mut output = OutBuffer::around(self.buffer.as_mut_slice());
            // The hint is 0 when a frame has ended, and its checksum is right if it has one.
            let hint = self.context.decompress_stream(&mut output, &mut input).map_err(zstd_error)?;
            let written = output.pos();
            self.to.write_all(&self.buffer[..written])?;
            if hint == 0 {
                self.is_between = true;
                self.is_over = self.to.has_enough();
            } else if input.pos() > before {
                self.is_between = false;
            }
            let is_all = input.pos() == bytes.len();
            if is_all && (self.is_between || written < self.buffer.len()) {
                break;
            }
        }
        Ok(())
    }
}

fn zstd_error(code: ErrorCode) -> io::Error {
    if code.wrapping_neg() == ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge as usize {
        return io::Error::other("its window is larger than the 8 MiB that are taken; leave --ultra and --long out");
    }
    io::Error::other(get_error_name(code))
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
