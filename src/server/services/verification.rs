//! `sandshell.v1.VerificationService`.

use crate::{
    api::v1::{
        self, CancelVerificationRequest, GetVerificationRequest, ListVerificationsRequest, ListVerificationsResponse,
        StartVerificationRequest, WatchVerificationRequest, WatchVerificationResponse, test_result,
        verification_error::Reason, verification_result, verification_service_server::VerificationService,
        watch_verification_response::Event,
    },
    rpc::paging,
    server::{layers::auth::caller, relay::streams::Streams, request::validate},
    verification::{
        FailureReason, Heard, Judgement, Outcome, State, Subject, Test, TestOutcome, Told, Verification, Verifications,
        Why,
    },
};
use futures_util::{StreamExt, stream::BoxStream};
use tonic::{Request, Response, Status};
use tracing::Span;

/// The service over all verifications.
pub(in crate::server) struct Service(pub(in crate::server) Verifications, pub(in crate::server) Streams);

#[tonic::async_trait]
impl VerificationService for Service {
    async fn start_verification(
        &self,
        request: Request<StartVerificationRequest>,
    ) -> Result<Response<v1::Verification>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::verification::start(&request)?;
        let StartVerificationRequest { sandbox_id, dataset, sample_id, patch, request_id } = request;
        let subject = if sandbox_id.is_empty() {
            Subject::Patch { dataset, sample_id, patch }
        } else {
            Subject::Sandbox(sandbox_id)
        };
        let started = self.0.start(&caller, subject, &request_id).await?;
        Span::current().record("id", &started.id);
        Ok(Response::new(verification(started)))
    }

    async fn get_verification(
        &self,
        request: Request<GetVerificationRequest>,
    ) -> Result<Response<v1::Verification>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::verification::get(&request)?;
        Span::current().record("id", &request.verification_id);
        Ok(Response::new(verification(self.0.get(&caller, &request.verification_id).await?)))
    }

    async fn list_verifications(
        &self,
        request: Request<ListVerificationsRequest>,
    ) -> Result<Response<ListVerificationsResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::verification::list(&request)?;
        let size = validate::page_size(request.page_size);
        let listing = self.0.list(&caller, &request.sandbox_id, &request.page_token, size).await?;
        let mut verifications: Vec<_> = listing.verifications.into_iter().map(verification).collect();
        let fitting = paging::fitting(&verifications);
        let more = listing.more || fitting < verifications.len();
        verifications.truncate(fitting);
        let last = verifications.last().filter(|_| more);
        let next_page_token = last.map(|last| last.verification_id.clone()).unwrap_or_default();
        let total_size = i32::try_from(listing.total).unwrap_or(i32::MAX);
        Ok(Response::new(ListVerificationsResponse { verifications, next_page_token, total_size }))
    }

    async fn cancel_verification(
        &self,
        request: Request<CancelVerificationRequest>,
    ) -> Result<Response<v1::Verification>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::verification::cancel(&request)?;
        Span::current().record("id", &request.verification_id);
        Ok(Response::new(verification(self.0.cancel(&caller, &request.verification_id).await?)))
    }

    type WatchVerificationStream = BoxStream<'static, Result<WatchVerificationResponse, Status>>;

    async fn watch_verification(
        &self,
        request: Request<WatchVerificationRequest>,
    ) -> Result<Response<Self::WatchVerificationStream>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::verification::watch(&request)?;
        let stream = self.1.open(&caller)?;
        Span::current().record("id", &request.verification_id);
        let heard = Heard {
            attempt: u32::try_from(request.attempt).unwrap_or_default(),
            stdout: request.stdout_offset.unsigned_abs(),
            stderr: request.stderr_offset.unsigned_abs(),
        };
        let told = self.0.watch(&caller, &request.verification_id, heard).await?;
        let answers = told.map(move |told| {
            // Counted until the last of it was taken.
            let _ = &stream;
            Ok(WatchVerificationResponse { event: Some(event(told?)) })
        });
        Ok(Response::new(answers.boxed()))
    }
}

fn event(told: Told) -> Event {
    match told {
        Told::Verification(told) => Event::Verification(verification(*told)),
        Told::Output { is_stderr, offset, data } => Event::Output(v1::VerificationOutput {
            stream: if is_stderr { v1::Stream::Stderr } else { v1::Stream::Stdout }.into(),
            offset: signed(offset),
            data,
        }),
    }
}

