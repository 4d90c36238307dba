//! Bringing what an agent has changed into the sandbox that verifies it: what the runtime says has changed below `/workspace`, compared with the
//! sample, goes there as an archive. The repository is not brought, nor any that lies in it, and neither is what the sample protects or brings itself: of that, the
//! sample's own stays.
//!
//! The agent's programs may go on meanwhile. What they change while it is being taken may be brought or not.

use super::{
    Carried, Compared, Failure, FailureReason,
    brought::{Brought, MOST_NAMES},
    cover::Cover,
};
use crate::{
    api::v1::{ExportRequest, FindRequest, ImportOpen, file},
    archive::{Filter, Passing},
    error::Error,
    runtime::{ChangeKind, ChangesWanted},
    sandbox::{InsideError, Reached, Sandboxes},
    tenant::Caller,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Where a sample's code is.
pub(super) const WORKSPACE: &str = "/workspace";

/// Paths that may differ, directories that are looked through, and bytes that are brought.
const MOST_CHANGES: usize = 200_000;
pub(super) const MOST_FILES: usize = 500_000;
const MOST_BYTES: u64 = 4 << 30;

/// Differences that are asked for at one time.
const PAGE: usize = 10_000;

/// Differences that are told by name, and bytes of these names, so that a result fits into an answer that any client takes.
const MOST_TOLD: usize = 1000;
const MOST_NAMES_BYTES: usize = 256 << 10;

/// Removals at one time.
const AT_ONCE: usize = 8;

/// By how much the clock of a sandbox's file systems may be behind the server's. Where it is more, all is packed.
const MARGIN: Duration = Duration::from_secs(5);

/// Whose changes are taken.
pub(super) struct Origin<'a> {
    pub(super) sandboxes: &'a Sandboxes,
    pub(super) caller: &'a Caller,
    pub(super) id: &'a str,
    pub(super) reached: &'a Reached,
    /// When it was made: nothing was changed before.
    pub(super) since: SystemTime,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Paths that are to be removed.
    removed: Vec<Vec<u8>>,
    /// Paths that are to be brought.
    wanted: HashSet<Vec<u8>>,
    compared: Compared,
}

/// Brings the changes.
pub(super) async fn bring(from: &Origin<'_>, to: &Reached, cover: &Cover) -> Carried<Compared> {
    if !from.reached.is_directory(WORKSPACE).await.map_err(not_taken)? {
        // Behind a link there may be anything, and what is there was not compared with the sample.
        return Err(Failure::new(FailureReason::ChangesNotTaken, format!("{WORKSPACE} is no directory any more")));
    }
    let changes = changes(from).await?;
    let (now, before) = tokio::try_join!(directories(from.reached), directories(to))?;
    let plan = plan(changes, &now, &before, cover);
    remove(to, &plan.removed).await?;
    bring_all(from, to, plan.wanted, &now).await?;
    Ok(plan.compared)
}

/// Brings these paths. What is neither a file nor a link nor a directory stays where it is.
async fn bring_all(from: &Origin<'_>, to: &Reached, wanted: HashSet<Vec<u8>>, now: &HashSet<Vec<u8>>) -> Carried<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let brought = Arc::new(Mutex::new(Brought::new(wanted)));
    let (mut since, mut left_out) = (from.since.checked_sub(MARGIN).map(Into::into), Vec::new());
    for round in 0..MOST_NAMES {
        transfer(from.reached, to, &brought, since.take(), left_out.clone()).await?;
        let mut now_brought = crate::sync::lock(&brought);
        // Of what was not brought the clock may have been wrong, or it came as another name of a file that is not brought.
        now_brought.without(now);
        let Some(names) = now_brought.first_names() else { break };
        if now_brought.is_complete() || (round > 0 && names.is_empty()) {
            return Ok(());
        }
        left_out.extend(names);
    }
    let message =
        "files are hard links to files that are the sample's, and these have too many names, or some that are no text";
    Err(Failure::new(FailureReason::ChangesNotTaken, message))
}

/// What differs below the workspace, by paths relative to it.
async fn changes(from: &Origin<'_>) -> Carried<Vec<(Vec<u8>, ChangeKind)>> {
    let (mut found, mut after) = (Vec::new(), WORKSPACE.as_bytes().to_vec());
    loop {
        let page = from.sandboxes.changes(from.caller, from.id, ChangesWanted { after, most: PAGE }).await;
        let page = page.map_err(|error| match error {
            // Nobody has seen that it is gone: the runtime cannot tell what has changed, now or at all.
            Error::Internal { .. } | Error::Unavailable { .. } => Failure::of(FailureReason::ChangesNotTaken, &error),
            _ => Failure::of(FailureReason::SandboxGone, &error),
        })?;
        for change in page.changes {
            let Some(path) = below_workspace(&change.path) else { return Ok(found) };
            if !is_of_a_repository(path) {
                found.push((path.to_vec(), change.kind));
            }
        }
        if found.len() > MOST_CHANGES {
            let message = format!("more than {MOST_CHANGES} files below {WORKSPACE} differ from the sample");
            return Err(Failure::new(FailureReason::ChangesNotTaken, message));
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(found),
        }
    }
}

