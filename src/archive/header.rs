//! The headers of tar archives: from bytes to entries, and back. The `tar` crate knows the fields; what is here brings together what
//! several blocks say of one entry.

use super::{
    entry::{Entry, Kind},
    error::{Error, Result},
    sparse,
};
use tar::{EntryType, GnuExtSparseHeader, Header};

pub(super) const BLOCK: usize = 512;

/// What comes before a header and is about the same entry.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<(i64, u32)>,
    uid: Option<u32>,
    gid: Option<u32>,
    /// Bytes of a sparse file, holes included.
    real_size: Option<u64>,
    /// Numbers of a map in one of the old formats.
    numbers: Vec<u64>,
    /// Whether the map comes with the file's bytes.
    pub(super) map_follows: bool,
}

impl Extensions {
    /// Takes records of a PAX header. Those that are not known are left out.
    pub(super) fn read(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
            // The length counts itself, the space and the line's end.
            let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            self.record(&record[..equals], &record[equals + 1..])?;
            records = &records[length..];
        }
        Some(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        match key {
            // The name that programs without knowledge of sparse files see is not the file's.
            b"GNU.sparse.name" => self.path = Some(value.to_owned()),
            b"path" if self.path.is_none() || !self.map_follows => self.path = Some(value.to_owned()),
            b"linkpath" => self.link = Some(value.to_owned()),
            b"size" => self.size = Some(number()?),
            b"mtime" => self.mtime = Some(time(value)?),
            b"uid" => self.uid = Some(id(number()?)),
            b"gid" => self.gid = Some(id(number()?)),
            b"GNU.sparse.major" => self.map_follows = number()? == 1,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.real_size = Some(number()?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.numbers.push(number()?),
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',');
                self.numbers =
                    numbers.map(|text| std::str::from_utf8(text).ok()?.parse().ok()).collect::<Option<_>>()?;
            }
            _ => {}
        }
        (self.numbers.len() <= 2 * sparse::MOST_PIECES).then_some(())
    }
}

/// A number of a user or group. One that is larger than any is nobody's, and not root's.
fn id(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Seconds with a fraction.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let mut digits: String = fraction.chars().take(9).collect();
    while digits.len() < 9 {
        digits.push('0');
    }
    let nanos: u32 = digits.parse().ok()?;
    // A fraction counts upwards from the second below.
    Some(if whole.starts_with('-') && nanos > 0 { (seconds - 1, 1_000_000_000 - nanos) } else { (seconds, nanos) })
}

/// Whether the checksum of a header is right.
pub(super) fn is_sound(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = bytes[148..156].iter().map(|byte| u32::from(*byte)).sum();
    header.cksum().is_ok_and(|said| said == sum - own + 8 * u32::from(b' '))
}

