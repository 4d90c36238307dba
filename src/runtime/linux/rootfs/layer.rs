//! Layers of other sandboxes, as a starter uses them.

use super::idmap::{self, Ids};
use crate::runtime::linux::{
    failure::{Failure, Step},
    layout::Layout,
    storage::layer::Place,
};
use std::{io, os::fd::OwnedFd, path::PathBuf};

/// A layer, as the starter of a sandbox uses it.
pub(in crate::runtime::linux) struct Frozen {
    files: PathBuf,
    /// With root: what shows its files as the sandbox's own.
    user_namespace: Option<OwnedFd>,
}

impl Frozen {
    /// A detached mount of what the layer has of one of the file systems of its image, if it has any.
    pub(in crate::runtime::linux) fn mount(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        let directory = self.files.join(name);
        match &self.user_namespace {
            _ if !directory.is_dir() => Ok(None),
            Some(user_namespace) => idmap::clone_mapped(&directory, user_namespace).map(Some),
            None => idmap::detached(&directory).map(Some),
        }
    }
}

/// Gets a layer ready for a sandbox; `slot` is its slot, with root.
pub(in crate::runtime::linux) fn open(layout: &Layout, name: &str, slot: Option<u32>) -> Result<Frozen, Failure> {
    let place = Place::of(layout, name).step("read about the layer")?;
    let ids = place.slot.zip(slot).map(|(from, to)| Ids::Moved(from, to));
    let user_namespace = ids.map(idmap::user_namespace).transpose().step("make a user namespace for the layer")?;
    Ok(Frozen { files: place.files, user_namespace })
}