fn below_workspace(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(WORKSPACE.as_bytes())?.strip_prefix(b"/")
}

/// Whether a path is part of a repository, of the workspace's own or of one in a directory of it: git would obey what it says, also where it is called for
/// the workspace and finds it in the place of a submodule.
fn is_of_a_repository(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name == b".git")
}

/// The directories below the workspace.
async fn directories(sandbox: &Reached) -> Carried<HashSet<Vec<u8>>> {
    let types = vec![file::Type::Directory.into()];
    let request = FindRequest { path: WORKSPACE.to_owned(), types, ..FindRequest::default() };
    let found = sandbox.find(request, MOST_FILES).await.map_err(not_taken)?;
    Ok(found.iter().filter_map(|found| below_workspace(&found.path)).map(<[u8]>::to_vec).collect())
}

/// Decides of each difference. `now` and `before` are the directories that there are and that the sample has.
fn plan(changes: Vec<(Vec<u8>, ChangeKind)>, now: &HashSet<Vec<u8>>, before: &HashSet<Vec<u8>>, cover: &Cover) -> Plan {
    let (mut plan, mut told) = (Plan::default(), 0);
    for (path, kind) in changes {
        let (is_directory, was_directory) = (now.contains(&path), before.contains(&path));
        let stays_directory = is_directory && kind != ChangeKind::Removed;
        if cover.covers(&path, is_directory || was_directory) || (cover.is_above(&path) && !stays_directory) {
            plan.compared.restored += 1;
            continue;
        }
        plan.compared.total += 1;
        let name = String::from_utf8_lossy(&path).replace('\0', "");
        told += name.len();
        if plan.compared.changes.len() < MOST_TOLD && told <= MOST_NAMES_BYTES {
            let word = match kind {
                ChangeKind::Added => "A",
                ChangeKind::Modified => "M",
                ChangeKind::Removed => "D",
            };
            plan.compared.changes.push(format!("{word} {name}"));
        }
        if kind == ChangeKind::Removed || (was_directory && !is_directory) {
            plan.removed.push(path.clone());
        }
        if kind != ChangeKind::Removed {
            plan.wanted.insert(path);
        }
    }
    plan
}

async fn remove(to: &Reached, paths: &[Vec<u8>]) -> Carried<()> {
    let whole: Vec<_> = paths.iter().map(|path| [WORKSPACE.as_bytes(), b"/", path].concat()).collect();
    let removals = stream::iter(whole).map(|path| {
        let to = to.clone();
        async move { to.remove(&path).await }
    });
    let mut removals = removals.buffer_unordered(AT_ONCE);
    while let Some(removed) = removals.next().await {
        removed.map_err(not_taken)?;
    }
    Ok(())
}

