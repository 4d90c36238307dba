//! `CodeService`: code in a language, in a fresh process or in a context.

use crate::kit::{
    Runtime, Sandbox,
    code::{client, code, has_node, in_context, run, try_run},
    errors::{expect_bad_fields, expect_error},
    host, token, v1, within,
};
use prost_types::Duration;
use tonic::Code;
use v1::{RunCodeRequest, run_code_response::Response};

crate::in_every_runtime!(
    a_fresh_process_keeps_nothing,
    mistakes_are_told_as_the_language_tells_them,
    results_have_several_forms,
    what_is_printed_comes_before_the_end,
    its_input_is_empty,
    languages_without_contexts_run_too,
    what_is_wrong_with_a_request_is_named,
    a_context_belongs_to_the_user_of_its_first_call,
);

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

/// Code that is run for one user must not go on as another one because its interpreter has ended.
async fn a_context_belongs_to_the_user_of_its_first_call(on: Runtime) {
    let sandbox = on.sandbox().await;
    let by = |user: &str, text: &str| RunCodeRequest {
        context_id: "c".into(),
        user: user.into(),
        ..code(&sandbox, "python", text)
    };
    let who = "import os\nos.getuid()";
    assert_eq!(run(&sandbox, by("nobody", who)).await.value(), "65534");
    assert_eq!(run(&sandbox, by("", who)).await.value(), "65534");
    assert_eq!(run(&sandbox, by("", "os._exit(1)")).await.error().name, "InterpreterEnded");
    assert_eq!(run(&sandbox, by("", who)).await.value(), "65534");
    let refused = try_run(&sandbox, by("root", who)).await.expect_err("another user");
    expect_bad_fields(&refused, &["user"]);
    assert!(refused.message().contains("nobody"), "{refused:?}");
    assert_eq!(run(&sandbox, by("nobody", who)).await.value(), "65534");
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
    assert_eq!((first.value(), first.started.generation), ("41", 1), "{first:?}");
    let endless = RunCodeRequest {
        context_id: "j".into(),
        timeout: Some(Duration { seconds: 1, nanos: 0 }),
        ..code(&sandbox, "javascript", "while (true) {}")
    };
    let timed_out = run(&sandbox, endless).await;
    assert!(timed_out.done.timed_out && timed_out.error().name == "Interrupted", "{timed_out:?}");
    let later = in_context(&sandbox, "j", "js", "x + 1").await;
    assert_eq!((later.value(), later.started.generation), ("42", 1), "{later:?}");
}
