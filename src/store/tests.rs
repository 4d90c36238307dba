//! The store with SQLite in a file: what is noted late changes nothing, and what fails says why.

use super::*;
use crate::error::{Error, Reason};
use futures_util::{FutureExt, future::join_all};
use sqlx::query;
use std::time::{Duration, SystemTime};

struct Kit {
    store: Store,
    _dir: tempfile::TempDir,
}

impl Kit {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::in_directory(dir.path(), Durability::Kill).await.unwrap();
        store.ensure_tenant("t", SystemTime::now()).await.unwrap();
        Self { store, _dir: dir }
    }

    async fn insert(&self, id: &str, quota: Quota) -> Result<Inserted> {
        self.store.insert_sandbox(&row(id), quota, None, &[]).await
    }

    async fn set(&self, id: &str, state: SandboxState) -> bool {
        self.store.set_sandbox_state(id, state, SystemTime::now()).await.unwrap()
    }

    async fn state(&self, id: &str) -> SandboxState {
        self.store.sandbox(id).await.unwrap().unwrap().state
    }
}

fn row(id: &str) -> SandboxRow {
    SandboxRow {
        id: id.into(),
        tenant: "t".into(),
        server: "s".into(),
        state: SandboxState::Starting,
        create_time: SystemTime::now(),
        settings: Settings::default(),
        memory_bytes: 1,
        details: "{}".into(),
        end_time: None,
    }
}

#[tokio::test]
async fn a_state_that_is_noted_late_overwrites_nothing() {
    use SandboxState::{Deleted, Failed, Running, Starting, Stopping};
    let kit = Kit::new().await;
    let all = [Starting, Running, Stopping, Failed, Deleted];
    for (from, path) in [
        (Starting, &[][..]),
        (Running, &[Running][..]),
        (Failed, &[Running, Failed]),
        (Stopping, &[Running, Stopping]),
        (Deleted, &[Running, Stopping, Deleted]),
    ] {
        for to in all {
            let id = format!("{from:?}-{to:?}");
            kit.insert(&id, Quota::default()).await.unwrap();
            for state in path {
                assert!(kit.set(&id, *state).await, "{id}");
            }
            let moved = kit.set(&id, to).await;
            let expected = match to {
                Starting => false,
                Running => from == Starting,
                Failed => from == Running,
                Stopping => matches!(from, Running | Failed | Stopping),
                Deleted => from != Deleted,
            };
            assert_eq!((moved, kit.state(&id).await), (expected, if expected { to } else { from }), "{id}");
        }
    }
    assert!(!kit.set("nobody", Deleted).await);
}

#[tokio::test]
async fn readers_do_not_wait_for_the_writer() {
    let kit = Kit::new().await;
    kit.insert("a", Quota::default()).await.unwrap();
    // The one connection that writes is taken, with a transaction that has written.
    let mut writer = kit.store.writer.pool.acquire().await.unwrap();
    query("BEGIN IMMEDIATE").execute(&mut *writer).await.unwrap();
    query("UPDATE sandboxes SET details = 'x'").execute(&mut *writer).await.unwrap();
    for _ in 0..20 {
        assert_eq!(kit.state("a").await, SandboxState::Starting);
    }
    query("COMMIT").execute(&mut *writer).await.unwrap();
    drop(writer);
    assert_eq!(kit.store.sandbox("a").await.unwrap().unwrap().details, "x");
}

