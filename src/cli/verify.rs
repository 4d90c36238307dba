//! `sandshell verify`: a verification followed to its end, and what came of it.

mod show;

pub(super) use show::name_of_reason;

use super::{
    client::{Client, Remote},
    error::CliError,
    follow::Signals,
    log::{self, LogFormat},
    table,
};
use crate::api::v1::{
    CancelVerificationRequest, StartVerificationRequest, Stream, Verification, WatchVerificationRequest,
    verification::State, watch_verification_response::Event,
};
use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tonic::Code;
use uuid::Uuid;

/// How long a server that is away is waited for, and how long between tries.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// The exit code of a verification that was no success.
const NO_SUCCESS: u8 = 1;

const AFTER_HELP: &str = "\
What the sample's command prints goes to standard error as it comes, the tests and the verdict to standard output. The exit code is
0 for a success and for nothing else, 1 when the verification was no success, and 125 when it could not be carried out. A
verification that is interrupted (^C) is cancelled.";

/// Options of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// A sandbox that was made from a sample
    #[arg(value_name = "SANDBOX", required_unless_present = "sample", conflicts_with = "sample")]
    sandbox_id: Option<String>,
    /// A sample, instead of a sandbox: DATASET/ID, or ID if only one dataset has it
    #[arg(long, value_name = "SAMPLE")]
    sample: Option<String>,
    /// Patch for that sample, as `git diff` writes it; `-` reads it from standard input [default: none, the sample as it is]
    #[arg(long, value_name = "FILE", requires = "sample")]
    patch: Option<PathBuf>,
    /// Do not show what the command prints
    #[arg(long, short)]
    quiet: bool,
    /// Print JSON: one object, the verification with its result
    #[arg(long)]
    json: bool,
}

/// Verifies.
pub(super) fn main(args: Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let request = request(&args)?;
    let verification = super::block_on(async {
        let mut signals = Signals::new()?;
        let client = args.remote.connect().await?;
        let started = client.verifications.clone().start_verification(request).await?.into_inner();
        let id = started.verification_id.clone();
        tokio::select! {
            ended = follow(&client, started, &args) => ended.map(Ok),
            code = signals.next() => {
                let cancelled = CancelVerificationRequest { verification_id: id };
                client.verifications.clone().cancel_verification(cancelled).await?;
                Ok(Err(code))
            }
        }
    })?;
    let verification = match verification {
        Ok(verification) => verification,
        Err(code) => return Ok(ExitCode::from(code)),
    };
    let text = if args.json { format!("{}\n", show::json(&verification)) } else { show::text(&verification) };
    table::print(&text)?;
    Ok(match (&verification.result, verification.state()) {
        (Some(result), State::Completed) if result.is_success => ExitCode::SUCCESS,
        (Some(_), State::Completed) => ExitCode::from(NO_SUCCESS),
        _ => ExitCode::from(super::FAILED),
    })
}

fn request(args: &Args) -> Result<StartVerificationRequest, CliError> {
    let (dataset, sample_id) = match args.sample.as_deref() {
        Some(sample) => sample.split_once('/').unwrap_or(("", sample)),
        None => ("", ""),
    };
    let patch = args.patch.as_deref().map(read_patch).transpose()?.unwrap_or_default();
    Ok(StartVerificationRequest {
        sandbox_id: args.sandbox_id.clone().unwrap_or_default(),
        dataset: dataset.to_owned(),
        sample_id: sample_id.to_owned(),
        patch,
        request_id: Uuid::new_v4().to_string(),
    })
}

fn read_patch(path: &Path) -> Result<String, CliError> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    read.map_err(|error| CliError::option(format!("--patch {}: {error}", path.display())))
}

/// Follows it to its end, also through a restart of the server.
async fn follow(client: &Client, started: Verification, args: &Args) -> Result<Verification, CliError> {
    let mut request =
        WatchVerificationRequest { verification_id: started.verification_id.clone(), ..Default::default() };
    let mut shown = State::Unspecified;
    let mut give_up = Instant::now() + PATIENCE;
    loop {
        let mut was_there = false;
        match follow_once(client, &mut request, &mut shown, &mut was_there, args).await {
            Ok(Some(ended)) => return Ok(ended),
            Err(status) if status.code() != Code::Unavailable => return Err(status.into()),
            Err(status) if !was_there && Instant::now() > give_up => return Err(status.into()),
            // It is away for a moment.
            Ok(None) | Err(_) => sleep(PAUSE).await,
        }
        if was_there {
            give_up = Instant::now() + PATIENCE;
        }
    }
}

async fn follow_once(
    client: &Client,
    request: &mut WatchVerificationRequest,
    shown: &mut State,
    was_there: &mut bool,
    args: &Args,
) -> Result<Option<Verification>, tonic::Status> {
    let mut told = client.verifications.clone().watch_verification(request.clone()).await?.into_inner();
    while let Some(message) = told.message().await? {
        *was_there = true;
        match message.event {
            Some(Event::Verification(verification)) => {
                if matches!(verification.state(), State::Completed | State::Error | State::Cancelled) {
                    return Ok(Some(verification));
                }
                request.attempt = verification.attempt;
                if verification.state() != *shown && !args.json {
                    eprintln!("{}", show::progress(&verification));
                }
                *shown = verification.state();
            }
            Some(Event::Output(output)) => {
                let end = output.offset + i64::try_from(output.data.len()).unwrap_or_default();
                if output.stream() == Stream::Stderr {
                    request.stderr_offset = end
                } else {
                    request.stdout_offset = end
                }
                if !args.quiet && !args.json {
                    // Whoever does not read it does not want it.
                    let _ = io::stderr().write_all(&output.data);
                }
            }
            None => {}
        }
    }
    Ok(None)
}
