//! Making one container.

use super::{
    Shared, container, end,
    handover::Handover,
    image::{self, Found},
    upload,
};
use crate::runtime::{
    Created, RuntimeError, SandboxSpec,
    common::is_safe_id,
    docker::work::{blocking, failed},
};
use bollard::{
    container::LogOutput,
    query_parameters::{CreateContainerOptionsBuilder, LogsOptionsBuilder},
};
use futures_util::StreamExt;
use std::{fs, io, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// How long a container that was started may take until its agent takes what is handed over.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// When it is first looked whether a silent container has ended, and how often then. A healthy one never takes as long.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// What is kept of a failed agent's last words.
const LAST_WORDS: usize = 2000;

/// Starts a sandbox. After an error nothing of it is left.
pub(super) async fn create(shared: &Shared, spec: SandboxSpec, reference: &str) -> Result<Created, RuntimeError> {
    debug_assert!(is_safe_id(&spec.sandbox_id));
    let image = image::find(&shared.daemon, reference).await?;
    let (sandbox, program, config) =
        (shared.home.sandbox(&spec.sandbox_id), shared.home.program().to_owned(), spec.agent_config.clone());
    let step = "make the sandbox's directory";
    // Whoever else has this directory keeps it: only from here on is it ours to remove.
    let handover = match shared.daemon.is_local() {
        true => Some(blocking(step, move || Handover::prepare(&sandbox, &program, &config)).await?),
        false => {
            blocking(step, move || fs::create_dir(sandbox)).await?;
            None
        }
    };
    match run(shared, &spec, &image, handover.as_ref()).await {
        Ok(()) => Ok(Created { working_directory: Some(image.working_directory) }),
        Err(failure) => {
            if let Err(error) = end::remove(shared, &spec.sandbox_id).await {
                tracing::error!(sandbox_id = spec.sandbox_id, %error, "a failed sandbox left something behind");
            }
            Err(failure)
        }
    }
}

async fn run(
    shared: &Shared,
    spec: &SandboxSpec,
    image: &Found,
    handover: Option<&Handover>,
) -> Result<(), RuntimeError> {
    let (daemon, docker) = (&shared.daemon, shared.daemon.docker());
    let options = CreateContainerOptionsBuilder::new().name(&shared.home.name(&spec.sandbox_id)).build();
    let made = docker.create_container(Some(options), container::body(shared, spec, image)).await;
    let id = made.map_err(|error| daemon.explain("make the container", error))?.id;
    if handover.is_none() {
        upload::program(daemon, &id, shared.home.program(), &spec.agent_config).await?;
    }
    docker.start_container(&id, None).await.map_err(|error| daemon.explain("start the container", error))?;
    let Some(handover) = handover else { return Ok(()) };
    tokio::select! {
        given = timeout(START_TIMEOUT, handover.give()) => match given {
            Ok(given) => given.map_err(|error| failed("hand the agent its socket", error)),
            Err(_) => Err(failed("wait for the agent", io::ErrorKind::TimedOut)),
        },
        failure = ended(shared, &id) => Err(failure),
    }
}

/// Returns when the container has ended, with why. A daemon that does not say is asked again.
async fn ended(shared: &Shared, id: &str) -> RuntimeError {
    let docker = shared.daemon.docker();
    let mut next = Instant::now();
    loop {
        next += LOOK_AFTER;
        sleep(next.saturating_duration_since(Instant::now())).await;
        let Ok(container) = docker.inspect_container(id, None).await else { continue };
        let Some(state) = container.state.filter(|state| state.running == Some(false)) else { continue };
        let code = state.exit_code.unwrap_or_default();
        let words = last_words(shared, id).await;
        let said = if words.is_empty() { "said nothing".to_owned() } else { format!("said: {words}") };
        let reason = state.error.filter(|error| !error.is_empty()).unwrap_or(said);
        return RuntimeError::Refused(format!("the container ended with {code} as it started and {reason}"));
    }
}

async fn last_words(shared: &Shared, id: &str) -> String {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("20").build();
    let mut text = Vec::new();
    let mut logs = std::pin::pin!(shared.daemon.docker().logs(id, Some(options)));
    while let Ok(Some(Ok(part))) = timeout(LOOK_AFTER, logs.next()).await {
        let (LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message }) = part
        else {
            continue;
        };
        text.extend_from_slice(&message);
        if text.len() > LAST_WORDS {
            text.truncate(LAST_WORDS);
            break;
        }
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}
