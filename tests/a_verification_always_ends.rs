//! A verification comes to its end whatever its tests do, whoever cancels it, and however its server ends; and nothing of it is left.

use crate::kit::{
    Dice, Options, Runtime, Server,
    cli::make_key,
    postgres::Postgres,
    raw::keyed,
    token, v1,
    verifying::{HIDDEN, Lab, RIGHT, Verifier, expect_result, of_patch, of_sandbox, patch, result},
    within,
};
use sandshell::api::v1::{
    sample_service_client::SampleServiceClient, verification::State, verification_error, verification_result::Reason,
};
use std::{collections::HashSet, time::Duration};
use tonic::Code;

/// Tests that last until somebody ends them.
const ENDLESS: &str = r#"command = "echo begun; sleep 1000"
timeout = "1000s"
report = { format = "exit_code" }"#;

/// Tests that take their time.
const SLOW: &str = r#"command = "echo begun; sleep 1; . ./calc.sh; test $(div 6 3) = 2"
timeout = "100s"
report = { format = "exit_code" }"#;

crate::in_every_runtime!(tests_that_want_no_end_are_ended, each_state_can_be_cancelled);

fn over(verification: &str, format: &str) -> String {
    format!("command = \"\"\"{verification}\"\"\"\ntimeout = \"1s\"\nreport = {{ format = \"{format}\" }}")
}

