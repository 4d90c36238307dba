//! What hangs, races or is cancelled comes to an end all the same, and leaves nothing.

use super::{
    super::{State, row},
    *,
};
use crate::store::{Quota, SandboxState};
use std::sync::atomic::Ordering;
use tokio::task::JoinHandle;

type Creation = JoinHandle<Result<Sandbox, Error>>;

fn create(kit: &Kit, new: NewSandbox) -> Creation {
    let (sandboxes, caller) = (kit.sandboxes.clone(), kit.caller.clone());
    tokio::spawn(async move { sandboxes.create(&caller, new).await })
}

/// Moves time until it is so.
async fn pass_until(kit: &Kit, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if is_so().await {
            return;
        }
        kit.pass(s(1)).await;
    }
    panic!("{what}: not after 200 s");
}

/// Lets everybody go on until it is so, without moving time.
async fn until(kit: &Kit, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if is_so().await {
            return;
        }
        kit.pass(s(0)).await;
    }
    panic!("{what}: not without time passing");
}

async fn ids(kit: &Kit) -> Vec<String> {
    let listed = kit.sandboxes.list(&kit.caller, &pairs(&[]), 100, "").await.unwrap();
    listed.sandboxes.into_iter().map(|sandbox| sandbox.about.id.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn creations_that_hang_hold_up_others_for_ten_seconds_and_end_after_a_minute() {
    let kit = Kit::new().await;
    // As many as there are turns.
    kit.runtime.hang_next.store(2, Ordering::Relaxed);
    let hung = [create(&kit, requested("a")), create(&kit, new())];
    until(&kit, "both have their turn", async || kit.runtime.hang_next.load(Ordering::Relaxed) == 0).await;
    let begin = tokio::time::Instant::now();
    let other = create(&kit, new());
    pass_until(&kit, "others go on", async || other.is_finished()).await;
    assert!(begin.elapsed() <= s(11), "{:?}", begin.elapsed());
    let other = other.await.unwrap().unwrap();
    // They keep their places in the queue: of four in all two are left.
    pass_until(&kit, "they end", async || hung.iter().all(JoinHandle::is_finished)).await;
    assert!(begin.elapsed() <= s(72), "{:?}", begin.elapsed());
    for creation in hung {
        let error = creation.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Unavailable { reason: Reason::RuntimeUnreachable, .. }), "{error}");
    }
    assert_eq!(ids(&kit).await, std::slice::from_ref(&other.about.id));
    // The request can be made again.
    assert_eq!(kit.create(requested("a")).await.status.state, State::Running);
}