#[tokio::test]
async fn work_goes_on_when_nobody_waits_for_it() {
    let kit = Kit::new().await;
    let writer = kit.store.writer.pool.acquire().await.unwrap();
    let store = kit.store.clone();
    let insertion = tokio::spawn(async move { store.insert_sandbox(&row("a"), Quota::default(), None, &[]).await });
    while kit.store.places.available_permits() == work::MOST_AT_ONCE {
        tokio::task::yield_now().await;
    }
    insertion.abort();
    assert!(insertion.await.unwrap_err().is_cancelled());
    drop(writer);
    // The next who writes comes after it.
    kit.set("a", SandboxState::Running).await;
    assert_eq!(kit.state("a").await, SandboxState::Running);
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_given_up_and_used_again() {
    let kit = Kit::new().await;
    let store = Store { limit: Some(Duration::from_millis(50)), ..kit.store.clone() };
    let writer = store.writer.pool.acquire().await.unwrap();
    let error = store.ensure_tenant("other", SystemTime::now()).await.unwrap_err();
    assert!(error.is_passing(), "{error}");
    assert!(matches!(Error::from(error), Error::Unavailable { reason: Reason::DatabaseUnreachable, .. }));
    drop(writer);
    kit.store.ensure_tenant("other", SystemTime::now()).await.unwrap();
    // What waits has a bound of its own.
    let all = kit.store.places.clone().acquire_many_owned(work::MOST_AT_ONCE as u32).await.unwrap();
    let error = kit.store.tenant("t").await.unwrap_err();
    assert!(matches!(error, StoreError::Overloaded), "{error}");
    drop(all);
    assert!(kit.store.tenant("t").await.unwrap().is_some());
}

#[tokio::test]
async fn a_queue_that_moves_is_waited_for() {
    let kit = Kit::new().await;
    let limit = Duration::from_millis(500);
    let store = Store { limit: Some(limit), ..kit.store.clone() };
    let begin = std::time::Instant::now();
    // One connection writes: together they take four times as long as a piece of work may.
    let work = (0..10).map(|_| {
        store.write(|_| {
            async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok(())
            }
            .boxed()
        })
    });
    for done in join_all(work).await {
        done.unwrap();
    }
    assert!(begin.elapsed() > 3 * limit, "they did not wait for one another");
}

#[tokio::test]
async fn a_full_disk_is_told_as_such() {
    let kit = Kit::new().await;
    let mut connection = kit.store.writer.pool.acquire().await.unwrap();
    query("PRAGMA max_page_count = 1").execute(&mut *connection).await.unwrap();
    drop(connection);
    let large = SandboxRow { details: "x".repeat(1 << 20), ..row("a") };
    let error = kit.store.insert_sandbox(&large, Quota::default(), None, &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    let error = Error::from(error);
    assert!(matches!(error, Error::Exhausted { reason: Reason::NoSpace, .. }), "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), "This is no database.".repeat(1000)).unwrap();
    let error = Store::in_directory(dir.path(), Durability::Kill).await.unwrap_err().to_string();
    assert!(error.contains("file is not a database") && error.contains(FILE), "{error}");
}

fn verification(id: &str) -> VerificationRow {
    VerificationRow {
        id: id.into(),
        tenant: "t".into(),
        server: "s".into(),
        sandbox_id: String::new(),
        state: "PENDING".into(),
        attempt: 1,
        create_time: SystemTime::now(),
        start_time: None,
        end_time: None,
        details: "{}".into(),
        outcome: None,
    }
}

#[tokio::test]
async fn verifications_are_bounded_by_their_bytes_too() {
    let kit = Kit::new().await;
    let insert = async |id: &str, patch: usize| {
        let patch = Some("x".repeat(patch));
        let new = NewVerification { patch, most_unfinished: 10, most_patch_bytes: 100, ..Default::default() };
        kit.store.insert_verification(&verification(id), new).await.unwrap()
    };
    assert_eq!(insert("a", 60).await, VerificationInserted::New);
    assert_eq!(insert("b", 41).await, VerificationInserted::TooMany);
    assert_eq!(insert("b", 40).await, VerificationInserted::New);
    for (id, outcome) in [("a", 30), ("b", 10)] {
        let step = VerificationStep {
            from: vec!["PENDING"],
            state: "COMPLETED",
            attempt: 1,
            start_time: None,
            end_time: Some(SystemTime::now()),
            outcome: Some(("y".repeat(outcome), String::new())),
        };
        assert!(kit.store.step_verification(id, step).await.unwrap());
    }
    assert_eq!(insert("c", 100).await, VerificationInserted::New, "what is over has no patch any more");
    let left = async |bytes| {
        let kept = Kept { count: 10, bytes };
        kit.store.clean_verifications(SystemTime::UNIX_EPOCH, "t", kept).await.unwrap();
        let page = kit.store.verifications_of_tenant("t", "", "", 10).await.unwrap();
        page.rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(left(40).await, ["a", "b", "c"]);
    assert_eq!(left(39).await, ["b", "c"], "the oldest goes");
    assert_eq!(left(0).await, ["c"], "what is not over stays");
}
