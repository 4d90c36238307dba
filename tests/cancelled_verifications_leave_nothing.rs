//! Calls for samples and verifications are cancelled at random instants. What was asked for can be asked for again by its request id and comes to its
//! end, and nothing of it is left.
//!
//! `SANDSHELL_TEST_VERIFICATION_CANCELLATIONS=1000` makes it so many calls.

use crate::kit::{
    Clients, Dice, Runtime, create_sandbox, host, token, v1,
    verifying::{HIDDEN, Lab, RIGHT, Verifier, expect_result, of_patch, of_sandbox, patch},
    within::{LONG, until, within_time},
};
use sandshell::api::v1::{verification::State, verification_result::Reason};
use std::{fs, time::Duration};
use tokio::{task::JoinSet, time::timeout};

crate::in_every_runtime!(whatever_was_asked_for_can_be_asked_for_again);

/// Calls at one time.
const AT_ONCE: usize = 6;

/// Descriptors that may be kept for later, as connections to the database.
const KEPT: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    CreateSandbox,
    OfSandbox,
    OfPatch,
    Watch,
    Get,
    List,
    Cancel,
}

const METHODS: [Method; 7] = [
    Method::CreateSandbox,
    Method::OfSandbox,
    Method::OfPatch,
    Method::Watch,
    Method::Get,
    Method::List,
    Method::Cancel,
];

/// What is called, and about what.
#[derive(Clone)]
struct Stage {
    clients: Clients,
    sandbox: v1::StartVerificationRequest,
    /// One that is over.
    verification_id: String,
}

impl Stage {
    fn sandbox(request_id: &str) -> v1::CreateSandboxRequest {
        let sample = Some(v1::SampleSource { sample_id: "calc".into(), ..Default::default() });
        v1::CreateSandboxRequest { sample, request_id: request_id.into(), ..Default::default() }
    }

    fn verification(&self, method: Method, request_id: &str) -> v1::StartVerificationRequest {
        let request = if method == Method::OfPatch { of_patch("calc", &patch(RIGHT)) } else { self.sandbox.clone() };
        v1::StartVerificationRequest { request_id: request_id.into(), ..request }
    }

    /// A call, to its end.
    async fn call(&self, method: Method, request_id: &str) {
        let (mut sandboxes, Verifier(mut client)) = (self.clients.sandboxes.clone(), self.verifier());
        let verification_id = self.verification_id.clone();
        // Whether it was too late, or there was no room, is looked at afterwards.
        match method {
            Method::CreateSandbox => drop(sandboxes.create_sandbox(Self::sandbox(request_id)).await),
            Method::OfSandbox | Method::OfPatch => {
                drop(client.start_verification(self.verification(method, request_id)).await);
            }
            Method::Get => drop(client.get_verification(v1::GetVerificationRequest { verification_id }).await),
            Method::List => drop(client.list_verifications(v1::ListVerificationsRequest::default()).await),
            Method::Watch => {
                let request = self.verification(Method::OfSandbox, request_id);
                let Ok(started) = client.start_verification(request).await else { return };
                let verification_id = started.into_inner().verification_id;
                let request = v1::WatchVerificationRequest { verification_id, ..Default::default() };
                let Ok(told) = client.watch_verification(request).await else { return };
                let mut told = told.into_inner();
                while let Ok(Some(_)) = told.message().await {}
            }
            Method::Cancel => {
                let Ok(started) = client.start_verification(self.verification(Method::OfPatch, request_id)).await
                else {
                    return;
                };
                let verification_id = started.into_inner().verification_id;
                drop(client.cancel_verification(v1::CancelVerificationRequest { verification_id }).await);
            }
        }
    }

    fn verifier(&self) -> Verifier {
        Verifier::on(self.clients.channel.clone())
    }
}

async fn whatever_was_asked_for_can_be_asked_for_again(on: Runtime) {
    let lab = Lab::new(on, &[("calc", HIDDEN)]);
    let base = lab.sandbox("calc").await;
    let clients = lab.server.connect().await;
    let mut client = Verifier::on(clients.channel.clone());
    // What is made once and kept: one of each.
    let first = client.start(of_sandbox(&base)).await;
    expect_result(&client.end(&first).await, Some(Reason::TestsFailed));
    expect_result(&lab.verify_patch("calc", &patch(RIGHT)).await, None);
    let stage = Stage { clients, sandbox: of_sandbox(&base), verification_id: first.verification_id };
    only_is_left(&lab, on, &[&base.id]).await;
    let before = host::descriptors(lab.server.pid());

    let asked = std::env::var("SANDSHELL_TEST_VERIFICATION_CANCELLATIONS").ok().and_then(|text| text.parse().ok());
    let calls = asked.unwrap_or(if on == Runtime::Linux { 42 } else { 7 });
    let (mut dice, mut work, mut used) = (Dice::new(), JoinSet::new(), Vec::new());
    for number in 0..calls {
        if work.len() == AT_ONCE {
            work.join_next().await.expect("a call").expect("it ends");
        }
        let (method, request_id) = (METHODS[number % METHODS.len()], token());
        let most = [2_000, 20_000, 200_000][dice.below(3) as usize];
        let instant = Duration::from_micros(dice.below(most));
        used.push((method, request_id.clone()));
        let stage = stage.clone();
        work.spawn(async move {
            let _ = timeout(instant, stage.call(method, &request_id)).await;
        });
    }
    while let Some(ended) = work.join_next().await {
        ended.expect("it ends");
    }

    for (method, request_id) in used {
        match method {
            Method::CreateSandbox => {
                let request = Stage::sandbox(&request_id);
                create_sandbox(&lab.server, request).await.delete().await;
            }
            Method::OfSandbox | Method::OfPatch | Method::Watch | Method::Cancel => {
                let of = if matches!(method, Method::Cancel | Method::OfPatch) {
                    Method::OfPatch
                } else {
                    Method::OfSandbox
                };
                let started = client.start(stage.verification(of, &request_id)).await;
                let ended = client.end(&started).await;
                let again = client.start(stage.verification(of, &request_id)).await;
                assert_eq!(again.verification_id, ended.verification_id, "{method:?}");
                if method == Method::Cancel && ended.state() == State::Cancelled {
                    continue;
                }
                expect_result(&ended, if of == Method::OfPatch { None } else { Some(Reason::TestsFailed) });
            }
            Method::Get | Method::List => {}
        }
    }
    only_is_left(&lab, on, &[&base.id]).await;
    until("no more descriptors than before", async || host::descriptors(lab.server.pid()) <= before + KEPT).await;
    base.delete().await;
    only_is_left(&lab, on, &[]).await;
}

/// Waits until no other sandbox is there, in the lists and on the host.
async fn only_is_left(lab: &Lab, on: Runtime, wanted: &[&str]) {
    let mut sandboxes = lab.server.connect().await.sandboxes;
    let look = async || {
        let listed = sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await.expect("a list").into_inner();
        let listed: Vec<_> = listed.sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect();
        let there: Vec<_> = match fs::read_dir(lab.server.data_dir().join("sandboxes")) {
            Ok(found) => found.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
            Err(_) => Vec::new(),
        };
        let there: Vec<_> = there.iter().map(String::as_str).filter(|name| name.starts_with("sbx-")).collect();
        listed == wanted && (on != Runtime::Linux || there == wanted)
    };
    within_time(LONG, "the other sandboxes to go", until("the other sandboxes to go", look)).await;
}