/// A verification as clients see it.
fn verification(verification: Verification) -> v1::Verification {
    let Verification { about, outcome, .. } = verification;
    let (result, error) = match outcome {
        Some(Outcome::Result(judgement)) => (Some(result(*judgement)), None),
        Some(Outcome::Error(failure)) => {
            (None, Some(v1::VerificationError { reason: reason(failure.reason).into(), message: failure.message }))
        }
        None => (None, None),
    };
    v1::Verification {
        verification_id: verification.id,
        sandbox_id: verification.sandbox_id,
        state: state(verification.state).into(),
        result,
        error,
        create_time: Some(verification.create_time.into()),
        end_time: verification.end_time.map(Into::into),
        start_time: verification.start_time.map(Into::into),
        attempt: i32::try_from(verification.attempt).unwrap_or(i32::MAX),
        dataset: about.dataset,
        sample_id: about.sample_id,
        sample_version: about.sample_version,
        sample_fingerprint: about.sample_fingerprint,
        image: about.image,
        patch_sha256: about.patch_sha256,
    }
}

fn result(judgement: Judgement) -> v1::VerificationResult {
    let count = |count: u64| i32::try_from(count).unwrap_or(i32::MAX);
    let Judgement { stdout, stderr, compared, .. } = judgement;
    v1::VerificationResult {
        is_success: judgement.why.is_none(),
        passed: count(judgement.passed),
        failed: count(judgement.failed),
        skipped: count(judgement.skipped),
        total: count(judgement.passed + judgement.failed + judgement.skipped),
        tests: judgement.tests.into_iter().map(test).collect(),
        tests_truncated: judgement.tests_cut,
        reason: judgement.why.map_or(verification_result::Reason::Unspecified, why).into(),
        message: judgement.message,
        exit_code: judgement.exit_code,
        duration: judgement.duration.try_into().ok(),
        stdout: stdout.text,
        stderr: stderr.text,
        stdout_total_bytes: signed(stdout.total),
        stderr_total_bytes: signed(stderr.total),
        stdout_truncated: stdout.left_out > 0,
        stderr_truncated: stderr.left_out > 0,
        changes: compared.changes,
        changes_total: signed(compared.total),
        changes_restored: signed(compared.restored),
    }
}

fn test(test: Test) -> v1::TestResult {
    let outcome = match test.outcome {
        TestOutcome::Passed => test_result::Outcome::Passed,
        TestOutcome::Failed => test_result::Outcome::Failed,
        TestOutcome::Skipped => test_result::Outcome::Skipped,
    };
    let duration = test.duration.and_then(|duration| duration.try_into().ok());
    v1::TestResult { name: test.name, outcome: outcome.into(), duration, message: test.message }
}

fn state(state: State) -> v1::verification::State {
    match state {
        State::Pending => v1::verification::State::Pending,
        State::Starting => v1::verification::State::Starting,
        State::Running => v1::verification::State::Running,
        State::Completed => v1::verification::State::Completed,
        State::Error => v1::verification::State::Error,
        State::Cancelled => v1::verification::State::Cancelled,
    }
}

fn why(why: Why) -> verification_result::Reason {
    use verification_result::Reason;
    match why {
        Why::TestsFailed => Reason::TestsFailed,
        Why::TestsMissing => Reason::TestsMissing,
        Why::NothingPassed => Reason::NothingPassed,
        Why::ExitCode => Reason::ExitCode,
        Why::NoReport => Reason::NoReport,
        Why::BadReport => Reason::BadReport,
        Why::TimedOut => Reason::TimedOut,
        Why::OutOfMemory => Reason::OutOfMemory,
        Why::PatchNotApplied => Reason::PatchNotApplied,
    }
}

fn reason(reason: FailureReason) -> Reason {
    match reason {
        FailureReason::SandboxGone => Reason::SandboxGone,
        FailureReason::SampleChanged => Reason::SampleChanged,
        FailureReason::NoSandbox => Reason::NoSandbox,
        FailureReason::SetupFailed => Reason::SetupFailed,
        FailureReason::ChangesNotTaken => Reason::ChangesNotTaken,
        FailureReason::VerifierLost => Reason::VerifierLost,
        FailureReason::InterruptedTooOften => Reason::InterruptedTooOften,
        FailureReason::Internal => Reason::Internal,
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
