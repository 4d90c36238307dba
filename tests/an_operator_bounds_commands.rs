//! A server may have a longest run time for commands whose clients say nothing of one, and each command tells what applied.

use crate::kit::{Options, Runtime, Server, create_sandbox, v1, within};
use prost_types::Duration;
use v1::{ExecStart, GetCommandRequest, exited::Reason};

crate::in_every_runtime!(the_default_ends_what_has_no_limit, without_a_default_only_the_client_limits);

const SECOND: Option<Duration> = Some(Duration { seconds: 1, nanos: 0 });
const LONGEST: Option<Duration> = Some(Duration { seconds: 30 * 86_400, nanos: 0 });

async fn the_default_ends_what_has_no_limit(on: Runtime) {
    let mut options = on.options();
    options.args.extend(["--default-command-timeout".to_owned(), "1s".to_owned()]);
    let server = Server::start(options);
    let sandbox = create_sandbox(&server, on.request()).await;
    let s = sandbox.session("").await;
    let ended = s.run("sleep 1000").await;
    assert_eq!((ended.reason(), ended.exited.timeout), (Reason::TimedOut, SECOND), "{ended:?}");
    let ended = s.exec_text("sleep 1000").await.finish().await;
    assert_eq!((ended.reason(), ended.exited.timeout), (Reason::TimedOut, SECOND), "{ended:?}");
    assert_eq!(sandbox.run("sleep 1000").await.reason(), Reason::TimedOut);
    assert_eq!(s.run("true").await.exited.timeout, SECOND);
    // Code is no exception.
    for (timeout, times_out) in [(None, true), (LONGEST, false)] {
        let (sandbox_id, code) = (sandbox.id.clone(), "sleep 2".to_owned());
        let request = v1::RunCodeRequest { sandbox_id, language: "sh".into(), code, timeout, ..Default::default() };
        let mut client = v1::code_service_client::CodeServiceClient::new(sandbox.clients.channel.clone());
        let mut told = client.run_code(request).await.expect("it runs").into_inner();
        let mut done = None;
        while let Some(message) = within("its end", told.message()).await.expect("its end") {
            if let Some(v1::run_code_response::Response::Done(how)) = message.response {
                done = Some(how);
            }
        }
        assert_eq!(done.expect("it is over").timed_out, times_out);
    }
    // The client's own goes before it, and the longest is as good as none.
    let own = s.exec(ExecStart { timeout: LONGEST, ..s.start("sleep 2; echo slept") }).await;
    let request = GetCommandRequest { command_id: own.got.command_id.clone() };
    let described = sandbox.clients.sessions.clone().get_command(request).await.expect("a command").into_inner();
    assert_eq!(described.timeout, LONGEST);
    let own = own.finish().await;
    own.expect("slept\n", "", 0);
    assert_eq!(own.exited.timeout, LONGEST);
}

async fn without_a_default_only_the_client_limits(on: Runtime) {
    let sandbox = on.sandbox().await;
    let s = sandbox.session("").await;
    assert_eq!(s.run("true").await.exited.timeout, None);
    let got = s.run_start(ExecStart { timeout: SECOND, ..s.start("true") }, b"").await;
    assert_eq!((got.reason(), got.exited.timeout), (Reason::Exited, SECOND));
}

#[test]
fn it_is_an_option_like_the_others() {
    for (args, env, wrong) in [
        (vec!["--default-command-timeout", "31d"], None, "30d"),
        (vec!["--default-command-timeout", "0s"], None, "0s"),
        (vec![], Some("soon"), "soon"),
    ] {
        let options = Options {
            args: args.into_iter().map(str::to_owned).collect(),
            env: env
                .map(|value| ("SANDSHELL_DEFAULT_COMMAND_TIMEOUT".to_owned(), value.to_owned()))
                .into_iter()
                .collect(),
            ..Options::default()
        };
        let Err((_, said)) = Server::try_start(options) else { panic!("a server in spite of {wrong}") };
        assert!(said.contains(wrong), "{said}");
    }
}
