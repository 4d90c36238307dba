//! Verifies several patches at one time, and says how far it is.

use super::{CliError, follow::carry_out, patches::Patches, results::Row};
use crate::{
    api::v1::{CancelVerificationRequest, Sample, StartVerificationRequest},
    cli::{client::Client, follow::Signals, progress::Line},
    sync::lock,
};
use futures_util::{StreamExt, stream};
use std::{
    collections::HashMap,
    io::{IsTerminal, stderr},
    sync::Mutex,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

/// How often the line on the terminal changes.
const PACE: Duration = Duration::from_millis(500);

/// How long those that run may take to be cancelled.
const CANCEL_TIME: Duration = Duration::from_secs(10);

/// Requests of verifications that may run, by their ids. Each is here before it is sent, so that none is forgotten.
type Running = Mutex<HashMap<String, StartVerificationRequest>>;

/// What is needed for it.
pub(super) struct Work<'a> {
    pub(super) client: &'a Client,
    pub(super) patches: &'a Patches,
    /// How many at one time.
    pub(super) jobs: usize,
}

/// Verifies the patches for these samples and gives each result to `take`, in the order in which they end. The exit code if a signal stopped it; those that
/// ran then are cancelled.
pub(super) async fn run(
    work: Work<'_>,
    samples: Vec<Sample>,
    signals: &mut Signals,
    mut take: impl FnMut(Row) -> Result<(), CliError>,
) -> Result<Option<u8>, CliError> {
    let (total, mut done, began) = (samples.len(), 0, Instant::now());
    let running = Mutex::new(HashMap::new());
    let mut line = stderr().is_terminal().then(Line::default);
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let outcome = {
        let all = stream::iter(samples).map(|sample| one(&work, sample, &running));
        let mut all = std::pin::pin!(all.buffer_unordered(work.jobs));
        loop {
            tokio::select! {
                row = all.next() => match row {
                    None => break Ok(None),
                    Some(row) => {
                        done += 1;
                        if let Err(error) = row.and_then(&mut take) {
                            break Err(error);
                        }
                    }
                },
                code = signals.next() => break Ok(Some(code)),
                _ = ticks.tick() => {
                    if let Some(line) = &mut line {
                        let under_way = lock(&running).len();
                        line.show(&progress(done, total, under_way, began.elapsed()));
                    }
                }
            }
        }
    };
    drop(line);
    // What nobody waits for any more would only take the place of others.
    let left: Vec<_> = lock(&running).drain().map(|(_, request)| request).collect();
    let cancel = stream::iter(left).for_each_concurrent(work.jobs, |request| async {
        let mut service = work.client.verifications.clone();
        // Asked for once more, because the answer with the id may still have been on its way. It is the same verification.
        if let Ok(started) = service.start_verification(request).await {
            let verification_id = started.into_inner().verification_id;
            let _ = service.cancel_verification(CancelVerificationRequest { verification_id }).await;
        }
    });
    if timeout(CANCEL_TIME, cancel).await.is_err() {
        eprintln!("sandshell: the server did not cancel all verifications in time; they go on by themselves");
    }
    outcome
}

/// One patch. What goes wrong with it is its result; what goes wrong here ends everything.
async fn one(work: &Work<'_>, sample: Sample, running: &Running) -> Result<Row, CliError> {
    let patch = work.patches.get(&sample.sample_id)?.unwrap_or_default();
    let request = StartVerificationRequest {
        dataset: sample.dataset.clone(),
        sample_id: sample.sample_id.clone(),
        patch: patch.clone(),
        request_id: format!("eval-{}", Uuid::new_v4()),
        ..Default::default()
    };
    let request_id = request.request_id.clone();
    lock(running).insert(request_id.clone(), request.clone());
    let ended = carry_out(work.client.verifications.clone(), request).await;
    lock(running).remove(&request_id);
    match ended {
        Ok(ended) => Ok(Row::new(&sample, &patch, ended)),
        Err(CliError::Refused(status)) => {
            let reason = crate::rpc::status::code_name(status.code());
            Ok(Row::error(&sample, &patch, reason, CliError::Refused(status).to_string()))
        }
        Err(error) => Err(error),
    }
}

fn progress(done: usize, total: usize, under_way: usize, time: Duration) -> String {
    let left = match done {
        0 => String::new(),
        _ => {
            let seconds = time.as_secs_f64() / done as f64 * (total - done) as f64;
            format!(", about {} left", span(seconds))
        }
    };
    format!("{done} of {total} verified, {under_way} under way{left}")
}

fn span(seconds: f64) -> String {
    match seconds.ceil() as u64 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_those_that_are_done() {
        assert_eq!(progress(0, 8, 4, Duration::from_secs(5)), "0 of 8 verified, 4 under way");
        assert_eq!(progress(2, 8, 4, Duration::from_secs(5)), "2 of 8 verified, 4 under way, about 15 s left");
        assert_eq!((span(600.0), span(7300.0)), ("10 min".to_owned(), "2 h 1 min".to_owned()));
    }
}
