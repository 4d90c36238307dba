//! Layers: what a sandbox has made, kept when it ends. The directory of its own layers becomes one more lower directory of other
//! sandboxes. Files keep the owners that they have on disk, those of the slot in which they were made; a mount shows them to each
//! sandbox as its own.

use super::{
    Shared, blocking, delete,
    disk::{self, Bounds},
    end, failed,
    held::Found,
    home,
    idmap::{self, Ids},
    layout::{Layout, is_safe_id},
    pool::Root,
    process,
    record::Record,
    trash,
    wire::{Failure, Made, Step},
};
use crate::runtime::{Layer, RuntimeError};
use futures_util::FutureExt;
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, UTIME_NOW};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    ffi::OsStr,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// What is known of a layer, in its directory. Its time is that of the layer's last use.
const NOTE: &str = "layer.json";
/// The files, in its directory: as the directory of a slot.
const FILES: &str = "files";
/// What the names of layers begin with in the pool.
const SUBVOLUME: &str = "frozen-";
/// That all of it is on the disk, so that it is as good after a power cut.
const FLUSHED: &str = "flushed";

/// A layer may be large, and its size counts for as long as it is there.
const COUNT: Bounds = Bounds { entries: 20_000_000, names: 2_000_000, time: Duration::from_secs(120) };

/// What is known of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    /// The slot whose ids own its files. None: they belong to the server's user.
    slot: Option<u32>,
    /// The boot of the host that it was made in.
    boot_id: String,
    /// Bytes that it occupies.
    bytes: Option<u64>,
    /// The subvolume of the pool in which its files are.
    #[serde(default)]
    subvolume: Option<String>,
}

/// A layer, as the starter of a sandbox uses it.
pub(super) struct Frozen {
    files: PathBuf,
    /// With root: what shows its files as the sandbox's own.
    user_namespace: Option<OwnedFd>,
}

impl Frozen {
    /// A detached mount of what the layer has of one of the file systems of its image, if it has any.
    pub(super) fn mount(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        let directory = self.files.join(name);
        match &self.user_namespace {
            _ if !directory.is_dir() => Ok(None),
            Some(user_namespace) => idmap::clone_mapped(&directory, user_namespace).map(Some),
            None => super::tree::detached(&directory).map(Some),
        }
    }
}

/// Where the files of a layer are, and whose ids own them.
pub(super) struct Place {
    pub(super) files: PathBuf,
    /// The slot that they were made in, with root.
    pub(super) slot: Option<u32>,
}

impl Place {
    pub(super) fn of(layout: &Layout, name: &str) -> io::Result<Self> {
        let directory = layout.layer(name);
        let note = read(&directory)?;
        let files = note.subvolume.map_or_else(|| directory.join(FILES), |subvolume| layout.in_pool(&subvolume));
        Ok(Self { files, slot: note.slot })
    }
}

/// Gets a layer ready for a sandbox; `slot` is its slot, with root.
pub(super) fn open(layout: &Layout, name: &str, slot: Option<u32>) -> Result<Frozen, Failure> {
    let place = Place::of(layout, name).step("read about the layer")?;
    let ids = place.slot.zip(slot).map(|(from, to)| Ids::Moved(from, to));
    let user_namespace = ids.map(idmap::user_namespace).transpose().step("make a user namespace for the layer")?;
    Ok(Frozen { files: place.files, user_namespace })
}

/// Whether a subvolume of the pool is a layer's.
pub(super) fn is_subvolume(name: &str) -> bool {
    name.starts_with(SUBVOLUME)
}

