//! Running code, and what came of it.

use super::{Clients, Runtime, Sandbox, v1, within};
use tonic::Status;
use v1::{CodeDone, CodeError, CodeResult, CodeStarted, RunCodeRequest, code_service_client::CodeServiceClient};
use v1::{RunCodeResponse, Stream, run_code_response::Response};

/// What came of a piece of code.
#[derive(Debug, Default)]
pub struct Outcome {
    pub started: CodeStarted,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub results: Vec<CodeResult>,
    pub errors: Vec<CodeError>,
    pub done: CodeDone,
}

impl Outcome {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The value of the last expression.
    pub fn value(&self) -> &str {
        assert!(self.errors.is_empty(), "{self:?}");
        self.results.iter().find(|result| result.is_main).map_or("", |result| result.text.as_str())
    }

    /// The only error, in code that has failed.
    pub fn error(&self) -> &CodeError {
        assert_eq!((self.errors.len(), self.done.exit_code), (1, 1), "{self:?}");
        &self.errors[0]
    }

    /// Name and message of the only error, whatever the exit code is.
    pub fn named_error(&self) -> (&str, &str) {
        assert_eq!(self.errors.len(), 1, "{self:?}");
        (&self.errors[0].name, &self.errors[0].message)
    }
}

/// The image of the Docker daemon has no Node; a test of its own brings one there.
pub fn has_node(on: Runtime) -> bool {
    on == Runtime::Linux
}

/// Asks for this code, in a fresh process.
pub fn code(sandbox: &Sandbox, language: &str, code: &str) -> RunCodeRequest {
    RunCodeRequest {
        sandbox_id: sandbox.id.clone(),
        language: language.into(),
        code: code.into(),
        ..Default::default()
    }
}

/// What code is run by, with room for large answers.
pub fn client(clients: &Clients) -> CodeServiceClient<tonic::transport::Channel> {
    CodeServiceClient::new(clients.channel.clone()).max_decoding_message_size(32 << 20)
}

/// Runs it to its end.
pub async fn run(sandbox: &Sandbox, request: RunCodeRequest) -> Outcome {
    let shown: String = request.code.chars().take(200).collect();
    try_run(sandbox, request).await.unwrap_or_else(|e| panic!("{shown}: {e:?}"))
}

/// As [`run`], and may be refused.
pub async fn try_run(sandbox: &Sandbox, request: RunCodeRequest) -> Result<Outcome, Status> {
    within("the end of code", async {
        let mut stream = client(&sandbox.clients).run_code(request).await?.into_inner();
        let mut outcome = Outcome::default();
        let mut is_done = false;
        while let Some(RunCodeResponse { response }) = stream.message().await? {
            assert!(!is_done, "nothing follows `done`: {response:?}");
            match response.expect("something") {
                Response::Started(started) => {
                    assert!(outcome.started.command_id.is_empty(), "it starts once");
                    outcome.started = started;
                }
                Response::Output(output) if output.stream() == Stream::Stderr => outcome.stderr.extend(&output.data),
                Response::Output(output) => outcome.stdout.extend(&output.data),
                Response::Result(result) => outcome.results.push(result),
                Response::Error(error) => outcome.errors.push(error),
                Response::Gap(gap) => panic!("nothing is lost: {gap:?}"),
                Response::KeepAlive(_) => {}
                Response::Done(done) => (outcome.done, is_done) = (done, true),
            }
        }
        assert!(is_done, "`done` is last: {outcome:?}");
        Ok(outcome)
    })
    .await
}

/// Runs code in a context.
pub async fn in_context(sandbox: &Sandbox, context: &str, language: &str, text: &str) -> Outcome {
    run(sandbox, RunCodeRequest { context_id: context.into(), ..code(sandbox, language, text) }).await
}
