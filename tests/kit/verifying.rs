//! Samples of the tests' own, a server that has them, and verifications as a client sees them.

use super::{Clients, LONG, Options, Runtime, Sandbox, Server, create_sandbox, v1, within, within_time};
use std::{fs, path::Path};
use tonic::transport::Channel;
use v1::{
    verification::State, verification_service_client::VerificationServiceClient, watch_verification_response::Event,
};

/// The dataset.
pub const DATASET: &str = "own";

/// The code base: its division multiplies.
pub const CODE: &str = "div() { echo $(( $1 * $2 )); }\nadd() { echo $(( $1 + $2 )); }\n";
/// As it should be.
pub const RIGHT: &str = "div() { echo $(( $1 / $2 )); }\nadd() { echo $(( $1 + $2 )); }\n";
/// The division is right, and the addition is not any more.
pub const OTHERWISE: &str = "div() { echo $(( $1 / $2 )); }\nadd() { echo 0; }\n";

/// What the tests are: the same for everybody to see and hidden.
const CHECK: &str = r#"n=0
check() { n=$((n + 1)); if [ "$2" = "$3" ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; fi; }
. ./calc.sh
echo "TAP version 13"
check divides "$(div 6 3)" 2
check adds "$(add 1 2)" 3
echo "1..$n"
"#;

/// Reads what these tests print, for samples that read their own reports.
const READER: &str = r#"sed -n 's/^ok [0-9]* - \(.*\)/{"name":"\1","outcome":"passed"}/p; s/^not ok [0-9]* - \(.*\)/{"name":"\1","outcome":"failed"}/p' /tmp/report.tap
"#;

/// A patch of the code base, as `git diff` writes it.
pub fn patch(after: &str) -> String {
    let lines = |sign: char, text: &str| text.lines().map(|line| format!("{sign}{line}\n")).collect::<String>();
    let (before, after) = (lines('-', CODE), lines('+', after));
    format!("diff --git a/calc.sh b/calc.sh\n--- a/calc.sh\n+++ b/calc.sh\n@@ -1,2 +1,2 @@\n{before}{after}")
}

/// Writes a sample with that code base. Its tests are `tests/check.sh`, and hidden as `.verify/hidden.sh`; `.verify/reader.sh` reads
/// their report.
pub fn sample(dataset: &Path, id: &str, image: &str, verification: &str) {
    let at = dataset.join(id);
    for (path, text) in [
        ("code/calc.sh", CODE),
        ("code/tests/check.sh", CHECK),
        ("hidden/.verify/hidden.sh", CHECK),
        ("hidden/.verify/reader.sh", READER),
        ("task.md", "# Division\n\nIt multiplies.\n"),
        ("reference.patch", &patch(RIGHT)),
        (
            "sample.toml",
            &format!(
                "title = \"Division\"\nlanguage = \"shell\"\nimage = \"{image}\"\ndescription = \"task.md\"\nversion = \"1\"\n\
                 [codebase]\ndirectory = \"code\"\n[hidden]\npatch = \"reference.patch\"\n[verification]\n{verification}\n"
            ),
        ),
    ] {
        let path = at.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// The usual verification: hidden tests, whose report is in a file.
pub const HIDDEN: &str = r#"command = "sh .verify/hidden.sh >/tmp/report.tap; echo tests are over; echo to stderr >&2"
files = "hidden"
timeout = "60s"
report = { format = "tap", path = "/tmp/report.tap" }
fail_to_pass = ["divides"]
pass_to_pass = ["adds"]"#;

/// A server with samples.
pub struct Lab {
    /// It.
    pub server: Server,
    /// What starts its sandboxes.
    pub on: Runtime,
    // Removed after the server has ended.
    _catalog: tempfile::TempDir,
}

impl Lab {
    /// A server with these samples: their ids, and their verifications.
    pub fn new(on: Runtime, samples: &[(&str, &str)]) -> Self {
        Self::with(on, samples, on.options())
    }

    /// The same with other options.
    pub fn with(on: Runtime, samples: &[(&str, &str)], options: Options) -> Self {
        let catalog = tempfile::tempdir().expect("a directory");
        let image = if on == Runtime::Linux { "host".to_owned() } else { on.image() };
        for (id, verification) in samples {
            sample(&catalog.path().join(DATASET), id, &image, verification);
        }
        let server = serve(catalog.path(), options);
        Self { server, on, _catalog: catalog }
    }

    /// The directory of a sample.
    pub fn files(&self, sample_id: &str) -> std::path::PathBuf {
        self._catalog.path().join(DATASET).join(sample_id)
    }

    /// The same samples with another server, once this one is killed.
    pub fn crash_and_serve(self, options: Options) -> Self {
        let Self { server, on, _catalog } = self;
        server.crash();
        let server = serve(_catalog.path(), options);
        Self { server, on, _catalog }
    }

    /// A sandbox made from a sample.
    pub async fn sandbox(&self, sample_id: &str) -> Sandbox {
        let sample = Some(v1::SampleSource { sample_id: sample_id.to_owned(), ..Default::default() });
        create_sandbox(&self.server, v1::CreateSandboxRequest { sample, ..Default::default() }).await
    }

    /// A client for verifications.
    pub async fn client(&self) -> Verifier {
        let Clients { channel, .. } = self.server.connect().await;
        Verifier::on(channel)
    }

    /// Verifies a sandbox to the end.
    pub async fn verify(&self, sandbox: &Sandbox) -> v1::Verification {
        let mut client = self.client().await;
        let started = client.start(of_sandbox(sandbox)).await;
        client.end(&started).await
    }

    /// Verifies a patch for a sample to the end.
    pub async fn verify_patch(&self, sample_id: &str, patch: &str) -> v1::Verification {
        let mut client = self.client().await;
        let started = client.start(of_patch(sample_id, patch)).await;
        client.end(&started).await
    }
}

fn serve(catalog: &Path, options: Options) -> Server {
    let mut args = vec!["--catalog".to_owned(), catalog.display().to_string()];
    args.extend(options.args.clone());
    Server::start(Options { args, ..options })
}

/// What is sent for a sandbox.
pub fn of_sandbox(sandbox: &Sandbox) -> v1::StartVerificationRequest {
    v1::StartVerificationRequest { sandbox_id: sandbox.id.clone(), ..Default::default() }
}

/// What is sent for a patch.
pub fn of_patch(sample_id: &str, patch: &str) -> v1::StartVerificationRequest {
    let (sample_id, patch) = (sample_id.to_owned(), patch.to_owned());
    v1::StartVerificationRequest { sample_id, patch, ..Default::default() }
}

/// A client for verifications.
#[derive(Clone)]
pub struct Verifier(pub VerificationServiceClient<Channel>);

/// What a watcher has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// States in the order in which they came.
    pub states: Vec<State>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The last message.
    pub last: Option<v1::Verification>,
}

impl Verifier {
    /// On a connection.
    pub fn on(channel: Channel) -> Self {
        Self(VerificationServiceClient::new(channel).max_decoding_message_size(64 << 20))
    }

    /// Asks for one.
    pub async fn start(&mut self, request: v1::StartVerificationRequest) -> v1::Verification {
        let shown = format!("{request:?}");
        within("a verification", self.0.start_verification(request))
            .await
            .unwrap_or_else(|error| panic!("{shown}: {error:?}"))
            .into_inner()
    }

    /// It, as it is now.
    pub async fn get(&mut self, id: &str) -> v1::Verification {
        let request = v1::GetVerificationRequest { verification_id: id.to_owned() };
        within("a verification", self.0.get_verification(request)).await.expect("it is known").into_inner()
    }

    /// Cancels it.
    pub async fn cancel(&mut self, id: &str) -> v1::Verification {
        let request = v1::CancelVerificationRequest { verification_id: id.to_owned() };
        within("a cancellation", self.0.cancel_verification(request)).await.expect("it is known").into_inner()
    }

    /// Follows it until it is such, or to its end.
    pub async fn follow(
        &mut self,
        started: &v1::Verification,
        until: impl Fn(&v1::Verification, &Seen) -> bool,
    ) -> Seen {
        let request =
            v1::WatchVerificationRequest { verification_id: started.verification_id.clone(), ..Default::default() };
        let mut seen = Seen::default();
        let following = async {
            let mut told = self.0.watch_verification(request).await.expect("it can be followed").into_inner();
            while let Some(message) = told.message().await.expect("a message") {
                match message.event.expect("an event") {
                    Event::Verification(now) => {
                        if seen.states.last() != Some(&now.state()) {
                            seen.states.push(now.state());
                        }
                        seen.last = Some(now);
                    }
                    Event::Output(output) => {
                        let (to, offset) = (output.stream(), output.offset);
                        let to = if to == v1::Stream::Stderr { &mut seen.stderr } else { &mut seen.stdout };
                        if usize::try_from(offset) == Ok(to.len()) {
                            to.extend_from_slice(&output.data);
                        }
                    }
                }
                if seen.last.as_ref().is_some_and(|last| until(last, &seen)) {
                    break;
                }
            }
        };
        within_time(LONG, "a verification's progress", following).await;
        seen
    }

    /// Waits for its end.
    pub async fn end(&mut self, started: &v1::Verification) -> v1::Verification {
        self.follow(started, |_, _| false).await.last.expect("a last word")
    }
}

/// The result of a verification that was carried out.
#[track_caller]
pub fn result(verification: &v1::Verification) -> &v1::VerificationResult {
    let result = verification.result.as_ref().filter(|_| verification.state() == State::Completed);
    result.unwrap_or_else(|| panic!("no result: {verification:?}"))
}

/// Fails unless it was a success, or not one for this reason.
#[track_caller]
pub fn expect_result(verification: &v1::Verification, reason: Option<v1::verification_result::Reason>) {
    let result = result(verification);
    let wanted = reason.unwrap_or_default();
    assert!(result.is_success == reason.is_none() && result.reason() == wanted, "not {reason:?}: {result:?}");
}
