//! `CodeService`: code in a language, in a fresh process or in a context that keeps its variables.

use crate::kit::{Clients, Runtime, Sandbox, errors::expect_bad_fields, errors::expect_error, host, token, v1, within};
use prost_types::Duration;
use tonic::{Code, Status};
use v1::{CodeDone, CodeError, CodeResult, RunCodeRequest, code_service_client::CodeServiceClient};
use v1::{RunCodeResponse, Stream, run_code_response::Response};

crate::in_every_runtime!(
    a_context_keeps_its_variables,
    a_fresh_process_keeps_nothing,
    mistakes_are_told_as_the_language_tells_them,
    results_have_several_forms,
    what_is_printed_comes_before_the_end,
    its_input_is_empty,
    its_time_is_over_and_the_context_goes_on,
    an_interpreter_that_ends_is_followed_by_another,
    contexts_are_listed_and_deleted,
    languages_without_contexts_run_too,
    what_is_wrong_with_a_request_is_named,
    a_lost_call_interrupts_its_code
);

/// What came of a piece of code.
#[derive(Debug, Default)]
struct Outcome {
    command_id: String,
    generation: i64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    results: Vec<CodeResult>,
    errors: Vec<CodeError>,
    done: CodeDone,
}

impl Outcome {
    /// The value of the last expression.
    fn value(&self) -> &str {
        assert!(self.errors.is_empty(), "{self:?}");
        self.results.iter().find(|result| result.is_main).map_or("", |result| result.text.as_str())
    }

    fn error(&self) -> &CodeError {
        assert_eq!((self.errors.len(), self.done.exit_code), (1, 1), "{self:?}");
        &self.errors[0]
    }
}

/// The image of the Docker daemon has no Node; see [`javascript_runs_on_docker_once_node_is_there`].
fn has_node(on: Runtime) -> bool {
    on == Runtime::Linux
}

fn code(sandbox: &Sandbox, language: &str, code: &str) -> RunCodeRequest {
    RunCodeRequest {
        sandbox_id: sandbox.id.clone(),
        language: language.into(),
        code: code.into(),
        ..Default::default()
    }
}

fn client(clients: &Clients) -> CodeServiceClient<tonic::transport::Channel> {
    CodeServiceClient::new(clients.channel.clone()).max_decoding_message_size(32 << 20)
}

async fn run(sandbox: &Sandbox, request: RunCodeRequest) -> Outcome {
    let shown: String = request.code.chars().take(200).collect();
    try_run(sandbox, request).await.unwrap_or_else(|e| panic!("{shown}: {e:?}"))
}

