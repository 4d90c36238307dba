//! How a sandbox's files differ from its image: from its own layers, as they lie on the host.

mod below;
mod difference;
mod notes;

use super::work::blocking;
use crate::runtime::{
    Changes, ChangesWanted, RuntimeError,
    common::{Page, is_ours, joined, key},
    linux::{
        failure::Step,
        layout::Layout,
        record::Record,
        rootfs::{skeleton, tree},
        storage::layer,
    },
};
use difference::{Layer, Until};
use notes::Notes;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time::timeout};

/// How long a look for one page may take before it is cut short, and how long to wait for one's turn.
const LOOK: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// How many look at one time: it is the sandboxes that decide how many files they have.
pub(super) const LOOKS: usize = 2;

/// A layer, and where it is mounted.
struct Mounted {
    at: PathBuf,
    upper: PathBuf,
    lower: PathBuf,
    frozen: Option<PathBuf>,
}

/// Ends the look when nobody waits for it any more.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Looks for one page of differences.
pub(super) async fn of(
    layout: &Layout,
    record: Record,
    is_privileged: bool,
    wanted: ChangesWanted,
    turns: &Arc<Semaphore>,
) -> Result<Changes, RuntimeError> {
    let frozen = record.layer.as_deref().map(|name| layer::Place::of(layout, name)).transpose();
    let frozen = frozen.step("read about the sandbox's layer")?;
    let layers = layers(layout, &record, frozen.as_ref())?;
    let frozen = frozen.and_then(|frozen| frozen.slot);
    let notes = Notes { slot: record.made.slot.filter(|_| is_privileged), frozen };
    let Ok(Ok(turn)) = timeout(PATIENCE, turns.clone().acquire_owned()).await else {
        let message = "the server looks for the changes of as many sandboxes as it may; try again in a moment";
        return Err(RuntimeError::Unavailable(message.to_owned()));
    };
    let stop = Stop(Arc::default());
    let stopped = stop.0.clone();
    let page = blocking(move || {
        // Held by the thread that looks, not by the call: a thread cannot be dropped.
        let _turn = turn;
        look(&layers, notes, &wanted, &stopped).step("look for the sandbox's changes")
    });
    Ok(page.await?)
}

/// The layers that a sandbox has.
fn layers(layout: &Layout, record: &Record, frozen: Option<&layer::Place>) -> Result<Vec<Mounted>, RuntimeError> {
    let slot = layout.layers(&record.made).ok_or(RuntimeError::NotFound)?;
    let layer = |name: &str, at: &Path, lower: PathBuf| {
        let upper = slot.join(tree::upper(name, frozen.is_some()));
        let frozen = frozen.map(|frozen| frozen.files.join(name));
        Mounted { at: at.to_owned(), upper, lower, frozen }
    };
    if let Some(skeleton) = &record.skeleton {
        let root = layer("root", Path::new("/"), layout.skeleton(skeleton));
        let shown = skeleton::SHOWN.iter().map(|name| {
            let at = Path::new("/").join(name);
            layer(&skeleton::layer_of(Path::new(name)), &at, at.clone())
        });
        return Ok(std::iter::once(root).chain(shown).collect());
    }
    let Some(directory) = &record.directory else {
        let message = "the sandbox was started by an earlier version of Sandshell, which did not note what its image is; \
                       create another";
        return Err(RuntimeError::NotSupported { field: "sandbox_id", message: message.to_owned() });
    };
    Ok(vec![layer("image", Path::new("/"), directory.clone())])
}

fn look(layers: &[Mounted], notes: Notes, wanted: &ChangesWanted, stop: &AtomicBool) -> io::Result<Changes> {
    let mut page = Page::new(wanted);
    let time = Instant::now() + LOOK;
    for mounted in layers {
        let Some(after) = after_in(&mounted.at, &wanted.after) else { continue };
        let frozen = mounted.frozen.as_deref();
        let layer = Layer { upper: &mounted.upper, lower: &mounted.lower, frozen, notes };
        // One more than is wanted, so that it is known whether there are more.
        let mut left = wanted.most + 1;
        let until = difference::tell(&layer, &after, Until { stop, time }, &mut |path, kind| {
            let path = joined(&mounted.at, path);
            left -= usize::from(!is_ours(&path));
            page.add(&path, kind);
            left > 0
        })?;
        if let Some(until) = until {
            page.known_until(&joined(&mounted.at, &until));
        }
    }
    Ok(page.finish())
}

/// Where to go on in what is mounted at a path. `None`: all of it came before.
fn after_in(at: &Path, after: &[u8]) -> Option<Vec<u8>> {
    let mount = at.as_os_str().as_encoded_bytes();
    if mount == b"/" {
        return Some(after.strip_prefix(b"/").unwrap_or(after).to_owned());
    }
    match after.strip_prefix(mount) {
        Some([]) => Some(Vec::new()),
        Some([b'/', rest @ ..]) => Some(rest.to_owned()),
        _ => (key(mount) > key(after)).then(Vec::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_where_the_one_before_ended() {
        let after = |at: &str, after: &str| after_in(Path::new(at), after.as_bytes());
        assert_eq!(after("/", "/a/b"), Some(b"a/b".to_vec()));
        assert_eq!(after("/usr", "/usr/bin/x"), Some(b"bin/x".to_vec()));
        assert_eq!(after("/usr", "/usr"), Some(Vec::new()));
        assert_eq!(after("/usr", ""), Some(Vec::new()));
        assert_eq!(after("/usr", "/tmp/x"), Some(Vec::new()));
        assert_eq!(after("/usr", "/var"), None);
        assert_eq!(after("/usr", "/usr-local"), None);
    }
}