/// Sends what is still missing on its way.
async fn transfer(
    from: &Reached,
    to: &Reached,
    brought: &Arc<Mutex<Brought>>,
    changed_since: Option<prost_types::Timestamp>,
    mut exclude: Vec<String>,
) -> Carried<()> {
    let brought = Arc::clone(brought);
    let mut filter = Filter::new(Box::new(move |entry: Passing<'_>| crate::sync::lock(&brought).takes(entry)));
    exclude.push(".git".to_owned());
    let request =
        ExportRequest { paths: vec![format!("{WORKSPACE}/")], exclude, changed_since, ..ExportRequest::default() };
    let pieces = from.export(request).await.map_err(not_taken)?;
    let (give, take) = mpsc::channel(2);
    let pass_on = async move {
        let outcome = async {
            let (mut pieces, mut bytes) = (std::pin::pin!(pieces), 0_u64);
            while let Some(piece) = pieces.next().await {
                let kept = filter.take(&piece.map_err(not_taken)?).map_err(|error| damaged(&error))?;
                bytes += kept.len() as u64;
                if bytes > MOST_BYTES {
                    let message = format!("the changes have more than {MOST_BYTES} bytes");
                    return Err(Failure::new(FailureReason::ChangesNotTaken, message));
                }
                if !kept.is_empty() && give.send(Some(Bytes::from(kept))).await.is_err() {
                    // The other side has ended, and says why.
                    return Ok(());
                }
            }
            let end = filter.finish().map_err(|error| damaged(&error))?;
            let _ = give.send(Some(end.into())).await;
            Ok(())
        };
        let outcome = outcome.await;
        if outcome.is_err() {
            // What is on its way is not all of it.
            let _ = give.send(None).await;
        }
        drop(give);
        outcome
    };
    // What goes in belongs to whom the sandbox's programs run as. Links may lead anywhere, as they do in the other sandbox.
    let open = ImportOpen { path: WORKSPACE.to_owned(), outside_links: true, ..ImportOpen::default() };
    let (passed, imported) = tokio::join!(pass_on, to.import(open, ReceiverStream::new(take)));
    passed?;
    imported.map_err(not_taken)?;
    Ok(())
}

fn damaged(error: &crate::archive::Error) -> Failure {
    Failure::new(FailureReason::ChangesNotTaken, format!("what the sandbox sent of its files cannot be read: {error}"))
}

/// What it means when files cannot be taken.
pub(super) fn not_taken(error: InsideError) -> Failure {
    match error {
        InsideError::Refused { message, .. } => {
            Failure::new(FailureReason::ChangesNotTaken, format!("the changes could not be taken: {message}"))
        }
        InsideError::TooMuch(most) => Failure::new(
            FailureReason::ChangesNotTaken,
            format!("there are more than {most} files and directories below {WORKSPACE}"),
        ),
        InsideError::Lost(error) => Failure::of(FailureReason::SandboxGone, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&str]) -> HashSet<Vec<u8>> {
        paths.iter().map(|path| path.as_bytes().to_vec()).collect()
    }

    fn planned(
        changes: &[(&str, ChangeKind)],
        now: &[&str],
        before: &[&str],
        cover: &Cover,
    ) -> (Vec<String>, Vec<String>, u64) {
        let changes = changes.iter().map(|(path, kind)| (path.as_bytes().to_vec(), *kind)).collect();
        let plan = plan(changes, &set(now), &set(before), cover);
        let text = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        let mut wanted: Vec<_> = plan.wanted.iter().map(text).collect();
        wanted.sort();
        (plan.removed.iter().map(text).collect(), wanted, plan.compared.restored)
    }

    use ChangeKind::{Added, Modified, Removed};

    #[test]
    fn what_is_protected_stays_the_samples() {
        let cover = Cover::of(&["tests/**", "conftest.py"], &["tests/a.py"], &["hidden/test_h.py"]);
        let changes = [
            ("src/calc.py", Modified),
            ("tests", Modified),
            ("tests/a.py", Modified),
            ("tests/new.py", Added),
            ("conftest.py", Added),
            ("src/conftest.py", Added),
            ("hidden", Added),
            ("hidden/test_h.py", Added),
            ("hidden/mine.py", Added),
        ];
        let (removed, wanted, restored) = planned(&changes, &["src", "tests", "hidden"], &["src", "tests"], &cover);
        assert_eq!(wanted, ["hidden", "hidden/mine.py", "src/calc.py", "tests"]);
        assert!(removed.is_empty());
        assert_eq!(restored, 5);
    }

    #[test]
    fn a_directory_with_protected_files_cannot_be_taken_away() {
        let cover = Cover::of(&["tests/**"], &["tests/a.py"], &["hidden/test_h.py"]);
        // Removed, replaced by a link or a file; and a link where the sample's own files will lie.
        assert_eq!(planned(&[("tests", Removed)], &[], &["tests"], &cover), (vec![], vec![], 1));
        assert_eq!(planned(&[("tests", Modified)], &[], &["tests"], &cover), (vec![], vec![], 1));
        assert_eq!(planned(&[("hidden", Added)], &[], &[], &cover), (vec![], vec![], 1));
    }

    #[test]
    fn names_that_are_told_have_bounds() {
        // What is no text takes three times as much.
        let long = |number: usize| [vec![0xff; 4000], number.to_string().into_bytes()].concat();
        let changes: Vec<_> = (0..500).map(|number| (long(number), Added)).collect();
        let plan = plan(changes, &set(&[]), &set(&[]), &Cover::of(&[], &[], &[]));
        let told: usize = plan.compared.changes.iter().map(String::len).sum();
        assert!((MOST_NAMES_BYTES / 2..=MOST_NAMES_BYTES + 2000).contains(&told), "{told}");
        assert_eq!((plan.compared.total, plan.wanted.len()), (500, 500));
    }

    #[test]
    fn no_repository_is_brought_wherever_it_is() {
        for (path, is) in [
            (".git", true),
            (".git/config", true),
            ("m/.git", true),
            ("m/.git/hooks/x", true),
            (".gitignore", false),
            ("m.git/config", false),
            (".github/x", false),
        ] {
            assert_eq!(is_of_a_repository(path.as_bytes()), is, "{path}");
        }
    }

    #[test]
    fn what_was_a_directory_makes_room() {
        let cover = Cover::of(&[], &[], &[]);
        let (removed, wanted, _) = planned(&[("lib", Modified), ("gone", Removed)], &[], &["lib", "gone"], &cover);
        assert_eq!((removed, wanted), (vec!["lib".to_owned(), "gone".to_owned()], vec!["lib".to_owned()]));
    }
}
