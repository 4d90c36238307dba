//! Slots: each live sandbox has one. Its number names the directory of its layers and its range of host ids.

use super::layout::Layout;
use rustix::fs::Mode;
use std::{io, path::PathBuf};

/// The first host id of slot 0. From here up to 2^31 nothing else on a Linux host is known to take ids: systemd's
/// containers end just below, and some programs read ids as signed numbers.
const FIRST_ID: u32 = 0x7000_0000;
/// Ids in a sandbox: root, every service's and `nobody`.
pub(super) const IDS: u32 = 65_536;
/// Slots of a data directory: up to systemd's "foreign" range at 0x7ffe_0000.
const SLOTS: u32 = (0x7ffe_0000 - FIRST_ID) / IDS;

/// The host id that is root in a slot's sandbox.
pub(super) fn root_id(slot: u32) -> u32 {
    FIRST_ID + slot * IDS
}

/// Takes a free slot, at random: two data directories on one host then seldom share ids. The directory is the
/// reservation: it is made or it exists already, whoever else asks, before and after a restart.
pub(super) fn take(layout: &Layout) -> io::Result<(u32, PathBuf)> {
    let mut seed = [0; 4];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
    let first = u32::from_ne_bytes(seed) % SLOTS;
    for offset in 0..SLOTS {
        let slot = (first + offset) % SLOTS;
        let path = layout.slot(slot);
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) => return Ok((slot, path)),
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::StorageFull, format!("all {SLOTS} slots for sandboxes are taken")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_last_slot_stay_below_the_foreign_range() {
        assert_eq!(root_id(0), FIRST_ID);
        assert!(root_id(SLOTS - 1) + IDS <= 0x7ffe_0000);
    }
}
