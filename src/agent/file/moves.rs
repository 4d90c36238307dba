//! Moves in a directory that is watched: what was moved, from where to where, and what that means for what was told before.

use super::{
    draft,
    error::{At, Result},
    events::Raw,
    watch::Watching,
    watched::Place,
};
use crate::api::v1::{WatchResponse, change::Kind};
use rustix::{
    fs::{AtFlags, inotify::ReadFlags, statat},
    io::Errno,
};
use std::os::fd::AsFd;

impl Watching {
    /// Takes both halves of a move.
    pub(super) fn moved(&mut self, from: &Raw, to: &Raw, events: &mut Vec<WatchResponse>) -> Result<()> {
        if draft::is_hidden(&from.name) {
            // A draft has taken the place of the file.
            if let Some(path) = self.watched.path(to.watch, &to.name) {
                events.push(self.telling.change(Kind::Modified, &path, false));
            }
            return Ok(());
        }
        if to.flags.contains(ReadFlags::ISDIR) && self.recursive {
            self.moved_directory(from, to, events)?;
        } else {
            let (old, new) = (self.watched.path(from.watch, &from.name), self.watched.path(to.watch, &to.name));
            // A directory that has the name was found there as it is now, and is told when its own event comes.
            let was_directory = self.watched.at(from.watch, &from.name).is_some();
            self.watched.remove(from.watch, &from.name);
            self.watched.remove(to.watch, &to.name);
            match (old, new) {
                (Some(old), Some(new)) if !was_directory => {
                    events.push(self.telling.renamed(&old, &new, to.flags.contains(ReadFlags::ISDIR)));
                }
                (old, new) => {
                    let is_directory = to.flags.contains(ReadFlags::ISDIR);
                    events.extend(old.map(|old| self.telling.change(Kind::Removed, &old, is_directory)));
                    events.extend(new.map(|new| self.telling.change(Kind::Created, &new, is_directory)));
                }
            }
        }
        self.look_for_exchange(from, to, events)
    }

    /// A directory was moved. What is known of it goes with it if it is surely this one; else it is looked into anew.
    fn moved_directory(&mut self, from: &Raw, to: &Raw, events: &mut Vec<WatchResponse>) -> Result<()> {
        // Before the paths are asked for, which it may change.
        let there = self.now(to.watch, &to.name)?;
        let has = |place: Option<Place>| match (place, &there) {
            (Some(Place::Of(watch)), Some(there)) => self.watched.is(watch, there.as_fd()),
            _ => false,
        };
        let (source, target) = (self.watched.at(from.watch, &from.name), self.watched.at(to.watch, &to.name));
        let is_known = has(source);
        // Nobody was told of anything in it, neither there nor here.
        let is_fresh = source.is_none() && !has(target);
        let (old, new) = (self.watched.path(from.watch, &from.name), self.watched.path(to.watch, &to.name));
        let is_one = (is_known || is_fresh) && old.is_some() && new.is_some();
        if let (Some(old), Some(new)) = (&old, &new)
            && is_one
        {
            events.push(self.telling.renamed(old, new, true));
        } else if let Some(old) = old {
            events.push(self.telling.change(Kind::Removed, &old, true));
        }
        if is_known && is_one {
            self.watched.rename((from.watch, &from.name), (to.watch, &to.name));
            return Ok(());
        }
        // That may also take what is known of the place where it is now.
        self.watched.remove(from.watch, &from.name);
        let Some(new) = self.watched.path(to.watch, &to.name) else { return Ok(()) };
        if !is_one {
            events.push(self.telling.change(Kind::Created, &new, true));
        }
        self.found(there, (to.watch, &to.name), &new)
    }

    /// Two that have exchanged their names (`RENAME_EXCHANGE`) are told by the kernel as two moves, one after the other, as if the first
    /// had replaced what the second moves back. So if something has the name from which that was moved, and no event to come tells why,
    /// all is looked for anew.
    fn look_for_exchange(&mut self, from: &Raw, to: &Raw, events: &mut Vec<WatchResponse>) -> Result<()> {
        let this = [(from.watch, from.name.clone()), (to.watch, to.name.clone())];
        let is_back = self.renamed_last.as_ref().is_some_and(|[old, new]| *old == this[1] && *new == this[0]);
        self.renamed_last = Some(this);
        if !is_back {
            return Ok(());
        }
        let Some(parent) = self.open(from.watch)? else { return Ok(()) };
        match statat(&parent, from.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) | Err(_) if self.events.will_tell_of(from.watch, &from.name).at(self.telling.top())? => Ok(()),
            Ok(_) | Err(_) => self.lost(events),
        }
    }

    /// What was moved, and whose new place did not come, is gone from the directory.
    pub(super) fn moved_away(&mut self, from: &Raw, events: &mut Vec<WatchResponse>) {
        if draft::is_hidden(&from.name) {
            return;
        }
        if let Some(path) = self.watched.path(from.watch, &from.name) {
            events.push(self.telling.change(Kind::Removed, &path, from.flags.contains(ReadFlags::ISDIR)));
        }
        self.watched.remove(from.watch, &from.name);
    }
}
