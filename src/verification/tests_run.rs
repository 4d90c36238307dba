//! Running a sample's command, and reading what it reports.

use super::{
    Carried, Failure, FailureReason, Judgement, TestOutcome, laid,
    live::Live,
    report::{self, BadReport, Form, Report},
    take::WORKSPACE,
    verdict::{self, Ending, Evidence, Expected},
};
use crate::{
    api::v1::{ExecStart, Exited, exited::Reason},
    sample::{self, ReportFormat, Sample},
    sandbox::{InsideError, Reached},
};
use std::time::Duration;
use tokio::time::timeout;

/// How much longer than its time the end of a command is waited for: it is asked to end, then told to, then killed.
const GRACE: Duration = Duration::from_secs(60);

/// Bytes of output that the agent keeps. Nobody reads it twice.
const LOG_BYTES: i64 = 64 << 10;

/// How long a sample's own reader of reports may take.
const READER_TIME: Duration = Duration::from_secs(60);

/// Bytes of tests and names that a result may have, so that it fits into an answer.
const MOST_TOLD: usize = 2 << 20;

/// Output that a report is read from: as much as a report may have, and a byte more if there was more.
#[derive(Default)]
struct Captured(Vec<u8>);

impl Captured {
    fn push(&mut self, bytes: &[u8]) {
        let room = (report::MOST_BYTES + 1).saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Removes a report that is there before the tests have run.
pub(super) async fn remove_old_report(sample: &Sample, sandbox: &Reached) -> Carried<()> {
    let Some(path) = sample.verification.report.path.as_deref().map(absolute) else { return Ok(()) };
    sandbox.remove(path.as_bytes()).await.map_err(lost)
}

/// Runs the command and judges.
pub(super) async fn run(sample: &Sample, sandbox: &Reached, live: &Live) -> Carried<Judgement> {
    let verification = &sample.verification;
    let from_output = verification.report.path.is_none();
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    let exited = execute(sandbox, &verification.command, verification.timeout, |is_stderr, bytes| {
        live.print(is_stderr, bytes);
        if from_output {
            if is_stderr { stderr.push(bytes) } else { stdout.push(bytes) }
        }
    });
    let exited = exited.await?;
    let ending = ending(&exited)?;
    // What the command has left running was ended with it, so nobody writes to the report any more.
    let evidence = match ending {
        Ending::Exited(_) => evidence(sample, sandbox, stdout, stderr).await?,
        Ending::TimedOut | Ending::OutOfMemory => Evidence::Missing("the command was ended".to_owned()),
    };
    let (fail_to_pass, pass_to_pass) = (&verification.fail_to_pass, &verification.pass_to_pass);
    let verdict = verdict::judge(ending, &evidence, Expected { fail_to_pass, pass_to_pass });
    let tests = if let Evidence::Report(Report { tests, .. }) = evidence { tests } else { Vec::new() };
    let count = |outcome| tests.iter().filter(|test| test.outcome == outcome).count() as u64;
    let [stdout, stderr] = live.printed();
    let mut judgement = Judgement {
        why: verdict.why,
        message: verdict.message,
        passed: count(TestOutcome::Passed),
        failed: count(TestOutcome::Failed),
        skipped: count(TestOutcome::Skipped),
        exit_code: if let Ending::Exited(code) = ending { Some(code) } else { None },
        duration: exited.duration.and_then(|duration| duration.try_into().ok()).unwrap_or_default(),
        stdout,
        stderr,
        ..Judgement::default()
    };
    let mut told = 0;
    for test in tests {
        // A fixed part for each, and its texts.
        told += 64 + test.name.len() + test.message.len();
        if told > MOST_TOLD {
            judgement.tests_cut = true;
            break;
        }
        judgement.tests.push(test);
    }
    Ok(judgement)
}

/// Runs shell text as a direct execution: no session, no start-up file, nothing of what the agent has set.
async fn execute(
    sandbox: &Reached,
    text: &str,
    time: Duration,
    tell: impl FnMut(bool, &[u8]) + Send,
) -> Carried<Exited> {
    let start = ExecStart {
        argv: ["/bin/sh", "-c", text].map(str::to_owned).into(),
        working_directory: WORKSPACE.to_owned(),
        timeout: time.try_into().ok(),
        max_log_bytes: LOG_BYTES,
        ..ExecStart::default()
    };
    match timeout(time + GRACE, sandbox.execute(start, tell)).await {
        Ok(exited) => exited.map_err(lost),
        Err(_) => {
            let message = "the sandbox did not end the tests when their time was over";
            Err(Failure::new(FailureReason::VerifierLost, message))
        }
    }
}

fn ending(exited: &Exited) -> Carried<Ending> {
    match exited.reason() {
        Reason::TimedOut => Ok(Ending::TimedOut),
        Reason::OutOfMemory => Ok(Ending::OutOfMemory),
        Reason::SandboxStopped | Reason::Cancelled => {
            Err(Failure::new(FailureReason::VerifierLost, "the sandbox of the tests was stopped"))
        }
        Reason::Exited | Reason::Signaled | Reason::ShellExited | Reason::Unspecified => {
            Ok(Ending::Exited(exited.exit_code))
        }
    }
}

/// Looks for the report.
async fn evidence(sample: &Sample, sandbox: &Reached, stdout: Captured, stderr: Captured) -> Carried<Evidence> {
    let sample::Report { format, path, command } = &sample.verification.report;
    let form = match format {
        ReportFormat::ExitCode => return Ok(Evidence::ExitCode),
        ReportFormat::Command => return own_reader(sample, sandbox, command.as_deref().unwrap_or_default()).await,
        ReportFormat::Junit => Form::Junit,
        ReportFormat::Tap => Form::Tap,
        ReportFormat::Cargo => Form::Cargo,
        ReportFormat::Nextest => Form::Nextest,
        ReportFormat::Pytest => Form::Pytest,
        ReportFormat::Go => Form::Go,
    };
    let text = match path.as_deref().map(absolute) {
        Some(path) => match sandbox.read_file(&path, report::MOST_BYTES).await {
            Ok(text) => text,
            Err(InsideError::TooMuch(_)) => return Ok(Evidence::Bad(BadReport::TooLarge)),
            Err(InsideError::Refused { message, .. }) => {
                return Ok(Evidence::Missing(format!("the command left no report: {message}")));
            }
            Err(error) => return Err(lost(error)),
        },
        // nextest speaks on standard error.
        None if form == Form::Nextest => stderr.0,
        None => stdout.0,
    };
    read(form, text).await
}

/// Runs the sample's own reader. What it consists of is laid over the workspace once more: the tests may have changed it.
async fn own_reader(sample: &Sample, sandbox: &Reached, command: &str) -> Carried<Evidence> {
    laid::lay(sample, sandbox).await?;
    let mut told = Captured::default();
    let exited = execute(sandbox, command, READER_TIME, |is_stderr, bytes| {
        if !is_stderr {
            told.push(bytes);
        }
    });
    match ending(&exited.await?)? {
        Ending::Exited(0) => read(Form::Listed, told.0).await,
        Ending::Exited(code) => {
            Ok(Evidence::Missing(format!("the sample's reader of reports ended with exit code {code}")))
        }
        Ending::TimedOut | Ending::OutOfMemory => {
            Ok(Evidence::Missing("the sample's reader of reports had to be ended".to_owned()))
        }
    }
}

/// Reads a report where it holds nobody up.
async fn read(form: Form, text: Vec<u8>) -> Carried<Evidence> {
    let read = tokio::task::spawn_blocking(move || report::read(form, &text)).await;
    match read {
        Ok(Ok(report)) => Ok(Evidence::Report(report)),
        Ok(Err(bad)) => Ok(Evidence::Bad(bad)),
        Err(error) => Err(Failure::new(FailureReason::Internal, error.to_string())),
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{WORKSPACE}/{path}") }
}

fn lost(error: InsideError) -> Failure {
    match error {
        InsideError::Lost(error) => Failure::of(FailureReason::VerifierLost, &error),
        error => Failure::new(FailureReason::VerifierLost, format!("the tests could not be run: {error}")),
    }
}
