//! Slots: each live sandbox has one. Its number names the directory of its layers and its range of host ids.

use crate::runtime::linux::layout::Layout;
use rustix::fs::Mode;
use std::{io, path::PathBuf};

/// The first host id of slot 0. From here up to 2^31 nothing else on a Linux host is known to take ids: systemd's
/// containers end just below, and some programs read ids as signed numbers.
const FIRST_ID: u32 = 0x7000_0000;
/// Ids that a sandbox has for itself: root, every service's and `nobody`.
pub(in crate::runtime::linux) const IDS: u32 = 65_536;
/// The host's ids for all higher ones, and how many there are. Sandboxes have these in common, because nobody's ids go so far that
/// each could have its own: they are for files of users who exist elsewhere, as in an archive, and no sandbox reaches the files
/// or processes of another one. No system gives ids to users above 2^31; the last ones, in which some numbers have a meaning,
/// are left out.
pub(in crate::runtime::linux) const COMMON: (u32, u32) = (0x8000_0000 + IDS, 0xffff_0000 - 0x8000_0000 - IDS);
/// Slots of a data directory: up to systemd's "foreign" range at 0x7ffe_0000.
const SLOTS: u32 = (0x7ffe_0000 - FIRST_ID) / IDS;

/// The slot whose ids own the files of volumes on disk: the last one, which no sandbox gets.
pub(in crate::runtime::linux) const OF_VOLUMES: u32 = SLOTS - 1;

/// The host id that is root in a slot's sandbox.
pub(in crate::runtime::linux) fn root_id(slot: u32) -> u32 {
    FIRST_ID + slot * IDS
}

/// The host id of an id in a slot's sandbox.
pub(in crate::runtime::linux) fn host_id(slot: u32, id: u32) -> u32 {
    if id < IDS { root_id(slot) + id } else { COMMON.0.saturating_add(id - IDS) }
}

/// What an id is called in a slot's sandbox; one that is none of its ids stays what it is.
pub(in crate::runtime::linux) fn local_id(slot: u32, id: u32) -> u32 {
    if (root_id(slot)..root_id(slot) + IDS).contains(&id) {
        id - root_id(slot)
    } else if id >= COMMON.0 {
        id - COMMON.0 + IDS
    } else {
        id
    }
}

/// Takes a free slot, at random: two data directories on one host then seldom share ids. The directory is the
/// reservation: it is made or it exists already, whoever else asks, before and after a restart.
pub(in crate::runtime::linux) fn take(layout: &Layout) -> io::Result<(u32, PathBuf)> {
    let mut seed = [0; 4];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
    let first = u32::from_ne_bytes(seed) % OF_VOLUMES;
    for offset in 0..OF_VOLUMES {
        let slot = (first + offset) % OF_VOLUMES;
        let path = layout.slot(slot);
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) => return Ok((slot, path)),
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::StorageFull, format!("all {OF_VOLUMES} slots for sandboxes are taken")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_last_slot_stay_below_the_foreign_range() {
        assert_eq!(root_id(0), FIRST_ID);
        assert!(root_id(SLOTS - 1) + IDS <= 0x7ffe_0000);
    }

    #[test]
    fn ids_are_the_same_there_and_back() {
        for id in [0, 1, 1000, IDS - 1, IDS, 70_000, 2_000_000_000] {
            assert_eq!(local_id(7, host_id(7, id)), id);
        }
        assert_eq!(local_id(7, 33), 33);
    }

    #[test]
    fn common_ids_are_above_those_of_all_slots_and_below_the_special_ones() {
        let (first, count) = COMMON;
        assert!(first > root_id(SLOTS - 1) + IDS && first.checked_add(count).is_some_and(|end| end <= 0xffff_0000));
        // Inside they end where numbers read as signed would be negative.
        assert!(IDS + count <= 0x8000_0000);
    }
}
