//! One verification, from the request to its end, through lost connections and restarts of the server.

use super::CliError;
use crate::{
    api::v1::{
        StartVerificationRequest, Verification, WatchVerificationRequest, verification::State,
        verification_service_client::VerificationServiceClient, watch_verification_response::Event,
    },
    cli::credentials::Channel,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// How long a server that is away is waited for, and how long between tries.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// The longest wait that a server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

type Service = VerificationServiceClient<Channel>;

/// Asks for it and waits for its end.
pub(in crate::cli) async fn carry_out(
    mut service: Service,
    request: StartVerificationRequest,
) -> Result<Verification, CliError> {
    let mut give_up = Instant::now() + PATIENCE;
    // The request has an id, so it is one verification however often it is sent.
    let started = loop {
        match service.start_verification(request.clone()).await {
            Ok(started) => break started.into_inner(),
            Err(status) => wait(status, &mut give_up).await?,
        }
    };
    let request = WatchVerificationRequest { verification_id: started.verification_id, ..Default::default() };
    let mut give_up = Instant::now() + PATIENCE;
    loop {
        match watch(&mut service, request.clone(), &mut give_up).await {
            Ok(Some(ended)) => return Ok(ended),
            Ok(None) => wait(Status::unavailable("the server ended the stream"), &mut give_up).await?,
            Err(status) => wait(status, &mut give_up).await?,
        }
    }
}

/// Until the end of the verification or of the stream. Whatever comes shows that the server is there.
async fn watch(
    service: &mut Service,
    request: WatchVerificationRequest,
    give_up: &mut Instant,
) -> Result<Option<Verification>, Status> {
    let mut told = service.watch_verification(request).await?.into_inner();
    while let Some(message) = told.message().await? {
        *give_up = Instant::now() + PATIENCE;
        let Some(Event::Verification(verification)) = message.event else { continue };
        if matches!(verification.state(), State::Completed | State::Error | State::Cancelled) {
            return Ok(Some(verification));
        }
    }
    Ok(None)
}

/// Waits as the server asks, or as is usual when it is away. An error that stays is the answer.
async fn wait(status: Status, give_up: &mut Instant) -> Result<(), CliError> {
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match (status.code(), delay) {
        // It has too much to do, for which there is no limit of time, because others of ours may be what it does.
        (Code::ResourceExhausted, Some(delay)) => *give_up = Instant::now() + PATIENCE + delay,
        (Code::Unavailable, _) if Instant::now() < *give_up => {}
        _ => return Err(status.into()),
    }
    sleep(delay.unwrap_or(PAUSE).min(LONGEST_WAIT)).await;
    Ok(())
}