/// The entry that a header and its extensions describe.
pub(super) fn entry(header: &Header, more: &mut Extensions) -> Result<Entry> {
    let path = more.path.take().unwrap_or_else(|| header.path_bytes().into_owned());
    let wrong = |what: &str| Error::damaged(&path, what);
    let link = more.link.take().or_else(|| header.link_name_bytes().map(|name| name.into_owned())).unwrap_or_default();
    let kind = match header.entry_type() {
        // Archives from before 1988 mark a directory by its name alone.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::HardLink,
        _ => Kind::Special,
    };
    let said = header.entry_size().map_err(|_| wrong("its size is no number"))?;
    // Links and directories have no bytes, whatever their size says.
    let stored = if kind == Kind::File || kind == Kind::Special { more.size.unwrap_or(said) } else { 0 };
    let mut map = None;
    let mut size = stored;
    if let Some(gnu) = header.as_gnu().filter(|_| header.entry_type() == EntryType::GNUSparse) {
        size = gnu.real_size().map_err(|_| wrong("its size is no number"))?;
        let mut pieces = Vec::new();
        add_pieces(&mut pieces, &gnu.sparse).ok_or_else(|| wrong("its holes are wrong"))?;
        map = Some(pieces);
    } else if !more.numbers.is_empty() || more.real_size.is_some() {
        size = more.real_size.unwrap_or(stored);
        map = Some(more.numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
    }
    if i64::try_from(size).is_err() || i64::try_from(stored).is_err() {
        return Err(wrong("its size is beyond what a file can have"));
    }
    let time = || header.mtime().ok().and_then(|time| i64::try_from(time).ok()).map_or((0, 0), |time| (time, 0));
    Ok(Entry {
        kind,
        link,
        mode: header.mode().map_err(|_| wrong("its mode is no number"))? & 0o7777,
        uid: more.uid.unwrap_or_else(|| header.uid().map(id).unwrap_or_default()),
        gid: more.gid.unwrap_or_else(|| header.gid().map(id).unwrap_or_default()),
        mtime: more.mtime.unwrap_or_else(time),
        size,
        stored,
        map,
        path,
    })
}

/// Adds the pieces that a header of GNU tar names. `None` when they are wrong.
pub(super) fn add_pieces(pieces: &mut Vec<(u64, u64)>, headers: &[tar::GnuSparseHeader]) -> Option<()> {
    for header in headers.iter().filter(|header| !header.is_empty()) {
        pieces.push((header.offset().ok()?, header.length().ok()?));
    }
    (pieces.len() <= sparse::MOST_PIECES).then_some(())
}

/// A block with more pieces, as the `tar` crate has it.
pub(super) fn more_pieces(block: &[u8]) -> GnuExtSparseHeader {
    let mut header = GnuExtSparseHeader::new();
    for (at, piece) in header.sparse.iter_mut().enumerate() {
        piece.offset.copy_from_slice(&block[at * 24..at * 24 + 12]);
        piece.numbytes.copy_from_slice(&block[at * 24 + 12..at * 24 + 24]);
    }
    header.isextended[0] = block[504];
    header
}

/// The blocks in front of an entry's bytes.
pub(super) fn written(entry: &Entry) -> Vec<u8> {
    let mut header = Header::new_ustar();
    let mut records = Vec::new();
    let map = entry.map.as_deref().map(sparse::written);
    let is_text = |name: &[u8]| name.is_ascii() && name.len() < 100;
    let mut path = entry.path.as_slice();
    let placeholder = b"GNUSparseFile.0/sparse";
    if map.is_some() {
        for (key, value) in [("major", "1".to_owned()), ("minor", "0".to_owned()), ("realsize", entry.size.to_string())]
        {
            record(&mut records, &format!("GNU.sparse.{key}"), value.as_bytes());
        }
        record(&mut records, "GNU.sparse.name", path);
        path = placeholder;
    } else if !is_text(path) {
        record(&mut records, "path", path);
    }
    if !is_text(&entry.link) {
        record(&mut records, "linkpath", &entry.link);
    }
    let stored = entry.stored + map.as_ref().map_or(0, |map| map.len() as u64);
    if stored > 0o77_777_777_777 {
        record(&mut records, "size", stored.to_string().as_bytes());
    }
    let (seconds, nanos) = entry.mtime;
    if nanos != 0 || seconds < 0 {
        record(&mut records, "mtime", decimal(seconds, nanos).as_bytes());
    }
    for (key, id) in [("uid", entry.uid), ("gid", entry.gid)] {
        if id > 0o7_777_777 {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    let mut blocks = Vec::new();
    if !records.is_empty() {
        let mut before = Header::new_ustar();
        put(&mut before, b"PaxHeaders/x", b"", EntryType::XHeader, records.len() as u64, 0o644);
        before.set_cksum();
        blocks.extend_from_slice(before.as_bytes());
        blocks.append(&mut records);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    let kind = match entry.kind {
        Kind::File | Kind::Special => EntryType::Regular,
        Kind::Directory => EntryType::Directory,
        Kind::Symlink => EntryType::Symlink,
        Kind::HardLink => EntryType::Link,
    };
    put(&mut header, path, &entry.link, kind, stored.min(0o77_777_777_777), entry.mode);
    header.set_uid(entry.uid.min(0o7_777_777).into());
    header.set_gid(entry.gid.min(0o7_777_777).into());
    header.set_mtime(u64::try_from(seconds).unwrap_or_default().min(0o77_777_777_777));
    header.set_cksum();
    blocks.extend_from_slice(header.as_bytes());
    blocks.extend(map.unwrap_or_default());
    blocks
}

/// Names are put as they are, cut where there is no room: the whole name is in a record then.
fn put(header: &mut Header, path: &[u8], link: &[u8], kind: EntryType, size: u64, mode: u32) {
    let old = header.as_old_mut();
    for (field, name) in [(&mut old.name, path), (&mut old.linkname, link)] {
        let length = name.len().min(field.len() - 1);
        field[..length].copy_from_slice(&name[..length]);
    }
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
}

/// Adds a record, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn decimal(seconds: i64, nanos: u32) -> String {
    match (seconds, nanos) {
        (0.., _) => format!("{seconds}.{nanos:09}"),
        (_, 0) => seconds.to_string(),
        (_, _) => format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
    }
}