/// Whether it is there, with its files.
pub(super) async fn is_there(layout: &Layout, name: &str) -> Result<bool, Failure> {
    let (layout, name) = (layout.clone(), name.to_owned());
    let look = move || match Place::of(&layout, &name) {
        Ok(place) => place.files.try_exists(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    blocking(move || look().step("look for the layer")).await
}

/// What tells the directory of an image from another one at the same place.
pub(super) async fn version_of(image: PathBuf) -> Result<String, RuntimeError> {
    let look = blocking(move || {
        let meta = fs::metadata(&image).map_err(|error| Failure::image(format!("use {}", image.display()), &error))?;
        Ok(format!("{}-{}-{}-{}", meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()))
    });
    Ok(look.await?)
}

fn read(directory: &Path) -> io::Result<Note> {
    Ok(serde_json::from_slice(&fs::read(directory.join(NOTE))?)?)
}

/// Notes that a sandbox is made from it.
pub(super) fn note_use(directory: &Path) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    Ok(rustix::fs::utimensat(CWD, directory.join(NOTE), &times, AtFlags::empty())?)
}

/// Ends a sandbox and keeps its files, in the place of its removal: whoever wants to remove it meanwhile waits for the same end. Goes on
/// without the caller.
pub(super) async fn freeze(shared: &Arc<Shared>, id: &str, name: &str) -> Result<(), RuntimeError> {
    if !is_safe_id(name) {
        return Err(failed("check the layer's name", io::ErrorKind::InvalidInput.into()));
    }
    let freezing = shared.removals.join(id, || {
        let (shared, id, name) = (shared.clone(), id.to_owned(), name.to_owned());
        async move { end_and_keep(&shared, &id, &name).await }.boxed()
    });
    let frozen = tokio::spawn(freezing).await;
    frozen.map_err(|error| failed("keep the sandbox's files", io::Error::other(error)))??;
    // It may have been removed instead.
    if is_there(&shared.layout, name).await? { Ok(()) } else { Err(RuntimeError::NotFound) }
}

async fn end_and_keep(shared: &Arc<Shared>, id: &str, name: &str) -> Result<(), Failure> {
    let record = match shared.processes.find(&shared.layout, id).await? {
        Found::Held(held) => {
            end::end(&held).await?;
            held.record.clone()
        }
        Found::Ended(record) => record,
        Found::NeverRan => return Err(io::Error::from(io::ErrorKind::NotFound)).step("find the sandbox"),
    };
    if record.layer.is_some() {
        return Err(io::Error::other("it was made from a layer")).step("keep the sandbox's files");
    }
    end::remove_cgroups(record.made.cgroups.clone()).await?;
    let (from, sandbox, is_privileged) = (shared.clone(), shared.layout.sandbox(id), shared.client.hello().privileged);
    let to = shared.layout.layer(name);
    blocking(move || keep(&from, &sandbox, record, &to, is_privileged)).await?;
    end::undo(shared, Made::default(), shared.layout.sandbox(id), None).await?;
    shared.processes.release(id);
    flush(shared.layout.clone(), name.to_owned());
    Ok(())
}

/// Makes a layer of the files of a sandbox of which nothing runs any more.
fn keep(shared: &Shared, sandbox: &Path, record: Record, to: &Path, is_privileged: bool) -> Result<(), Failure> {
    let (failed, layout, pool) = ("keep the sandbox's files", &shared.layout, shared.pool());
    let (Some(slot), Some(from)) = (record.made.slot, layout.layers(&record.made)) else {
        return Err(io::Error::from(io::ErrorKind::NotFound)).step(failed);
    };
    let word = uuid::Uuid::new_v4().simple();
    let unfinished = layout.frozen().join(format!(".unfinished-{word}"));
    let in_pool = pool.as_deref().zip(record.made.subvolume);
    let subvolume = in_pool.map(|_| format!("{SUBVOLUME}{word}"));
    let files = subvolume.as_ref().map_or_else(|| unfinished.join(FILES), |subvolume| layout.in_pool(subvolume));
    rustix::fs::mkdir(&unfinished, Mode::RWXU).step(failed)?;
    let boot_id = record.process.boot_id.clone();
    let make = || -> Result<(), Failure> {
        // Once the files have moved, the slot's number is free: nobody may find it in this record then and remove another
        // sandbox's files. What no record and no layer names is swept up by the next server.
        Record { made: Made::default(), ..record }.write(sandbox).step(failed)?;
        fs::rename(&from, &files).step(failed)?;
        for entry in home::entries(&files)? {
            if entry.extension() == Some(OsStr::from_bytes(b"work")) {
                delete::tree(&entry).step(failed)?;
            }
        }
        let counted = match in_pool {
            Some((pool, id)) => pool.used(id),
            None => disk::bytes_below(&files, COUNT, &AtomicBool::new(false)),
        };
        let (bytes, slot) = (counted.step("measure the layer")?, is_privileged.then_some(slot));
        let note = Note { slot, boot_id, bytes, subvolume: subvolume.clone() };
        fs::write(unfinished.join(NOTE), serde_json::to_vec(&note).map_err(io::Error::from).step(failed)?)
            .step(failed)?;
        delete::tree(to).step(failed)?;
        fs::rename(&unfinished, to).step(failed)
    };
    let made = make();
    // The number of the slot, whose files are not there any more; after an error, what is left of them.
    let left = || -> io::Result<()> {
        if made.is_err() {
            if let Some((pool, _)) = in_pool {
                subvolume.iter().chain(&[slot.to_string()]).try_for_each(|name| pool.root().throw(name))?;
            }
            trash::throw(layout, &unfinished)?;
        }
        trash::throw(layout, &layout.slot(slot))
    };
    if let Err(error) = left() {
        tracing::warn!(%error, "what is left of a sandbox whose files were to be kept stays until the next start");
    }
    made
}

/// Has the disk take all of a layer, behind everybody's back: until that is done it would not be trusted after a power cut.
fn flush(layout: Layout, name: String) {
    tokio::task::spawn_blocking(move || {
        let flush = || -> io::Result<()> {
            let directory = layout.layer(&name);
            for place in [Place::of(&layout, &name)?.files, directory.clone()] {
                rustix::fs::syncfs(fs::File::open(place)?)?;
            }
            fs::write(directory.join(FLUSHED), "")
        };
        match flush() {
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, "a layer could not be flushed to the disk; it is made again after a boot")
            }
            Ok(()) => {}
        }
    });
}

