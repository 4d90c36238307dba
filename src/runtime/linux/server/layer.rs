//! Keeping what a sandbox has made as a layer when it ends, and removing layers.

use super::{
    end,
    held::Found,
    shared::Shared,
    work::{blocking, failed},
};
use crate::runtime::{
    RuntimeError,
    common::is_safe_id,
    linux::{
        failure::{Failure, Step},
        layout::Layout,
        record::Record,
        storage::{
            count::{self, Bounds},
            delete,
            layer::{FILES, FLUSHED, NOTE, Note, Place, SUBVOLUME, read},
            list::entries,
            trash,
        },
        wire::Made,
    },
};
use futures_util::FutureExt;
use rustix::fs::Mode;
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// A layer may be large, and its size counts for as long as it is there.
const COUNT: Bounds = Bounds { entries: 20_000_000, names: 2_000_000, time: Duration::from_secs(120) };

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
        for entry in entries(&files)? {
            if entry.extension() == Some(OsStr::from_bytes(b"work")) {
                delete::tree(&entry).step(failed)?;
            }
        }
        let counted = match in_pool {
            Some((pool, id)) => pool.used(id),
            None => count::bytes_below(&files, COUNT, &AtomicBool::new(false)),
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
        for sandbox in entries(&layout.sandboxes())? {
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
