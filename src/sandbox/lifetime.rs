//! When a sandbox is to be released. Pure: who knows the time says it.

use super::{EndReason, Lifetimes};
use crate::{
    error::{Error, Result, Violation},
    store::Settings,
};
use serde::Serialize;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How long a sandbox lives. `None` is the server's default, zero is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Lifetime {
    /// In all, from now.
    pub ttl: Option<Duration>,
    /// While nobody uses it.
    pub idle_timeout: Option<Duration>,
}

/// Who uses a sandbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    /// Calls under way.
    pub(super) calls: usize,
    /// Whether commands run.
    pub(super) commands: bool,
    /// When the last call or command ended.
    pub(super) idle_since: Instant,
}

/// How long a sandbox still has, and what ends then. `None`: it lives on.
pub(super) fn remaining(settings: &Settings, usage: Use, now: SystemTime) -> Option<(Duration, EndReason)> {
    let ttl = settings.expire_time.map(|at| (at.duration_since(now).unwrap_or_default(), EndReason::Expired));
    let idle = settings.idle_timeout.map(|timeout| (timeout.saturating_sub(usage.idle()), EndReason::Idle));
    match (ttl, idle) {
        (Some(ttl), Some(idle)) => Some(if ttl.0 <= idle.0 { ttl } else { idle }),
        (ttl, idle) => ttl.or(idle),
    }
}

/// When it will be released if nobody uses it until then.
pub(super) fn expire_time(settings: &Settings, usage: Use, now: SystemTime) -> Option<SystemTime> {
    let (left, reason) = remaining(settings, usage, now)?;
    if reason == EndReason::Expired { settings.expire_time } else { now.checked_add(left) }
}

impl Use {
    /// How long nobody has used it.
    fn idle(&self) -> Duration {
        if self.commands || self.calls > 0 { Duration::ZERO } else { Instant::now() - self.idle_since }
    }
}

/// When the time to live ends that is asked for now.
pub(super) fn end_of(ttl: Option<Duration>, rules: &Lifetimes, now: SystemTime) -> Result<Option<SystemTime>> {
    let ttl = resolve("lifetime.ttl", ttl, rules.default_ttl, rules.max_ttl)?;
    Ok(ttl.and_then(|ttl| now.checked_add(ttl)))
}

/// The idle time that is asked for.
pub(super) fn idle_timeout(wanted: Option<Duration>, rules: &Lifetimes) -> Result<Option<Duration>> {
    resolve("lifetime.idle_timeout", wanted, rules.default_idle_timeout, rules.max_idle_timeout)
}

/// Both, with all that is wrong with them.
pub(super) fn settle(
    wanted: Lifetime,
    rules: &Lifetimes,
    now: SystemTime,
) -> Result<(Option<SystemTime>, Option<Duration>)> {
    match (end_of(wanted.ttl, rules, now), idle_timeout(wanted.idle_timeout, rules)) {
        (Ok(end), Ok(idle)) => Ok((end, idle)),
        (Err(Error::Invalid(mut first)), Err(Error::Invalid(second))) => {
            first.extend(second);
            Err(Error::Invalid(first))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn resolve(
    field: &str,
    wanted: Option<Duration>,
    default: Option<Duration>,
    most: Option<Duration>,
) -> Result<Option<Duration>> {
    let refuse = |said: String| Err(Error::Invalid(vec![Violation::new(field, said)]));
    match (wanted, most) {
        (None, most) => Ok(default.or(most).map(|value| most.map_or(value, |most| value.min(most)))),
        (Some(Duration::ZERO), None) => Ok(None),
        (Some(Duration::ZERO), Some(most)) => {
            refuse(format!("this server has no sandbox without a limit; ask for at most {} s", most.as_secs()))
        }
        (Some(wanted), Some(most)) if wanted > most => {
            refuse(format!("is {} s; this server allows at most {} s", wanted.as_secs(), most.as_secs()))
        }
        (Some(wanted), _) => Ok(Some(wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn used(calls: usize, commands: bool) -> Use {
        Use { calls, commands, idle_since: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_end_counts() {
        let now = SystemTime::UNIX_EPOCH + s(1000);
        let settings = |ttl: Option<u64>, idle: Option<u64>| Settings {
            expire_time: ttl.map(|ttl| now + s(ttl)),
            idle_timeout: idle.map(s),
            ..Settings::default()
        };
        let left = |ttl, idle| remaining(&settings(ttl, idle), used(0, false), now);
        assert_eq!(left(None, None), None);
        assert_eq!(left(Some(5), None), Some((s(5), EndReason::Expired)));
        assert_eq!(left(None, Some(7)), Some((s(7), EndReason::Idle)));
        assert_eq!(left(Some(5), Some(7)), Some((s(5), EndReason::Expired)));
        assert_eq!(left(Some(9), Some(7)), Some((s(7), EndReason::Idle)));
        assert_eq!(expire_time(&settings(Some(9), Some(7)), used(0, false), now), Some(now + s(7)));
        // A time that has passed is now, not never.
        assert_eq!(remaining(&settings(Some(5), None), used(0, false), now + s(9)), Some((s(0), EndReason::Expired)));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_runs_only_while_nobody_uses_it() {
        let settings = Settings { idle_timeout: Some(s(10)), ..Settings::default() };
        let now = SystemTime::UNIX_EPOCH;
        let (idle, called, runs) = (used(0, false), used(1, false), used(0, true));
        tokio::time::advance(s(4)).await;
        let left = |usage| remaining(&settings, usage, now).unwrap().0;
        assert_eq!((left(idle), left(called), left(runs)), (s(6), s(10), s(10)));
    }

    #[test]
    fn defaults_and_maxima_are_the_servers() {
        let rules = Lifetimes { default_idle_timeout: Some(s(60)), max_ttl: Some(s(100)), ..Lifetimes::unlimited() };
        let now = SystemTime::UNIX_EPOCH;
        let of = |ttl: Option<u64>, idle: Option<u64>| {
            settle(Lifetime { ttl: ttl.map(s), idle_timeout: idle.map(s) }, &rules, now)
        };
        assert_eq!(of(None, None).unwrap(), (Some(now + s(100)), Some(s(60))));
        assert_eq!(of(Some(5), Some(0)).unwrap(), (Some(now + s(5)), None));
        for wrong in [101, 0] {
            let Err(Error::Invalid(violations)) = of(Some(wrong), None) else { panic!("{wrong} s were allowed") };
            assert_eq!(violations[0].field, "lifetime.ttl");
        }
    }
}
