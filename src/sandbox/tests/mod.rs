//! The domain over a real store and a runtime in memory. Time stands still but where a test moves it.

mod endings;
mod kit;

use super::{
    fake::{FakeActivity, FakeRuntime},
    *,
};
use crate::{
    error::{Error, Kind, Reason},
    runtime::Limits,
    tenant::{self, Caller, Tenant},
};
use futures_util::{StreamExt, future::join_all};
use kit::{Kit, gone, living, new, pairs, requested, s};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::Semaphore;

#[tokio::test(start_paused = true)]
async fn a_time_to_live_ends_used_or_not() {
    let kit = Kit::new().await;
    let sandbox = kit.create(living(100, 0)).await;
    let id = sandbox.about.id.clone();
    assert_eq!(sandbox.expire_time, Some(sandbox.about.create_time + s(100)));
    let _call = kit.sandboxes.reach(&kit.caller, Kind::Sandbox, &id).await.unwrap();
    kit.pass(s(99)).await;
    assert_eq!(kit.sandboxes.get(&kit.caller, &id).await.unwrap().status.state, State::Running);
    let end = tokio::spawn({
        let (sandboxes, caller, id) = (kit.sandboxes.clone(), kit.caller.clone(), id.clone());
        async move { gone(&sandboxes, &caller, &id).await }
    });
    kit.pass(s(1)).await;
    assert_eq!(end.await.unwrap(), EndReason::Expired);
    let error = kit.sandboxes.get(&kit.caller, &id).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!((kit.runtime.ids().len(), kit.total(&[]).await), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn only_an_idle_sandbox_is_released_for_being_idle() {
    let kit = Kit::new().await;
    let id = kit.create(living(0, 60)).await.about.id.clone();
    let expires = async || kit.sandboxes.list(&kit.caller, &pairs(&[]), 1, "").await.unwrap().sandboxes[0].expire_time;
    let in_seconds = async |seconds| {
        let left = expires().await.unwrap().duration_since(kit.clock.now()).unwrap();
        assert_eq!(left.as_secs_f64().round() as u64, seconds);
    };
    in_seconds(60).await;
    kit.pass(s(30)).await;
    in_seconds(30).await;
    // Any call counts.
    kit.sandboxes.get(&kit.caller, &id).await.unwrap();
    in_seconds(60).await;
    // A call that lasts counts as long as it does.
    let call = kit.sandboxes.reach(&kit.caller, Kind::Session, &format!("{id}/1")).await.unwrap();
    kit.pass(s(300)).await;
    in_seconds(60).await;
    drop(call);
    kit.pass(s(59)).await;
    in_seconds(1).await;
    // So does a command that nobody watches, of which the server hears from the agent alone.
    kit.runtime.activity.send_replace(FakeActivity::running(1));
    kit.pass(s(300)).await;
    in_seconds(60).await;
    let end = tokio::spawn({
        let (sandboxes, caller, id) = (kit.sandboxes.clone(), kit.caller.clone(), id.clone());
        async move { gone(&sandboxes, &caller, &id).await }
    });
    kit.runtime.activity.send_replace(FakeActivity::running(0));
    while !end.is_finished() {
        kit.pass(s(1)).await;
    }
    assert_eq!(end.await.unwrap(), EndReason::Idle);
}

#[tokio::test(start_paused = true)]
async fn an_update_moves_either_end_and_replaces_labels() {
    let kit = Kit::new().await;
    let first = kit.create(NewSandbox { labels: pairs(&[("a", "1"), ("b", "2")]), ..living(100, 0) }).await;
    let id = first.about.id.clone();
    let update = async |changes| kit.sandboxes.update(&kit.caller, &id, changes).await;
    kit.pass(s(50)).await;
    let now = kit.clock.now();
    let longer = update(vec![Change::Ttl(Some(s(100))), Change::Labels(pairs(&[("b", "3")]))]).await.unwrap();
    assert_eq!(longer.expire_time, Some(now + s(100)));
    assert_eq!((kit.total(&[("a", "1")]).await, kit.total(&[("b", "3")]).await), (0, 1));
    let exact = update(vec![Change::ExpireTime(Some(now + s(70)))]).await.unwrap();
    assert_eq!(exact.expire_time, Some(now + s(70)));
    // All or nothing.
    let error = update(vec![Change::Labels(pairs(&[])), Change::ExpireTime(Some(now - s(1)))]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(kit.total(&[("b", "3")]).await, 1);
    let idle = update(vec![Change::IdleTimeout(Some(s(10)))]).await.unwrap();
    assert_eq!(idle.expire_time, Some(now + s(10)));
    kit.pass(s(9)).await;
    assert_eq!(update(vec![Change::IdleTimeout(Some(Duration::ZERO))]).await.unwrap().expire_time, Some(now + s(70)));
    kit.sandboxes.delete(&kit.caller, &id).await.unwrap();
    assert!(update(vec![Change::Ttl(None)]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_repeated_deletion_succeeds_for_a_minute() {
    let kit = Kit::new().await;
    let id = kit.created().await;
    kit.sandboxes.delete(&kit.caller, &id).await.unwrap();
    kit.pass(s(59)).await;
    kit.sandboxes.delete(&kit.caller, &id).await.unwrap();
    kit.pass(s(2)).await;
    assert!(matches!(kit.sandboxes.delete(&kit.caller, &id).await, Err(Error::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_dead_agent_is_noticed_without_a_call_and_forgotten_in_time() {
    let kit = Kit::new().await;
    let id = kit.created().await;
    let mut changes = kit.sandboxes.watch(&kit.caller, &id).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().status.state, State::Running);
    kit.runtime.kill(&id);
    let failed = changes.next().await.unwrap().unwrap();
    assert_eq!((failed.status.state, failed.status.end_reason), (State::Failed, Some(EndReason::AgentEnded)));
    assert_eq!(kit.total(&[]).await, 0);
    assert_eq!(kit.sandboxes.get(&kit.caller, &id).await.unwrap().status.state, State::Failed);
    kit.pass(s(601)).await;
    while changes.next().await.is_some() {}
    assert!(kit.sandboxes.get(&kit.caller, &id).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_at_is_neither_failed_nor_removed() {
    let kit = Kit::new().await;
    let id = kit.created().await;
    kit.runtime.blind.store(true, Ordering::Relaxed);
    assert_eq!(kit.sandboxes.get(&kit.caller, &id).await.unwrap().status.state, State::Running);
    let (again, recovered) = kit.restarted().await;
    assert_eq!((recovered.adopted, recovered.failed, recovered.removed), (1, 0, 0), "{recovered:?}");
    assert_eq!(again.get(&kit.caller, &id).await.unwrap().status.state, State::Running);
    assert_eq!((kit.runtime.ids().len(), *kit.runtime.removed.borrow()), (1, 0));
    // What is seen to be dead afterwards is dead.
    kit.runtime.blind.store(false, Ordering::Relaxed);
    kit.runtime.kill(&id);
    assert_eq!(again.get(&kit.caller, &id).await.unwrap().status.state, State::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_has_what_was_acknowledged_and_nothing_else() {
    let gate = Arc::new(Semaphore::new(3));
    let kit = Kit::with(FakeRuntime::gated(gate.clone())).await;
    let labels = pairs(&[("team", "a")]);
    let keep = kit.create(NewSandbox { labels, ..living(1000, 500) }).await;
    let (dead, deleted) = (kit.created().await, kit.created().await);
    kit.runtime.kill(&dead);
    kit.sandboxes.delete(&kit.caller, &deleted).await.unwrap();
    // One that is being made, and one that nobody knows.
    let half = tokio::spawn({
        let (sandboxes, caller) = (kit.sandboxes.clone(), kit.caller.clone());
        async move { sandboxes.create(&caller, new()).await }
    });
    while kit.total(&[]).await < 2 {
        tokio::task::yield_now().await;
    }
    kit.runtime.add_orphan("sbx-00000000000000000000000000");
    kit.pass(s(30)).await;
    let (again, recovered) = kit.restarted().await;
    assert_eq!((recovered.adopted, recovered.failed), (1, 1), "{recovered:?}");
    assert_eq!(kit.runtime.ids(), std::slice::from_ref(&keep.about.id));
    let found = again.get(&kit.caller, &keep.about.id).await.unwrap();
    assert_eq!((found.about, &found.status), (keep.about.clone(), &keep.status));
    assert_eq!(again.get(&kit.caller, &dead).await.unwrap().status.state, State::Failed);
    again.delete(&kit.caller, &deleted).await.unwrap();
    // What the one before had asked for may come later still.
    kit.runtime.add_orphan("sbx-00000000000000000000000001");
    kit.pass(s(1)).await;
    kit.pass(s(60)).await;
    assert_eq!(kit.runtime.ids(), std::slice::from_ref(&keep.about.id));
    let listing = again.list(&kit.caller, &pairs(&[("team", "a")]), 10, "").await.unwrap();
    assert_eq!((listing.total, listing.sandboxes.len()), (1, 1));
    half.abort();
}

#[tokio::test(start_paused = true)]
async fn the_same_request_makes_one_sandbox() {
    let kit = Kit::new().await;
    let at_once = (0..2).map(|_| kit.sandboxes.create(&kit.caller, requested("r")));
    let made: Vec<_> = join_all(at_once).await.into_iter().map(|made| made.unwrap().about.id.clone()).collect();
    assert_eq!((&made[0], kit.total(&[]).await), (&made[1], 1));
    // After a restart too.
    let (again, _) = kit.restarted().await;
    assert_eq!(again.create(&kit.caller, requested("r")).await.unwrap().about.id, made[0]);
    // With other content it is another request.
    let other = NewSandbox { labels: pairs(&[("a", "b")]), ..requested("r") };
    let error = again.create(&kit.caller, other).await.unwrap_err();
    assert!(matches!(error, Error::WrongState { reason: Reason::RequestIdReused, .. }), "{error}");
    // Another tenant's ids are its own.
    let stranger = Caller::new(Tenant { id: "other".into(), limits: tenant::Limits::default() });
    assert_ne!(again.create(&stranger, requested("r")).await.unwrap().about.id, made[0]);
    // What was released is not made again behind the caller's back.
    again.delete(&kit.caller, &made[0]).await.unwrap();
    let error = again.create(&kit.caller, requested("r")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    kit.pass(s(3601)).await;
    assert_ne!(again.create(&kit.caller, requested("r")).await.unwrap().about.id, made[0]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_how_far_it_is() {
    let gate = Arc::new(Semaphore::new(0));
    let kit = Kit::with(FakeRuntime::with_gated_images(gate.clone())).await;
    let mut steps = kit.sandboxes.create_and_watch(&kit.caller, requested("r"));
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Progress::Pulling(_))) {
        let sandbox = steps.next().await.unwrap().unwrap();
        assert_eq!(sandbox.status.state, State::Starting);
        seen.push(sandbox.status.progress);
    }
    // The same request, from elsewhere, waits for the same.
    let mut again = kit.sandboxes.create_and_watch(&kit.caller, requested("r"));
    assert_eq!(Some(&again.next().await.unwrap().unwrap().status.progress), seen.last());
    gate.add_permits(1);
    for mut steps in [steps, again] {
        let last: Vec<_> = steps.by_ref().map(|step| step.unwrap().status.state).collect().await;
        assert_eq!(last.last(), Some(&State::Running));
    }
    // A caller that goes away in the middle leaves nothing.
    let mut left = kit.sandboxes.create_and_watch(&kit.caller, new());
    assert_eq!(left.next().await.unwrap().unwrap().status.state, State::Starting);
    assert_eq!(kit.total(&[]).await, 2);
    drop(left);
    while kit.total(&[]).await != 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_failed_can_be_repeated() {
    let kit = Kit::new().await;
    kit.runtime.fail_next.store(true, std::sync::atomic::Ordering::Relaxed);
    kit.sandboxes.create(&kit.caller, requested("r")).await.unwrap_err();
    assert_eq!(kit.total(&[]).await, 0);
    kit.create(requested("r")).await;
    assert_eq!(kit.total(&[]).await, 1);
}

#[tokio::test(start_paused = true)]
async fn tenants_see_and_reach_only_their_own() {
    let kit = Kit::new().await;
    let id = kit.created().await;
    let stranger = Caller::new(Tenant { id: "other".into(), limits: tenant::Limits::default() });
    let of = &kit.sandboxes;
    let missing = |result: Result<(), Error>| assert!(matches!(result, Err(Error::NotFound { .. })), "{result:?}");
    missing(of.get(&stranger, &id).await.map(drop));
    missing(of.reach(&stranger, Kind::Command, &format!("{id}/1/1")).await.map(drop));
    missing(of.update(&stranger, &id, vec![Change::Ttl(None)]).await.map(drop));
    missing(of.watch(&stranger, &id).await.map(drop));
    missing(of.stats(&stranger, &id).await.map(drop));
    missing(of.delete(&stranger, &id).await);
    assert_eq!(of.list(&stranger, &pairs(&[]), 10, "").await.unwrap().total, 0);
    of.delete(&kit.caller, &id).await.unwrap();
    missing(of.delete(&stranger, &id).await);
}

#[tokio::test(start_paused = true)]
async fn a_tenants_limits_hold_whoever_asks_at_once() {
    let kit = Kit::new().await;
    let limits = tenant::Limits { sandboxes: Some(3), memory_bytes: Some(5 << 30), ..tenant::Limits::default() };
    let caller = Caller::new(Tenant { id: "small".into(), limits });
    let small = || NewSandbox { limits: Limits { memory_bytes: Some(1 << 30), ..Limits::default() }, ..new() };
    let made = join_all((0..4).map(|_| kit.sandboxes.create(&caller, small()))).await;
    let refused: Vec<_> = made.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 1);
    assert!(matches!(refused[0], Error::Exhausted { reason: Reason::TooManySandboxes, .. }), "{}", refused[0]);
    let one = kit.sandboxes.list(&caller, &pairs(&[]), 1, "").await.unwrap().sandboxes[0].about.id.clone();
    kit.sandboxes.delete(&caller, &one).await.unwrap();
    let large = NewSandbox { limits: Limits { memory_bytes: Some(4 << 30), ..Limits::default() }, ..new() };
    let error = kit.sandboxes.create(&caller, large).await.unwrap_err();
    assert!(matches!(error, Error::Exhausted { reason: Reason::TooMuchMemory, .. }), "{error}");
    kit.sandboxes.create(&caller, small()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn creations_wait_in_order_up_to_a_bound_and_who_leaves_leaves_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let kit = Kit::with(FakeRuntime::gated(gate.clone())).await;
    let create = || {
        let (sandboxes, caller) = (kit.sandboxes.clone(), kit.caller.clone());
        tokio::spawn(async move { sandboxes.create(&caller, new()).await })
    };
    let mut waiting = Vec::new();
    for count in 1..=4 {
        waiting.push(create());
        while kit.total(&[]).await < count {
            tokio::task::yield_now().await;
        }
    }
    let error = create().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Exhausted { reason: Reason::TooManyCreations, .. }), "{error}");
    // One of those who wait, and one of those who are being served, go away.
    let (waits, served) = (waiting.remove(3), waiting.remove(0));
    for left in [waits, served] {
        left.abort();
        let _ = left.await;
    }
    gate.add_permits(4);
    for served in waiting {
        served.await.unwrap().unwrap();
    }
    while kit.total(&[]).await != 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(kit.runtime.ids().len(), 2);
}
