//! Pulling images: once for all who wait for the same one.

use super::layers::Layers;
use crate::{
    image::{Credentials, credentials, registry},
    runtime::{Pull, RuntimeError, docker::daemon::Daemon},
    sync::lock,
};
use bollard::{auth::DockerCredentials, errors::Error as ApiError, query_parameters::CreateImageOptionsBuilder};
use futures_util::StreamExt;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// Where a pull is.
#[derive(Debug, Clone)]
enum State {
    UnderWay(Pull),
    Ended(Result<(), Failure>),
}

/// Why an image could not be pulled.
#[derive(Debug, Clone)]
enum Failure {
    /// There is no such image, or not for us.
    Missing(String),
    /// Whoever should have brought it did not.
    Unavailable(String),
}

/// Pulls that are under way.
pub(in crate::runtime::docker) struct Pulls {
    daemon: Daemon,
    stall: Duration,
    under_way: Mutex<HashMap<String, watch::Receiver<State>>>,
}

impl Pulls {
    /// None yet. One that brings nothing for `stall` is given up.
    pub(in crate::runtime::docker) fn new(daemon: Daemon, stall: Duration) -> Self {
        Self { daemon, stall, under_way: Mutex::default() }
    }

    /// Pulls an image, or waits for the pull of it that is under way, and tells how far that is. A pull that has begun goes on
    /// without its callers, so that the next one finds the image there.
    pub(super) async fn pull(self: &Arc<Self>, reference: &str, tell: impl Fn(Pull)) -> Result<(), RuntimeError> {
        let mut state = self.join(reference);
        let failure = loop {
            match state.borrow_and_update().clone() {
                State::UnderWay(pull) => tell(pull),
                State::Ended(Ok(())) => return Ok(()),
                State::Ended(Err(failure)) => break failure,
            }
            if state.changed().await.is_err() {
                break Failure::Unavailable(format!("pulling {reference} broke off; try again"));
            }
        };
        Err(match failure {
            Failure::Missing(message) => RuntimeError::Image(message),
            Failure::Unavailable(message) => RuntimeError::Unavailable(message),
        })
    }

    fn join(self: &Arc<Self>, reference: &str) -> watch::Receiver<State> {
        let mut under_way = lock(&self.under_way);
        if let Some(state) = under_way.get(reference) {
            return state.clone();
        }
        let (told, state) = watch::channel(State::UnderWay(Pull::default()));
        under_way.insert(reference.to_owned(), state.clone());
        let (this, reference) = (self.clone(), reference.to_owned());
        tokio::spawn(async move {
            let result = this.fetch(&reference, |pull| drop(told.send_replace(State::UnderWay(pull)))).await;
            if let Err(failure) = &result {
                tracing::warn!(image = reference, ?failure, "an image could not be pulled");
            }
            // Who comes from now on looks again whether the image is there.
            lock(&this.under_way).remove(&reference);
            told.send_replace(State::Ended(result));
        });
        state
    }

    async fn fetch(&self, reference: &str, tell: impl Fn(Pull)) -> Result<(), Failure> {
        let credentials = credentials(registry(reference), self.stall).await.map_err(|reason| {
            Failure::Unavailable(format!("the credentials for {} cannot be read: {reason}", registry(reference)))
        })?;
        let options = CreateImageOptionsBuilder::new().from_image(reference).build();
        let mut progress = std::pin::pin!(self.daemon.docker().create_image(
            Some(options),
            None,
            credentials.map(as_the_daemon_takes_them)
        ));
        let (mut layers, mut last) = (Layers::default(), Instant::now());
        loop {
            match timeout_at(last + self.stall, progress.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(said))) => {
                    if layers.take(&said) {
                        last = Instant::now();
                        tell(layers.sum());
                    }
                }
                Ok(Some(Err(error))) => return Err(self.failure(reference, error)),
                Err(_) => {
                    let message = format!(
                        "pulling {reference} brought nothing for {:?}, so it was given up; try again",
                        self.stall
                    );
                    return Err(Failure::Unavailable(message));
                }
            }
        }
    }

    fn failure(&self, reference: &str, error: ApiError) -> Failure {
        if let Some(words) = refusal(&error) {
            return Failure::Missing(format!("pulling {reference}: access was denied: {words}"));
        }
        match error {
            ApiError::DockerResponseServerError { status_code: 400 | 403 | 404, message } => {
                Failure::Missing(format!("pulling {reference}: {}", message.trim()))
            }
            // In the middle of a pull the daemon gives a text only.
            ApiError::DockerStreamError { error } => {
                Failure::Unavailable(format!("pulling {reference} failed: {}", error.trim()))
            }
            error => match self.daemon.explain(&format!("pull {reference}"), error) {
                RuntimeError::Failed { step, source } => Failure::Unavailable(format!("{step}: {source}")),
                other => Failure::Unavailable(other.to_string()),
            },
        }
    }
}

fn as_the_daemon_takes_them(credentials: Credentials) -> DockerCredentials {
    DockerCredentials {
        username: credentials.username,
        password: credentials.password,
        serveraddress: Some(credentials.server),
        identitytoken: credentials.identity_token,
        ..DockerCredentials::default()
    }
}

/// The words of a registry that refuses the credentials, or that there are none. The daemon says 500 then, as for much
/// else, and passes on the registry's words or those of its own client.
fn refusal(error: &ApiError) -> Option<&str> {
    let (ApiError::DockerResponseServerError { message, .. } | ApiError::DockerStreamError { error: message }) = error
    else {
        return None;
    };
    let signs = ["unauthorized", "no basic auth credentials", "access denied", "denied: ", "403 Forbidden"];
    signs.iter().any(|sign| message.contains(sign)).then(|| message.trim())
}
