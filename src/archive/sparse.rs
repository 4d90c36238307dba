//! Where a file with holes has bytes: as a file system says it, and as archives do.

use rustix::fs::{SeekFrom, seek};
use std::os::fd::AsFd;

/// Most pieces of a file that is packed. What comes after them is taken as one piece, holes and all.
const MOST_PACKED: usize = 16_384;

/// Most pieces of a file that is unpacked.
pub(super) const MOST_PIECES: usize = 131_072;

/// The pieces of an open file that hold bytes: offset and length. `None` when it has no holes, or nobody can tell.
pub(super) fn pieces(file: impl AsFd, size: u64) -> Option<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            // Nothing but a hole follows.
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => return None,
        };
        let end =
            if found.len() + 1 >= MOST_PACKED { size } else { seek(&file, SeekFrom::Hole(start)).ok()?.min(size) };
        if end <= start {
            break;
        }
        found.push((start, end - start));
        at = end;
    }
    if found == [(0, size)] {
        return None;
    }
    // GNU tar makes a file no longer than its last piece.
    if at < size {
        found.push((size, 0));
    }
    Some(found)
}

/// The map in front of the bytes of a sparse file, in the format "PAX 1.0" of GNU tar: numbers on lines of their own, filled up
/// to whole blocks.
pub(super) fn written(map: &[(u64, u64)]) -> Vec<u8> {
    let mut text = format!("{}\n", map.len());
    for (offset, length) in map {
        text += &format!("{offset}\n{length}\n");
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Collects such a map as it arrives.
#[derive(Debug, Default)]
pub(super) struct MapReader {
    numbers: Vec<u64>,
    digits: Vec<u8>,
}

impl MapReader {
    /// Takes a block of it. Says whether it was the last; `None` when it is wrong.
    pub(super) fn block(&mut self, block: &[u8]) -> Option<bool> {
        for byte in block {
            if self.is_complete() {
                break;
            }
            match byte {
                b'\n' => {
                    let number = std::str::from_utf8(&self.digits).ok()?.parse().ok()?;
                    self.digits.clear();
                    self.numbers.push(number);
                    if self.numbers.len() == 1 && number > MOST_PIECES as u64 {
                        return None;
                    }
                }
                digit if digit.is_ascii_digit() && self.digits.len() < 20 => self.digits.push(*digit),
                _ => return None,
            }
        }
        Some(self.is_complete())
    }

    fn is_complete(&self) -> bool {
        self.numbers.first().is_some_and(|count| self.numbers.len() as u64 == 1 + 2 * count)
    }

    /// The pieces.
    pub(super) fn map(self) -> Vec<(u64, u64)> {
        self.numbers.get(1..).unwrap_or_default().chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    }
}

/// Whether pieces are in order, lie within a file of this size, and have so many bytes in all.
pub(super) fn is_sound(map: &[(u64, u64)], size: u64, stored: u64) -> bool {
    let (mut end, mut bytes) = (0_u64, 0_u64);
    for (offset, length) in map {
        let Some(next) = offset.checked_add(*length) else { return false };
        if *offset < end || next > size {
            return false;
        }
        end = next;
        bytes += length;
    }
    bytes == stored
}
