//! The steps of a verification, each noted in the store before anybody hears of it, and the work between them.

use super::{
    Failure, FailureReason, Outcome, Verification, Verifications,
    job::{json, now},
    live::Live,
    state::{Event, State},
    work,
};
use crate::{
    error::Result,
    store::{Kept, VerificationStep},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::sleep;

/// How often one is begun whose server was ended meanwhile. A verification that ends servers must not do so for ever.
const MOST_ATTEMPTS: u32 = 50;

/// How long an end waits that cannot be noted, before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Finished verifications of one tenant that are kept, and for how long.
const MOST_KEPT: Kept = Kept { count: 10_000, bytes: 1 << 30 };
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

impl Verifications {
    /// Works on one whose turn it is, to its end, unless it is given up.
    pub(super) async fn work_on(&self, live: &Arc<Live>) {
        let outcome = tokio::select! {
            outcome = self.outcome(live) => outcome,
            // Dropped, the work leaves nothing. Whoever gave it up has noted it, or the next server begins it anew.
            () = live.gives_up.cancelled() => return,
        };
        let Some(outcome) = outcome else { return };
        let event = if matches!(outcome, Outcome::Result(_)) { Event::Judged } else { Event::Failed };
        let verification = live.verification();
        // What is known must not be lost because the database does not answer for a while.
        while let Err(error) = self.note(&verification, event, Some(&outcome)).await {
            tracing::warn!(id = verification.id, %error, "the end of a verification could not be noted; it is tried again");
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = live.gives_up.cancelled() => return,
            }
        }
        let (ended_before, tenant) = (SystemTime::now() - KEPT_FOR, verification.tenant);
        if let Err(error) = self.store().clean_verifications(ended_before, &tenant, MOST_KEPT).await {
            tracing::warn!(%error, "old verifications could not be removed");
        }
    }

    /// What comes of it. `None`: somebody else has ended it.
    async fn outcome(&self, live: &Arc<Live>) -> Option<Outcome> {
        match self.note(&live.verification(), Event::Taken, None).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Self::failure(&error)),
        }
        let begun = || async {
            match self.note(&live.verification(), Event::Begun, None).await {
                Ok(_) => Ok(()),
                Err(error) => Err(Failure::of(FailureReason::Internal, &error)),
            }
        };
        Some(match work::carry_out(self.tools(), live, begun).await {
            Ok(judgement) => Outcome::Result(Box::new(judgement)),
            Err(failure) => Outcome::Error(failure),
        })
    }

    /// Notes a step, and tells whoever follows. False when it has come to its end otherwise.
    pub(super) async fn note(&self, before: &Verification, event: Event, outcome: Option<&Outcome>) -> Result<bool> {
        // What it is in the store is what counts; this is what it most likely is.
        let Some(state) = before.state.after(event) else { return Ok(false) };
        let now = now();
        let after = Verification {
            state,
            start_time: if event == Event::Taken { Some(now) } else { before.start_time },
            end_time: state.is_final().then_some(now),
            attempt: before.attempt + u32::from(event == Event::Interrupted),
            outcome: outcome.cloned(),
            ..before.clone()
        };
        let texts = match &after.outcome {
            Some(outcome) => {
                let brief = after.clone().brief().outcome;
                Some((json(outcome)?, brief.as_ref().map(json).transpose()?.unwrap_or_default()))
            }
            None => None,
        };
        let step = VerificationStep {
            from: State::before(event).map(State::name).collect(),
            state: state.name(),
            attempt: after.attempt,
            start_time: after.start_time,
            end_time: after.end_time,
            outcome: texts,
        };
        let noted = self.store().step_verification(&before.id, step).await?;
        let known = if noted {
            after
        } else {
            match self.store().verification(&before.id).await? {
                Some(row) => Verification::from_row(&row)?,
                None => return Ok(false),
            }
        };
        let is_final = known.is_final();
        if let Some(live) = self.live(&before.id) {
            if is_final {
                self.forget(&known);
            }
            live.set(known);
            if is_final {
                // Whoever still works on it stops.
                live.gives_up.cancel();
            }
        }
        Ok(noted)
    }

    /// Notes that a server was ended while it worked on it.
    pub(super) async fn interrupted(&self, before: Verification) -> Result<Verification> {
        if before.attempt >= MOST_ATTEMPTS {
            let message = format!("the server was ended {MOST_ATTEMPTS} times while it worked on it");
            let failure = Outcome::Error(Failure::new(FailureReason::InterruptedTooOften, message));
            self.note(&before, Event::Failed, Some(&failure)).await?;
        } else {
            self.note(&before, Event::Interrupted, None).await?;
        }
        let row = self.store().verification(&before.id).await?;
        row.as_ref().map_or(Ok(before), Verification::from_row)
    }
}
