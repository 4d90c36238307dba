//! Making, removing and measuring volumes.

use super::{
    shared::Shared,
    work::{blocking, failed},
};
use crate::runtime::{
    RuntimeError,
    common::is_safe_id,
    linux::{
        failure::{Failure, Step},
        storage::{
            slots, trash,
            volume::{FILES, NOTE, Note, PREFIX, read},
        },
    },
};
use rustix::fs::{Gid, Mode, Uid, chown};
use std::{
    collections::HashMap,
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    sync::Arc,
};

/// Whoever is root in a sandbox may not be its user, and both may want to write.
const MODE: u32 = 0o1777;

/// Makes one.
pub(super) async fn create(shared: &Arc<Shared>, id: &str, size_bytes: Option<u64>) -> Result<(), RuntimeError> {
    if !is_safe_id(id) || !id.starts_with(PREFIX) {
        return Err(failed("check the volume's id", io::ErrorKind::InvalidInput.into()));
    }
    if size_bytes.is_some() && shared.pool().is_none() {
        let message = "this host gives the server no file system that could limit it; see the server's warnings";
        return Err(RuntimeError::NotSupported { field: "size_bytes", message: message.to_owned() });
    }
    let (shared, id) = (shared.clone(), id.to_owned());
    Ok(blocking(move || make(&shared, &id, size_bytes)).await?)
}

fn make(shared: &Shared, id: &str, size_bytes: Option<u64>) -> Result<(), Failure> {
    let (layout, pool) = (&shared.layout, shared.pool());
    if let Some(pool) = &pool {
        pool.has_room()?;
    }
    let directory = layout.volume(id);
    let slot = shared.client.hello().privileged.then_some(slots::OF_VOLUMES);
    let make = || -> io::Result<()> {
        rustix::fs::mkdir(&directory, Mode::RWXU)?;
        let mut note = File::create(directory.join(NOTE))?;
        note.write_all(&serde_json::to_vec(&Note { slot, in_pool: pool.is_some() })?)?;
        note.sync_all()?;
        let files = match &pool {
            Some(pool) => {
                pool.make_volume(id, size_bytes)?;
                layout.in_pool(id)
            }
            None => {
                let files = directory.join(FILES);
                fs::create_dir(&files)?;
                files
            }
        };
        if let Some(slot) = slot {
            let owner = slots::root_id(slot);
            chown(&files, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))?;
        }
        fs::set_permissions(&files, Permissions::from_mode(MODE))?;
        // What was told to be there must be there after a power cut.
        if pool.is_some() {
            rustix::fs::syncfs(File::open(&files)?)?;
        }
        for path in [&directory, &layout.volumes()] {
            File::open(path)?.sync_all()?;
        }
        Ok(())
    };
    make().step("make the volume")
}

/// Removes one that no sandbox has.
pub(super) async fn remove(shared: &Arc<Shared>, id: &str) -> Result<(), RuntimeError> {
    if !is_safe_id(id) || !id.starts_with(PREFIX) {
        return Ok(());
    }
    let (this, id) = (shared.clone(), id.to_owned());
    blocking(move || throw_away(&this, &id)).await?;
    shared.trash.catch_up(None).await;
    Ok(())
}

fn throw_away(shared: &Shared, id: &str) -> Result<(), Failure> {
    let directory = shared.layout.volume(id);
    let in_pool = match read(&directory) {
        Ok(note) => note.in_pool,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !directory.exists() => return Ok(()),
        // Without a whole note no files were made, unless it was damaged: then they may be in the pool.
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => true,
        Err(error) => return Err(error).step("read about the volume"),
    };
    match shared.pool() {
        Some(pool) => pool.root().throw(id).step("remove the volume's files")?,
        None if in_pool => {
            let missing = io::Error::other("its files are in the pool, and the server was started without it");
            return Err(missing).step("remove the volume's files");
        }
        None => {}
    }
    trash::throw(&shared.layout, &directory).step("remove the volume")
}

/// What they take, as the file system counts.
pub(super) async fn measure(shared: &Arc<Shared>, ids: Vec<String>) -> Result<HashMap<String, u64>, RuntimeError> {
    let Some(pool) = shared.pool() else { return Ok(HashMap::new()) };
    let work = move || {
        let used = |id: String| match pool.used_by_volume(&id) {
            Ok(bytes) => Some((id, bytes?)),
            Err(error) => {
                tracing::debug!(volume = id, %error, "a volume could not be measured");
                None
            }
        };
        Ok(ids.into_iter().filter(|id| is_safe_id(id)).filter_map(used).collect())
    };
    Ok(blocking(work).await?)
}