/// Whether a sandbox of a verification is still there: what it runs, and what there is of it.
fn left(server: &Server) -> Vec<String> {
    let mut left = Vec::new();
    for kind in ["sandboxes", "run"] {
        let Ok(found) = std::fs::read_dir(server.data_dir().join(kind)) else { continue };
        left.extend(found.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    left.retain(|name| name.starts_with("sbx-"));
    left.sort();
    left.dedup();
    left
}

async fn tests_that_want_no_end_are_ended(on: Runtime) {
    let mark = format!("1{}", Dice::new().below(1_000_000_000));
    let hangs = over("trap '' INT TERM; echo begun; while :; do sleep 1; done", "tap");
    let forks = format!(
        "command = \"setsid sleep {mark} & (setsid sh -c 'sleep {mark}; rm -f /workspace/calc.sh' &) ; echo 1..1; echo ok 1\"\n\
         timeout = \"60s\"\nreport = {{ format = \"tap\" }}"
    );
    // 40 MB, of which a little is kept.
    let prints = "command = \"yes 0123456789012345678 | head -c 40000000; echo the end; exit 3\"\ntimeout = \"60s\"\n\
                  report = { format = \"exit_code\" }";
    let large = "command = \"head -c 20000000 /dev/zero >/tmp/report.xml\"\ntimeout = \"60s\"\n\
                 report = { format = \"junit\", path = \"/tmp/report.xml\" }";
    let entities = r#"command = """printf '<!DOCTYPE x [<!ENTITY a "b">]><testsuite><testcase name="&a;"/></testsuite>' >/tmp/report.xml"""
timeout = "60s"
report = { format = "junit", path = "/tmp/report.xml" }"#;
    let nothing = "command = \"true\"\ntimeout = \"60s\"\nreport = { format = \"junit\", path = \"/tmp/report.xml\" }";
    let lab = Lab::new(
        on,
        &[
            ("hangs", &hangs),
            ("forks", &forks),
            ("prints", prints),
            ("large", large),
            ("entities", entities),
            ("nothing", nothing),
        ],
    );
    for (sample, expected) in [
        ("hangs", Some(Reason::TimedOut)),
        ("forks", None),
        ("prints", Some(Reason::ExitCode)),
        ("large", Some(Reason::BadReport)),
        ("entities", Some(Reason::BadReport)),
        ("nothing", Some(Reason::NoReport)),
    ] {
        let sandbox = lab.sandbox(sample).await;
        let judged = lab.verify(&sandbox).await;
        expect_result(&judged, expected);
        let result = result(&judged);
        if sample == "prints" {
            assert!(result.stdout.len() < 300_000 && result.stdout.ends_with("the end\n") && result.stdout_truncated);
            assert_eq!((result.stdout_total_bytes, result.exit_code), (40_000_008, Some(3)));
        }
        sandbox.delete().await;
    }
    if on == Runtime::Linux {
        // The kernel knows all processes of all sandboxes.
        let processes = std::process::Command::new("pgrep").args(["-f", &format!("sleep {mark}")]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&processes.stdout), "");
        nothing_is_left(&lab).await;
    }
}

/// Waits until no sandbox is there any more.
async fn nothing_is_left(lab: &Lab) {
    crate::kit::within::until("all sandboxes to go", async || left(&lab.server).is_empty()).await;
}

async fn each_state_can_be_cancelled(on: Runtime) {
    let args = ["--max-verifications", "1"].map(str::to_owned).to_vec();
    let options = Options { args: [on.options().args, args].concat(), ..on.options() };
    let lab = Lab::with(on, &[("endless", ENDLESS), ("calc", HIDDEN)], options);
    let (sandbox, mut client) = (lab.sandbox("endless").await, lab.client().await);
    let running = client.start(of_sandbox(&sandbox)).await;
    let seen = client.follow(&running, |_, seen| seen.stdout == b"begun\n").await;
    assert_eq!(seen.states.last(), Some(&State::Running));
    let pending = client.start(of_sandbox(&sandbox)).await;
    let last = client.start(of_sandbox(&sandbox)).await;
    assert_eq!([&pending, &last].map(|one| one.state()), [State::Pending; 2]);
    for (verification, before) in [(&pending, State::Pending), (&running, State::Running)] {
        assert_eq!(client.get(&verification.verification_id).await.state(), before);
        let cancelled = client.cancel(&verification.verification_id).await;
        assert!(cancelled.state() == State::Cancelled && cancelled.end_time.is_some(), "{cancelled:?}");
        assert_eq!(client.end(verification).await, cancelled, "a final state never changes");
        assert_eq!(client.cancel(&verification.verification_id).await, cancelled);
    }
    // The one behind them has its turn, at any point of which it can be cancelled.
    client.follow(&last, |now, _| now.state() != State::Pending).await;
    assert_eq!(client.cancel(&last.verification_id).await.state(), State::Cancelled);
    let mut dice = Dice::new();
    for _ in 0..if on == Runtime::Linux { 12 } else { 3 } {
        let started = client.start(of_sandbox(&sandbox)).await;
        tokio::time::sleep(Duration::from_millis(dice.below(150))).await;
        assert_eq!(client.cancel(&started.verification_id).await.state(), State::Cancelled);
    }
    sandbox.delete().await;
    if on == Runtime::Linux {
        nothing_is_left(&lab).await;
    }
    // And others come to their end.
    let sandbox = lab.sandbox("calc").await;
    expect_result(&lab.verify(&sandbox).await, Some(Reason::TestsFailed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_killed_server_forgets_none() {
    let data = tempfile::tempdir().unwrap();
    let options = || Options { data_dir: Some(data.path().to_owned()), keep: true, ..Default::default() };
    let samples = [("slow", SLOW), ("calc", HIDDEN)];
    let mut lab = Lab::with(Runtime::Linux, &samples, options());
    let sandbox = lab.sandbox("slow").await;
    let mut dice = Dice::new();
    let (mut asked, mut patches) = (Vec::new(), Vec::new());
    let kills = std::env::var("SANDSHELL_TEST_VERIFICATION_KILLS").ok().and_then(|text| text.parse().ok());
    for kill in 0..kills.unwrap_or(6) {
        let mut client = lab.client().await;
        patches.push(client.start(of_patch("calc", &patch(RIGHT))).await.verification_id);
        let last = client.start(of_sandbox(&sandbox)).await;
        asked.push(last.verification_id.clone());
        // In each of the states that are not final, and at any point of it.
        let wanted = [State::Pending, State::Starting, State::Running][kill % 3];
        client.follow(&last, |now, _| now.state() as i32 >= wanted as i32).await;
        tokio::time::sleep(Duration::from_millis(dice.below(if wanted == State::Running { 1200 } else { 150 }))).await;
        lab = lab.crash_and_serve(options());
    }
    let mut client = lab.client().await;
    let mut attempts = 0;
    for id in asked.iter().chain(&patches) {
        let ended = client.end(&v1::Verification { verification_id: id.clone(), ..Default::default() }).await;
        expect_result(&ended, if patches.contains(id) { None } else { Some(Reason::ExitCode) });
        attempts = attempts.max(ended.attempt);
        assert_eq!(client.get(id).await, ended);
    }
    assert!(attempts > 1, "none was begun anew");
    // A server that is told to stop leaves its work to the next one, too.
    let id = client.start(of_sandbox(&sandbox)).await.verification_id;
    let started = v1::Verification { verification_id: id.clone(), ..Default::default() };
    client.follow(&started, |_, seen| seen.stdout == b"begun\n").await;
    let mut watch = client
        .0
        .watch_verification(v1::WatchVerificationRequest { verification_id: id, ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    crate::kit::host::signal(lab.server.pid(), libc::SIGTERM);
    let told = within("the end of a stream", async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream of a verification that is not over ended in order"),
                Err(status) => return status,
            }
        }
    });
    assert_eq!(told.await.code(), Code::Unavailable);
    lab = lab.crash_and_serve(options());
    let ended = lab.client().await.end(&started).await;
    expect_result(&ended, Some(Reason::ExitCode));
    sandbox.through(&lab.server).await.delete().await;
    nothing_is_left(&lab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_cannot_be_carried_out_says_why() {
    let args = ["--max-verifications", "1"].map(str::to_owned).to_vec();
    let lab =
        Lab::with(Runtime::Linux, &[("endless", ENDLESS), ("calc", HIDDEN)], Options { args, ..Options::default() });
    let mut client = lab.client().await;
    let sandbox = lab.sandbox("calc").await;
    let holding = client.start(of_patch("endless", "")).await;
    let waiting = client.start(of_sandbox(&sandbox)).await;
    sandbox.delete().await;
    client.cancel(&holding.verification_id).await;
    let gone = client.end(&waiting).await;
    let error = gone.error.clone().unwrap_or_default();
    assert_eq!((gone.state(), error.reason()), (State::Error, verification_error::Reason::SandboxGone), "{gone:?}");
    // Its files have changed while it waited: what it was asked for is not there any more.
    let holding = client.start(of_patch("endless", "")).await;
    let waiting = client.start(of_patch("calc", "")).await;
    let hidden = lab.files("calc").join("hidden/.verify/hidden.sh");
    std::fs::write(&hidden, std::fs::read_to_string(&hidden).unwrap() + "# changed\n").unwrap();
    let mut samples = SampleServiceClient::new(lab.server.connect().await.channel);
    within::until("the change to be seen", async || {
        let request = v1::GetSampleRequest { sample_id: "calc".into(), ..Default::default() };
        let sample = samples.get_sample(request).await.expect("it is there").into_inner();
        sample.fingerprint != waiting.sample_fingerprint
    })
    .await;
    client.cancel(&holding.verification_id).await;
    let changed = client.end(&waiting).await;
    let error = changed.error.clone().unwrap_or_default();
    let told = (changed.state(), error.reason());
    assert_eq!(told, (State::Error, verification_error::Reason::SampleChanged), "{changed:?}");
    // And as it is now, it is verified.
    expect_result(&lab.verify_patch("calc", &patch(RIGHT)).await, None);
    // What is wrong from the beginning is refused.
    let plain = crate::kit::create_sandbox(&lab.server, v1::CreateSandboxRequest::default()).await;
    for (request, code) in [
        (of_sandbox(&plain), Code::FailedPrecondition),
        (of_sandbox(&sandbox), Code::NotFound),
        (of_patch("none", ""), Code::NotFound),
        (v1::StartVerificationRequest { dataset: "none".into(), ..of_patch("calc", "") }, Code::NotFound),
    ] {
        let refused = client.0.start_verification(request.clone()).await.expect_err("refused");
        assert_eq!(refused.code(), code, "{request:?}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn twenty_at_once_agree() {
    let lab = Lab::new(Runtime::Linux, &[("calc", HIDDEN)]);
    let sandbox = lab.sandbox("calc").await;
    let (mut client, mut started) = (lab.client().await, Vec::new());
    for number in 0..20 {
        let request = if number % 2 == 0 { of_sandbox(&sandbox) } else { of_patch("calc", "") };
        started.push(client.start(request).await);
    }
    let mut told = HashSet::new();
    for one in &started {
        let ended = client.end(one).await;
        expect_result(&ended, Some(Reason::TestsFailed));
        let result = result(&ended);
        let tests: Vec<_> = result.tests.iter().map(|test| (test.name.clone(), test.outcome)).collect();
        told.insert((tests, result.passed, result.failed, result.stdout.clone(), result.message.clone()));
    }
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn they_are_the_tenants_own() {
    let data = tempfile::tempdir().unwrap();
    let (blue, red) = (make_key(data.path(), "blue"), make_key(data.path(), "red"));
    let lab = Lab::with(
        Runtime::Linux,
        &[("calc", HIDDEN)],
        Options { data_dir: Some(data.path().to_owned()), ..Options::default() },
    );
    let Verifier(mut client) = lab.client().await;
    let request_id = token();
    let request = || v1::StartVerificationRequest { request_id: request_id.clone(), ..of_patch("calc", "") };
    let mut ids = Vec::new();
    for key in [&blue, &blue, &red] {
        let answer = client.start_verification(keyed(request(), key)).await.expect("a verification");
        ids.push(answer.into_inner().verification_id);
    }
    assert!(ids[0] == ids[1] && ids[0] != ids[2], "{ids:?}");
    let other = v1::StartVerificationRequest { patch: patch(RIGHT), ..request() };
    let refused = client.start_verification(keyed(other, &blue)).await.expect_err("used for another");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for key in [&red, &blue] {
        let id = if *key == blue { &ids[2] } else { &ids[0] };
        let get = v1::GetVerificationRequest { verification_id: id.clone() };
        let cancel = v1::CancelVerificationRequest { verification_id: id.clone() };
        let watch = v1::WatchVerificationRequest { verification_id: id.clone(), ..Default::default() };
        for refused in [
            client.get_verification(keyed(get, key)).await.expect_err("another tenant's"),
            client.cancel_verification(keyed(cancel, key)).await.expect_err("another tenant's"),
            client.watch_verification(keyed(watch, key)).await.map(drop).expect_err("another tenant's"),
        ] {
            assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
        }
    }
    // Nobody sees the sandboxes that they run in.
    let sandboxes = lab.server.connect().await.sandboxes.list_sandboxes(keyed(Default::default(), &blue)).await;
    assert_eq!(sandboxes.expect("a list").into_inner().total_size, 0);
    // Pages, in the order in which they were asked for.
    for _ in 0..4 {
        let answer = client.start_verification(keyed(of_patch("calc", ""), &blue)).await.expect("a verification");
        ids.push(answer.into_inner().verification_id);
    }
    ids.drain(1..3);
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListVerificationsRequest { page_size: 2, page_token, ..Default::default() };
        let page = client.list_verifications(keyed(request, &blue)).await.expect("a page").into_inner();
        assert!(page.total_size == 5 && page.verifications.len() <= 2, "{page:?}");
        listed.extend(page.verifications.into_iter().map(|verification| verification.verification_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn they_can_be_in_a_shared_database() {
    let postgres = Postgres::start().await;
    let args = vec!["--database".to_owned(), postgres.url()];
    let lab = Lab::with(Runtime::Linux, &[("calc", HIDDEN)], Options { args, ..Options::default() });
    expect_result(&lab.verify_patch("calc", "").await, Some(Reason::TestsFailed));
    let right = lab.verify_patch("calc", &patch(RIGHT)).await;
    expect_result(&right, None);
    let mut client = lab.client().await;
    assert_eq!(client.get(&right.verification_id).await, right);
    let listed =
        client.0.list_verifications(v1::ListVerificationsRequest::default()).await.expect("a page").into_inner();
    assert_eq!(listed.total_size, 2);
    let log = lab.server.log();
    assert!(!log.contains("old verifications could not be removed"), "{log}");
}