/// All layers.
pub(super) fn list(layout: &Layout) -> Result<Vec<Layer>, Failure> {
    let mut layers = Vec::new();
    for path in home::entries(&layout.frozen())? {
        let Some(name) = path.file_name().and_then(OsStr::to_str).filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let looked = read(&path).and_then(|note| Ok((note, fs::metadata(path.join(NOTE))?.modified()?)));
        match looked {
            Ok((note, used)) => layers.push(Layer { name: name.to_owned(), bytes: note.bytes, used }),
            Err(error) => tracing::warn!(path = %path.display(), %error, "a layer cannot be read"),
        }
    }
    Ok(layers)
}

/// Removes a layer, unless a sandbox was made from it.
pub(super) async fn remove(shared: &Arc<Shared>, name: &str) -> Result<bool, RuntimeError> {
    if !is_safe_id(name) {
        return Ok(true);
    }
    let (shared, name) = (shared.clone(), name.to_owned());
    // Goes on without the caller, who may be gone.
    let task = tokio::spawn(async move { remove_unused(&shared, name).await });
    Ok(task.await.map_err(|error| failed("remove the layer", io::Error::other(error)))??)
}

async fn remove_unused(shared: &Shared, name: String) -> Result<bool, Failure> {
    let (layout, pool) = (shared.layout.clone(), shared.pool());
    let removed = blocking(move || {
        for sandbox in home::entries(&layout.sandboxes())? {
            // One whose record cannot be read may have been made from it.
            let record = Record::read(&sandbox);
            if record.is_err()
                || record.is_ok_and(|record| record.is_some_and(|record| record.layer.as_ref() == Some(&name)))
            {
                return Ok(false);
            }
        }
        let gone = layout.frozen().join(format!(".gone-{}", uuid::Uuid::new_v4().simple()));
        match fs::rename(layout.layer(&name), &gone) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error).step("remove the layer"),
        }
        if let (Some(subvolume), Some(pool)) = (read(&gone).step("read about the layer")?.subvolume, &pool) {
            pool.root().throw(&subvolume).step("remove the layer's files")?;
        }
        trash::throw(&layout, &gone).step("remove the layer's files")?;
        Ok(true)
    });
    let removed = removed.await?;
    shared.trash.catch_up(None).await;
    Ok(removed)
}

/// Removes what is left of layers that were being made or removed, those that a power cut may have damaged, and those whose pool
/// was replaced. Only right while nobody makes sandboxes.
pub(super) fn sweep(layout: &Layout, pool: Option<&Root>) -> Result<(), Failure> {
    let boot = process::boot_id().step("read the boot id")?;
    // By their names, because a zygote does not see the pool where the server does.
    let there = pool.map(|pool| pool.subvolumes().step("list the pool of the sandboxes' files")).transpose()?;
    let mut kept = HashSet::new();
    for path in home::entries(&layout.frozen())? {
        let is_half = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        let is_sound = match read(&path) {
            Ok(note) => {
                let is_lost = |name| there.as_ref().is_some_and(|there| !there.contains(name));
                let has_files = !note.subvolume.as_ref().is_some_and(is_lost);
                let is_sound = has_files && (note.boot_id == boot || path.join(FLUSHED).exists());
                kept.extend(note.subvolume.filter(|_| is_sound && !is_half));
                is_sound
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => false,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => {
                // What it has in the pool is not known either.
                tracing::warn!(path = %path.display(), %error, "a layer cannot be read; what is there of layers stays where it is");
                return Ok(());
            }
        };
        if is_half || !is_sound {
            trash::throw(layout, &path).step_with(|| format!("remove {}", path.display()))?;
        }
    }
    let Some(pool) = pool else { return Ok(()) };
    for name in there.iter().flatten().filter(|name| is_subvolume(name) && !kept.contains(*name)) {
        pool.throw(name).step_with(|| format!("remove the subvolume {name}"))?;
    }
    Ok(())
}