#[tokio::test(start_paused = true)]
async fn what_is_being_made_can_be_deleted() {
    let kit = Kit::new().await;
    kit.runtime.hang_next.store(1, Ordering::Relaxed);
    let hung = create(&kit, requested("a"));
    until(&kit, "it is being made", async || kit.runtime.hang_next.load(Ordering::Relaxed) == 0).await;
    let id = ids(&kit).await.remove(0);
    let mut changes = kit.sandboxes.watch(&kit.caller, &id).await.unwrap();
    let deletion = {
        let (sandboxes, caller, id) = (kit.sandboxes.clone(), kit.caller.clone(), id.clone());
        tokio::spawn(async move { sandboxes.delete(&caller, &id).await })
    };
    pass_until(&kit, "the deletion ends", async || deletion.is_finished()).await;
    deletion.await.unwrap().unwrap();
    let error = hung.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::WrongState { reason: Reason::SandboxNotRunning, .. }), "{error}");
    while let Some(Ok(sandbox)) = changes.next().await {
        if sandbox.status.state == State::Gone {
            assert_eq!(sandbox.status.end_reason, Some(EndReason::Deleted));
        }
    }
    assert_eq!(kit.total(&[]).await, 0);
    // As for any other that was deleted.
    kit.sandboxes.delete(&kit.caller, &id).await.unwrap();
    let error = kit.sandboxes.create(&kit.caller, requested("a")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_hangs_is_told_and_tried_again_by_itself() {
    let kit = Kit::new().await;
    let id = kit.created().await;
    kit.runtime.removals_hang.send_replace(true);
    for _ in 0..3 {
        let deletion = {
            let (sandboxes, caller, id) = (kit.sandboxes.clone(), kit.caller.clone(), id.clone());
            tokio::spawn(async move { sandboxes.delete(&caller, &id).await })
        };
        pass_until(&kit, "the deletion ends", async || deletion.is_finished()).await;
        let error = deletion.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Unavailable { reason: Reason::RuntimeUnreachable, .. }), "{error}");
    }
    assert_eq!(kit.runtime.removals_begun.load(Ordering::Relaxed), 1, "one attempt at a time");
    // It says what is wrong with it, and still takes its place.
    let Err(error) = kit.sandboxes.reach(&kit.caller, Kind::Sandbox, &id).await else { panic!("it runs") };
    assert!(error.to_string().contains("has failed: it could not be removed yet"), "{error}");
    assert_eq!(kit.total(&[]).await, 1);
    kit.runtime.removals_hang.send_replace(false);
    pass_until(&kit, "it is removed", async || kit.total(&[]).await == 0).await;
    kit.sandboxes.delete(&kit.caller, &id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_notices_a_dead_agent_may_go_away() {
    let kit = Kit::new().await;
    let id = kit.created().await;
    // Seen first by a call that is dropped at each of its awaits.
    for polls in 0..20 {
        let id = if polls == 0 { id.clone() } else { kit.created().await };
        kit.runtime.kill(&id);
        let begun = kit.runtime.removals_begun.load(Ordering::Relaxed);
        {
            let mut call = std::pin::pin!(kit.sandboxes.get(&kit.caller, &id));
            for _ in 0..polls {
                if futures_util::poll!(call.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        until(&kit, "it is removed", async || kit.runtime.removals_begun.load(Ordering::Relaxed) > begun).await;
        until(&kit, "that is written down", async || {
            kit.store.sandbox(&id).await.unwrap().unwrap().state == SandboxState::Failed
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn deletions_and_failures_at_once_end_as_deleted() {
    let kit = Kit::new().await;
    for _ in 0..20 {
        let id = kit.created().await;
        kit.runtime.kill(&id);
        let (first, second) = (kit.sandboxes.delete(&kit.caller, &id), kit.sandboxes.delete(&kit.caller, &id));
        let look = kit.sandboxes.get(&kit.caller, &id);
        let (first, second, _) = tokio::join!(first, second, look);
        first.unwrap();
        second.unwrap();
        // Whatever is written after that.
        kit.pass(s(1)).await;
        assert_eq!(kit.store.sandbox(&id).await.unwrap().unwrap().state, SandboxState::Deleted);
    }
    assert_eq!(kit.total(&[]).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_was_committed_too_late_is_removed() {
    let kit = Kit::new().await;
    let keep = kit.create(new()).await;
    let (kept, _) = kit.restarted().await;
    // As if a creation that was given up had been committed by a database that hung.
    let id = super::super::id::new_sandbox_id();
    let about = About { id: id.clone(), ..About::clone(&keep.about) };
    let late = row::new(&about, &Condition::new(State::Starting, keep.status.settings.clone()), "here").unwrap();
    kit.store.insert_sandbox(&late, Quota::default(), None, &[]).await.unwrap();
    kit.runtime.add_orphan(&id);
    assert_eq!(kit.total(&[]).await, 2);
    pass_until(&kit, "it is removed", async || kit.total(&[]).await == 1).await;
    assert_eq!(kit.runtime.ids(), std::slice::from_ref(&keep.about.id));
    assert!(kit.store.sandbox(&id).await.unwrap().is_none());
    assert_eq!(kept.get(&kit.caller, &keep.about.id).await.unwrap().status.state, State::Running);
}

#[tokio::test(start_paused = true)]
async fn a_creation_may_be_cancelled_at_any_moment() {
    let kit = Kit::new().await;
    for polls in 0..60 {
        let (sandboxes, caller) = (kit.sandboxes.clone(), kit.caller.clone());
        {
            let mut call = std::pin::pin!(sandboxes.create(&caller, requested("r")));
            for _ in 0..polls {
                if let std::task::Poll::Ready(made) = futures_util::poll!(call.as_mut()) {
                    let id = made.unwrap().about.id.clone();
                    sandboxes.delete(&caller, &id).await.unwrap();
                    kit.store.forget_sandbox(&id).await.unwrap();
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        until(&kit, "nothing is left", async || {
            kit.total(&[]).await == 0 && kit.runtime.ids().is_empty() && sandboxes.registry().all().is_empty()
        })
        .await;
    }
    kit.create(requested("r")).await;
}