async fn try_run(sandbox: &Sandbox, request: RunCodeRequest) -> Result<Outcome, Status> {
    within("the end of code", async {
        let mut stream = client(&sandbox.clients).run_code(request).await?.into_inner();
        let mut outcome = Outcome::default();
        let mut is_done = false;
        while let Some(RunCodeResponse { response }) = stream.message().await? {
            assert!(!is_done, "nothing follows `done`: {response:?}");
            match response.expect("something") {
                Response::Started(started) => {
                    assert!(outcome.command_id.is_empty(), "it starts once");
                    (outcome.command_id, outcome.generation) = (started.command_id, started.generation);
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

async fn in_context(sandbox: &Sandbox, context: &str, language: &str, text: &str) -> Outcome {
    run(sandbox, RunCodeRequest { context_id: context.into(), ..code(sandbox, language, text) }).await
}

async fn a_context_keeps_its_variables(on: Runtime) {
    let sandbox = on.sandbox().await;
    let one = in_context(&sandbox, "p", "python", "x = 41\ndef f():\n    return x\nprint('hello')").await;
    assert_eq!((one.stdout.as_slice(), one.value(), one.generation), (&b"hello\n"[..], "", 1), "{one:?}");
    assert_eq!(in_context(&sandbox, "p", "py", "x += 1\nf()").await.value(), "42");
    assert_eq!(in_context(&sandbox, "p", "python", "_ * 2").await.value(), "84");
    assert_eq!(in_context(&sandbox, "other", "python", "'x' in globals()").await.value(), "False");
    assert_eq!(
        in_context(&sandbox, "p", "python", "import asyncio\nawait asyncio.sleep(0, 'late')").await.value(),
        "'late'"
    );
    if has_node(on) {
        in_context(&sandbox, "j", "javascript", "const x = 41; function f() { return x }; console.log('hello')").await;
        assert_eq!(in_context(&sandbox, "j", "js", "f() + 1").await.value(), "42");
        assert_eq!(
            in_context(&sandbox, "j", "js", "await new Promise(r => setTimeout(() => r('late'), 5))").await.value(),
            "late"
        );
        for (text, value) in [
            ("const a = await 5; a + 1", "6"),
            ("a", "5"),
            ("let s = 1; await 0; s", "1"),
            ("await (async () => [s])()", "[ 1 ]"),
            ("await 1; undefined", ""),
        ] {
            assert_eq!(in_context(&sandbox, "j", "js", text).await.value(), value, "{text}");
        }
    }
    // A process that the code forks is no second interpreter.
    in_context(
        &sandbox,
        "p",
        "python",
        "import os
v = 0
child = os.fork()",
    )
    .await;
    for round in 1..10 {
        let outcome = in_context(
            &sandbox,
            "p",
            "python",
            "v += 1
(v, child > 0)",
        )
        .await;
        assert_eq!(outcome.value(), format!("({round}, True)"));
    }
    // Many calls at one time have their turns.
    in_context(&sandbox, "p", "python", "n = 0").await;
    let calls = (0..10).map(|_| in_context(&sandbox, "p", "python", "import time\nm = n\ntime.sleep(0.01)\nn = m + 1"));
    futures_util::future::join_all(calls).await;
    assert_eq!(in_context(&sandbox, "p", "python", "n").await.value(), "10");
}

async fn a_fresh_process_keeps_nothing(on: Runtime) {
    let sandbox = on.sandbox().await;
    for (language, define, ask, answer) in
        [("python", "x = 1\nx", "'x' in globals()", "False"), ("javascript", "var x = 1; x", "typeof x", "undefined")]
    {
        if language == "javascript" && !has_node(on) {
            continue;
        }
        assert_eq!(run(&sandbox, code(&sandbox, language, define)).await.value(), "1");
        assert_eq!(run(&sandbox, code(&sandbox, language, ask)).await.value(), answer);
    }
    let request = RunCodeRequest {
        env: [("GREETING".to_owned(), "hi".to_owned())].into(),
        working_directory: "/usr".into(),
        user: "nobody".into(),
        ..code(&sandbox, "python", "import os, getpass\n(os.environ['GREETING'], os.getcwd(), os.getuid())")
    };
    assert_eq!(run(&sandbox, request).await.value(), "('hi', '/usr', 65534)");
    // What it has started ends with it.
    let word = token();
    let started = format!("import subprocess\nsubprocess.Popen(['sh', '-c', 'sleep 10000; :', '{word}'])\n1");
    assert_eq!(run(&sandbox, code(&sandbox, "python", &started)).await.value(), "1");
    within::until("the end of what it started", async || host::with_argument(&word).is_empty()).await;
}

async fn mistakes_are_told_as_the_language_tells_them(on: Runtime) {
    let sandbox = on.sandbox().await;
    let text = "def f():\n    raise ValueError('no\\nway')\nf()";
    let outcome = in_context(&sandbox, "p", "python", text).await;
    let error = outcome.error();
    assert_eq!((error.name.as_str(), error.message.as_str()), ("ValueError", "no\nway"));
    let lines: Vec<_> = error.traceback.lines().map(str::trim).collect();
    assert_eq!(lines.first(), Some(&"Traceback (most recent call last):"), "{error:?}");
    assert!(lines.contains(&"raise ValueError('no\\nway')") && !error.traceback.contains("<string>"), "{error:?}");
    assert_eq!(in_context(&sandbox, "p", "python", "for").await.error().name, "SyntaxError");
    assert_eq!(in_context(&sandbox, "p", "python", "exit(3)").await.error().name, "SystemExit");
    assert_eq!(in_context(&sandbox, "p", "python", "'alive'").await.value(), "'alive'");
    if has_node(on) {
        let outcome = in_context(&sandbox, "j", "javascript", "function g() { throw new TypeError('no') }\ng()").await;
        let error = outcome.error();
        assert_eq!((error.name.as_str(), error.message.as_str()), ("TypeError", "no"));
        assert!(error.traceback.contains("at g (code-1.js:1:") && !error.traceback.contains("[eval]"), "{error:?}");
        assert_eq!(in_context(&sandbox, "j", "javascript", "for(").await.error().name, "SyntaxError");
        assert_eq!(
            in_context(&sandbox, "j", "javascript", "await Promise.reject(new RangeError('x'))").await.error().name,
            "RangeError"
        );
        assert_eq!(in_context(&sandbox, "j", "javascript", "'alive'").await.value(), "alive");
    }
}

async fn results_have_several_forms(on: Runtime) {
    let sandbox = on.sandbox().await;
    let shown = "class Table:\n    def _repr_html_(self): return '<table>'\n    def _repr_png_(self): return b'\\x89PNG'\n    \
                 def __repr__(self): return 'a table'\ndisplay(1, Table())\nTable()";
    let outcome = run(&sandbox, code(&sandbox, "python", shown)).await;
    assert_eq!((outcome.value(), outcome.results.len()), ("a table", 3), "{outcome:?}");
    for result in &outcome.results[1..] {
        assert_eq!((&result.data["text/html"][..], &result.data["image/png"][..]), (&b"<table>"[..], &b"\x89PNG"[..]));
    }
    assert_eq!(outcome.results[0].text, "1");
    // What is too large is named, and text is cut.
    let large = "class Large:\n    def _repr_html_(self): return 'x' * (3 << 20)\n    def __repr__(self): return 'y' * (3 << 20)\nLarge()";
    let outcome = run(&sandbox, code(&sandbox, "python", large)).await;
    let result = &outcome.results[0];
    assert_eq!(
        (result.text.len(), result.left_out.clone()),
        (2 << 20, vec!["text/html".to_owned(), "text/plain".into()])
    );
    if has_node(on) {
        let outcome = run(&sandbox, code(&sandbox, "javascript", "({ a: [1, 2] })")).await;
        assert_eq!(&outcome.results[0].data["application/json"][..], br#"{"a":[1,2]}"#);
    }
}

/// By the host's own library, which no image of the tests has.
#[tokio::test]
async fn a_figure_is_a_picture() {
    let sandbox = Runtime::Linux.sandbox().await;
    let draw = "import matplotlib.pyplot as plt\n_ = plt.plot([1, 4, 9])";
    let outcome = in_context(&sandbox, "p", "python", draw).await;
    let [figure] = &outcome.results[..] else { panic!("{outcome:?}") };
    assert!(figure.data["image/png"].starts_with(b"\x89PNG\r\n\x1a\n") && !figure.is_main, "{outcome:?}");
    // It was shown, and is not shown again.
    let outcome = in_context(&sandbox, "p", "python", "plt.get_backend().lower()").await;
    assert_eq!((outcome.value(), outcome.results.len()), ("'agg'", 1), "{outcome:?}");
}

async fn what_is_printed_comes_before_the_end(on: Runtime) {
    let sandbox = on.sandbox().await;
    for round in 0..20 {
        let text =
            format!("import os, sys\nprint('{round}')\nprint('e', file=sys.stderr)\nos.system('echo sub')\nNone");
        let outcome = in_context(&sandbox, "p", "python", &text).await;
        let stdout = String::from_utf8_lossy(&outcome.stdout).into_owned();
        assert_eq!((stdout, outcome.stderr.as_slice()), (format!("{round}\nsub\n"), &b"e\n"[..]), "{outcome:?}");
    }
    if has_node(on) {
        for _ in 0..5 {
            let outcome = run(&sandbox, code(&sandbox, "js", "console.log('a'.repeat(1_000_000))")).await;
            assert_eq!((outcome.stdout.len(), outcome.done.exit_code), (1_000_001, 0));
        }
    }
    // As it is printed.
    let mut clients = client(&sandbox.clients);
    let slow = clients.run_code(code(&sandbox, "python", "print('first')\nimport time\ntime.sleep(1000)"));
    let mut stream = within("a start", slow).await.expect("it runs").into_inner();
    within("the first line", async {
        loop {
            let message = stream.message().await.expect("a message").expect("more");
            if let Some(Response::Output(output)) = message.response {
                assert_eq!(&output.data[..], b"first\n");
                break;
            }
        }
    })
    .await;
    drop(stream);
    // A lot of it.
    let much = "import sys\nfor _ in range(100): sys.stdout.write('x' * 1000000)";
    let outcome = in_context(&sandbox, "p", "python", much).await;
    assert!(
        outcome.stdout.len() == 100_000_000 && outcome.stdout.iter().all(|byte| *byte == b'x'),
        "{}",
        outcome.stdout.len()
    );
    assert_eq!(in_context(&sandbox, "p", "python", "'alive'").await.value(), "'alive'");
}

async fn its_input_is_empty(on: Runtime) {
    let sandbox = on.sandbox().await;
    assert_eq!(in_context(&sandbox, "p", "python", "input()").await.error().name, "EOFError");
    if has_node(on) {
        assert_eq!(in_context(&sandbox, "j", "js", "require('fs').readFileSync(0, 'utf8')").await.value(), "");
    }
    assert_eq!(run(&sandbox, code(&sandbox, "bash", "cat; echo over")).await.stdout, b"over\n");
}

async fn its_time_is_over_and_the_context_goes_on(on: Runtime) {
    let sandbox = on.sandbox().await;
    let timeout = Some(Duration { seconds: 0, nanos: 300_000_000 });
    for (context, language, before, endless, name, ask) in [
        ("p", "python", "x = 1", "while True: pass", "KeyboardInterrupt", "x"),
        ("p", "python", "x = 1", "import time; time.sleep(1000)", "KeyboardInterrupt", "x"),
        ("j", "javascript", "var x = 1", "while (true);", "Interrupted", "x"),
        ("j", "javascript", "var x = 1", "await new Promise(() => {})", "Interrupted", "x"),
    ] {
        if language == "javascript" && !has_node(on) {
            continue;
        }
        in_context(&sandbox, context, language, before).await;
        let request = RunCodeRequest { context_id: context.into(), timeout, ..code(&sandbox, language, endless) };
        let outcome = run(&sandbox, request).await;
        assert!(outcome.done.timed_out && outcome.error().name == name, "{outcome:?}");
        let after = in_context(&sandbox, context, language, ask).await;
        assert_eq!((after.value(), after.generation), ("1", 1));
    }
    // Code that will not be interrupted costs its interpreter.
    let deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass";
    let request = RunCodeRequest { context_id: "p".into(), timeout, ..code(&sandbox, "python", deaf) };
    let outcome = run(&sandbox, request).await;
    assert!(outcome.done.timed_out && outcome.error().name == "InterpreterEnded", "{outcome:?}");
    assert_eq!(in_context(&sandbox, "p", "python", "1").await.generation, 2);
    let fresh = run(&sandbox, RunCodeRequest { timeout, ..code(&sandbox, "bash", "sleep 1000") }).await;
    assert!(fresh.done.timed_out && fresh.done.exit_code != 0, "{fresh:?}");
}

async fn an_interpreter_that_ends_is_followed_by_another(on: Runtime) {
    let sandbox = on.sandbox().await;
    in_context(&sandbox, "p", "python", "x = 1").await;
    let ended = in_context(&sandbox, "p", "python", "import os\nprint('last')\nos._exit(3)").await;
    assert_eq!(ended.error().name, "InterpreterEnded");
    assert!(ended.error().message.contains("exit code 3") && ended.stdout == b"last\n", "{ended:?}");
    let next = in_context(&sandbox, "p", "python", "'x' in globals()").await;
    assert_eq!((next.value(), next.generation), ("False", 2));
    // Killed by somebody in a session, while it waits.
    let pid = in_context(&sandbox, "p", "python", "import os\nos.getpid()").await.value().to_owned();
    let session = sandbox.session("").await;
    session.run(format!("kill -9 {pid}")).await.expect("", "", 0);
    within::until("the interpreter's end", async || host_says_gone(&session, &pid).await).await;
    let next = in_context(&sandbox, "p", "python", "1 + 1").await;
    assert_eq!((next.value(), next.generation), ("2", 3));
    // And while it runs.
    let killed = in_context(&sandbox, "p", "python", "import os\nos.kill(os.getpid(), 9)").await;
    assert!(killed.error().message.contains("signal 9"), "{killed:?}");
}

async fn host_says_gone(session: &crate::kit::Session, pid: &str) -> bool {
    session.run(format!("kill -0 {pid} 2>/dev/null")).await.exit_code() != 0
}

async fn contexts_are_listed_and_deleted(on: Runtime) {
    let sandbox = on.sandbox().await;
    let list = async || {
        let request = v1::ListContextsRequest { sandbox_id: sandbox.id.clone() };
        within("a list", client(&sandbox.clients).list_contexts(request)).await.expect("a list").into_inner().contexts
    };
    assert_eq!(list().await, []);
    in_context(&sandbox, "b", "python", "1").await;
    let other = if has_node(on) { "javascript" } else { "python" };
    let told = in_context(&sandbox, "a", other, "1").await;
    let all = list().await;
    let names: Vec<_> = all.iter().map(|context| (context.context_id.as_str(), context.language.as_str())).collect();
    assert_eq!(names, [("a", other), ("b", "python")]);
    assert!(all[0].command_id == told.command_id && all[0].generation == 1 && !all[0].busy, "{all:?}");
    let delete = async |id: &str| {
        let request = v1::DeleteContextRequest { sandbox_id: sandbox.id.clone(), context_id: id.into() };
        within("a deletion", client(&sandbox.clients).delete_context(request)).await
    };
    delete("a").await.expect("it was there");
    expect_error(&delete("a").await.expect_err("it is gone"), Code::NotFound, "CONTEXT_NOT_FOUND");
    assert_eq!(list().await.len(), 1);
    let request = v1::GetCommandRequest { command_id: told.command_id };
    within::until("the end of the interpreter", async || {
        let known = sandbox.clients.sessions.clone().get_command(request.clone()).await.expect("known").into_inner();
        known.exited.is_some()
    })
    .await;
    // One in which code runs.
    let running = in_context(&sandbox, "b", "python", "import time\ntime.sleep(1000)");
    let deleting = async {
        within::until("code that runs", async || list().await.iter().any(|context| context.busy)).await;
        delete("b").await.expect("it was there");
    };
    let (outcome, ()) = tokio::join!(running, deleting);
    assert_eq!(outcome.error().name, "InterpreterEnded");
    assert_eq!(in_context(&sandbox, "b", "python", "1").await.generation, 1, "it is another context");
}

async fn languages_without_contexts_run_too(on: Runtime) {
    let sandbox = on.sandbox().await;
    let outcome = run(&sandbox, code(&sandbox, "bash", "a=(1 2); echo ${a[1]}; echo e >&2; exit 7")).await;
    assert_eq!(
        (outcome.stdout.as_slice(), outcome.stderr.as_slice(), outcome.done.exit_code),
        (&b"2\n"[..], &b"e\n"[..], 7)
    );
    let outcome = run(&sandbox, code(&sandbox, "perl", "print 6*7")).await;
    assert_eq!((outcome.stdout.as_slice(), outcome.done.exit_code), (&b"42"[..], 0));
    let request = v1::ListLanguagesRequest { sandbox_id: sandbox.id.clone() };
    let listed = client(&sandbox.clients).list_languages(request).await.expect("a list").into_inner().languages;
    let of = |name: &str| listed.iter().find(|language| language.name == name).expect("known");
    assert!(of("python").program.ends_with("/python3") && of("python").keeps_contexts, "{listed:?}");
    assert!(of("bash").program.ends_with("/bash") && !of("bash").keeps_contexts, "{listed:?}");
    for absent in listed.iter().filter(|language| language.program.is_empty()) {
        let refused = try_run(&sandbox, code(&sandbox, &absent.name, "1")).await.expect_err("it is not there");
        expect_error(&refused, Code::FailedPrecondition, "LANGUAGE_NOT_INSTALLED");
    }
    assert!(listed.iter().any(|language| language.program.is_empty()), "a host with all of them shows nothing here");
}

async fn what_is_wrong_with_a_request_is_named(on: Runtime) {
    let sandbox = on.sandbox().await;
    let refused = async |request: RunCodeRequest, fields: &[&str]| {
        expect_bad_fields(&try_run(&sandbox, request).await.expect_err("wrong"), fields);
    };
    refused(code(&sandbox, "cobol", "1"), &["language"]).await;
    refused(code(&sandbox, "", "1"), &["language"]).await;
    refused(code(&sandbox, "bash", &"x".repeat(128 << 10)), &["code"]).await;
    refused(code(&sandbox, "python", &"x".repeat((1 << 20) + 1)), &["code"]).await;
    let plain = || code(&sandbox, "python", "1");
    refused(RunCodeRequest { context_id: "c".into(), ..code(&sandbox, "bash", "1") }, &["context_id"]).await;
    refused(RunCodeRequest { user: "nosuch".into(), ..plain() }, &["user"]).await;
    refused(RunCodeRequest { working_directory: "/nosuch".into(), ..plain() }, &["working_directory"]).await;
    in_context(&sandbox, "p", "python", "1").await;
    refused(RunCodeRequest { context_id: "p".into(), ..code(&sandbox, "js", "1") }, &["language"]).await;
    // A context that could not start is none.
    refused(RunCodeRequest { context_id: "n".into(), user: "nosuch".into(), ..plain() }, &["user"]).await;
    let request = v1::ListContextsRequest { sandbox_id: sandbox.id.clone() };
    let left = client(&sandbox.clients).list_contexts(request).await.expect("a list").into_inner().contexts;
    assert_eq!(left.len(), 1, "{left:?}");
    // As much as may be.
    let long = format!("x = '{}'\nlen(x)", "x".repeat((1 << 20) - 20));
    assert_eq!(run(&sandbox, code(&sandbox, "python", &long)).await.value(), ((1 << 20) - 20).to_string());
}

async fn a_lost_call_interrupts_its_code(on: Runtime) {
    let sandbox = on.sandbox().await;
    in_context(&sandbox, "p", "python", "x = 1").await;
    let mut clients = client(&sandbox.clients);
    let request =
        RunCodeRequest { context_id: "p".into(), ..code(&sandbox, "python", "print('on')\nwhile True: pass") };
    let mut stream = within("a start", clients.run_code(request)).await.expect("it runs").into_inner();
    within("output", async {
        while !matches!(
            stream.message().await.expect("a message"),
            Some(RunCodeResponse { response: Some(Response::Output(_)) })
        ) {}
    })
    .await;
    drop(stream);
    let after = in_context(&sandbox, "p", "python", "x").await;
    assert_eq!((after.value(), after.generation), ("1", 1));
    let word = token();
    let stream = within("a start", clients.run_code(code(&sandbox, "bash", &format!("sh -c 'sleep 10000; :' {word}"))));
    let stream = stream.await.expect("it runs").into_inner();
    within::until("a program", async || !host::with_argument(&word).is_empty()).await;
    drop(stream);
    within::until("its end", async || host::with_argument(&word).is_empty()).await;
}

/// Each is an interpreter of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hundred_contexts_mix_nothing() {
    let sandbox = Runtime::Linux.sandbox().await;
    for start in (0..100).step_by(10) {
        let some = (start..start + 10).map(|n| (format!("c{n}"), format!("x = {n}")));
        let some: Vec<_> = some.collect();
        futures_util::future::join_all(some.iter().map(|(id, text)| in_context(&sandbox, id, "python", text))).await;
    }
    for n in 0..100 {
        assert_eq!(in_context(&sandbox, &format!("c{n}"), "python", "x").await.value(), n.to_string());
    }
}

/// `sandshell code`, for people and for machines.
#[test]
fn the_command_line_runs_code() {
    use crate::kit::cli::{prints, sandshell};
    assert_eq!(prints(&["code", "print('hello')\n6 * 7"]), "hello\n42\n");
    assert_eq!(prints(&["code", "-l", "bash", "echo $((6 * 7))"]), "42\n");
    let output = sandshell(&["code", "1/0"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).ends_with("ZeroDivisionError: division by zero\n"), "{output:?}");
    let lines = prints(&["code", "--json", "print('hello')\n6 * 7"]);
    let told: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(told[1]["output"]["text"], "hello\n", "{lines}");
    assert_eq!((&told[2]["result"]["text"], &told[3]["done"]["exit_code"]), (&"42".into(), &0.into()), "{lines}");
}

/// Brings this host's Node into a sandbox whose image has none, and the libraries that it needs and that are not there.
async fn bring_node(sandbox: &Sandbox) {
    let libraries = std::process::Command::new("ldd").arg("/usr/bin/node").output().expect("ldd");
    let libraries = String::from_utf8(libraries.stdout).expect("text");
    let paths = libraries.split_whitespace().filter(|word| word.starts_with('/')).chain(["/usr/bin/node"]);
    let mut archive = tar::Builder::new(Vec::new());
    for path in paths {
        if sandbox.stat(path).await.is_ok() {
            continue;
        }
        // The directory of a library may be a link, which an archive may not lead through; a link to the library itself is followed.
        let (directory, name) = path.rsplit_once('/').expect("an absolute path");
        let directory = std::fs::canonicalize(if directory.is_empty() { "/" } else { directory }).expect("a directory");
        let inside = directory.join(name);
        archive.append_path_with_name(path, inside.strip_prefix("/").expect("absolute")).expect("an entry");
    }
    let archive = archive.into_inner().expect("an archive");
    within("Node on its way", sandbox.import(sandbox.open_import("/"), &archive)).await.expect("Node");
}

#[tokio::test]
async fn javascript_runs_on_docker_once_node_is_there() {
    let sandbox = Runtime::Docker.sandbox().await;
    let refused = try_run(&sandbox, code(&sandbox, "javascript", "1")).await.unwrap_err();
    expect_error(&refused, Code::FailedPrecondition, "LANGUAGE_NOT_INSTALLED");
    bring_node(&sandbox).await;
    // A fresh process.
    let fresh = run(&sandbox, code(&sandbox, "javascript", "console.log('hello'); 6 * 7")).await;
    assert_eq!((fresh.stdout.as_slice(), fresh.value()), (&b"hello\n"[..], "42"), "{fresh:?}");
    let mistaken = run(&sandbox, code(&sandbox, "javascript", "null.x")).await;
    assert_eq!(mistaken.error().name, "TypeError", "{mistaken:?}");
    // A context keeps its variables, also when its time is over.
    let first = in_context(&sandbox, "j", "javascript", "let x = 41; await 0; x").await;
    assert_eq!((first.value(), first.generation), ("41", 1), "{first:?}");
    let endless = RunCodeRequest {
        context_id: "j".into(),
        timeout: Some(Duration { seconds: 1, nanos: 0 }),
        ..code(&sandbox, "javascript", "while (true) {}")
    };
    let timed_out = run(&sandbox, endless).await;
    assert!(timed_out.done.timed_out && timed_out.error().name == "Interrupted", "{timed_out:?}");
    let later = in_context(&sandbox, "j", "js", "x + 1").await;
    assert_eq!((later.value(), later.generation), ("42", 1), "{later:?}");
}
