//! Code runs and ends as a program in a file does, whatever it changes.

use crate::kit::{
    self, Runtime, Sandbox,
    code::{Outcome, client, code, has_node, in_context as run},
    token, v1, within,
};
use prost_types::Duration;
use v1::RunCodeRequest;

crate::in_every_runtime!(
    a_fresh_process_does_what_it_does_at_its_end,
    a_fresh_process_has_its_own_exit_code,
    python_may_change_every_module,
    all_statements_of_a_piece_share_a_loop,
    an_interpreter_that_ends_unseen_is_told_of,
    a_deleted_context_ends_in_order,
    code_may_look_like_an_option
);

async fn run_for(sandbox: &Sandbox, context: &str, language: &str, text: &str, timeout: Option<Duration>) -> Outcome {
    let request = RunCodeRequest { context_id: context.into(), timeout, ..code(sandbox, language, text) };
    kit::code::run(sandbox, request).await
}

async fn a_fresh_process_does_what_it_does_at_its_end(on: Runtime) {
    let sandbox = on.sandbox().await;
    let text = "import atexit, threading, time
file = open('unclosed', 'w')
file.write('data')
atexit.register(print, 'last')
threading.Thread(target=lambda: (time.sleep(0.3), print('late'))).start()
print('first')
7";
    let outcome = run(&sandbox, "", "python", text).await;
    assert_eq!((outcome.value(), outcome.out().as_str(), outcome.done.exit_code), ("7", "first\nlate\nlast\n", 0));
    assert_eq!(run(&sandbox, "", "python", "open('unclosed').read()").await.value(), "'data'");
    // Its end is within its time too.
    let endless = "import threading, time\nthreading.Thread(target=lambda: time.sleep(1000)).start()\n8";
    let timeout = Some(Duration { seconds: 1, nanos: 0 });
    let outcome = run_for(&sandbox, "", "python", endless, timeout).await;
    assert!(outcome.done.timed_out && outcome.done.exit_code != 0, "{outcome:?}");
    if !has_node(on) {
        return;
    }
    let text = "setTimeout(() => console.log('late'), 300);
require('fs').readFile('unclosed', 'utf8', (_, text) => console.log(text));
process.on('exit', () => console.log('last'));
9";
    let outcome = run(&sandbox, "", "javascript", text).await;
    assert_eq!((outcome.value(), outcome.out().as_str(), outcome.done.exit_code), ("9", "data\nlate\nlast\n", 0));
    let outcome = run_for(&sandbox, "", "javascript", "setInterval(() => {}, 1000); 10", timeout).await;
    assert!(outcome.done.timed_out && outcome.done.exit_code != 0, "{outcome:?}");
    // What is waited for in vain ends as in Node itself.
    let outcome = run(&sandbox, "", "javascript", "await new Promise(() => {})").await;
    assert_eq!((outcome.named_error().0, outcome.done.exit_code), ("UnsettledAwait", 13));
}

async fn a_fresh_process_has_its_own_exit_code(on: Runtime) {
    let sandbox = on.sandbox().await;
    let test = "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertTrue(%)\nunittest.main()";
    let [passes, fails] = ["True", "False"].map(|holds| test.replace('%', holds));
    for (text, code) in [
        ("import sys; sys.exit(0)", 0),
        ("import sys; sys.exit()", 0),
        ("import sys; sys.exit(3)", 3),
        ("import os; os._exit(4)", 4),
        (&passes, 0),
        (&fails, 1),
    ] {
        let outcome = run(&sandbox, "", "python", text).await;
        assert_eq!((outcome.value(), outcome.done.exit_code), ("", code), "{text}: {outcome:?}");
    }
    let outcome = run(&sandbox, "", "python", "import sys; sys.exit('in words')").await;
    assert_eq!((outcome.value(), outcome.err().as_str(), outcome.done.exit_code), ("", "in words\n", 1));
    let outcome = run(&sandbox, "", "python", "1/0").await;
    assert_eq!((outcome.named_error().0, outcome.done.exit_code), ("ZeroDivisionError", 1));
    let outcome = run(&sandbox, "", "python", "display(1)\nimport os; os.kill(os.getpid(), 9)").await;
    assert_eq!(outcome.named_error(), ("InterpreterEnded", "the interpreter has ended (signal 9)"));
    assert_eq!((outcome.results.len(), outcome.done.exit_code), (1, 137), "{outcome:?}");
    if !has_node(on) {
        return;
    }
    for (text, code) in [("process.exit(3)", 3), ("process.exitCode = 4; undefined", 4)] {
        let outcome = run(&sandbox, "", "javascript", text).await;
        assert_eq!((outcome.value(), outcome.done.exit_code), ("", code), "{text}: {outcome:?}");
    }
    let late = "setTimeout(() => { throw new RangeError('late') }, 10); 1";
    let outcome = run(&sandbox, "", "javascript", late).await;
    assert_eq!((outcome.named_error(), outcome.done.exit_code), (("RangeError", "late"), 1));
    assert_eq!(outcome.results.len(), 1, "{outcome:?}");
}

async fn python_may_change_every_module(on: Runtime) {
    let sandbox = on.sandbox().await;
    let breaks = [
        "import json; json.dumps = json.loads = None",
        "import os; os.write = None",
        "import builtins; builtins.len = builtins.repr = None",
        "import sys; sys.stdout = None",
        "import __main__; __main__.__dict__['seen'] = 1",
        "sys.modules.clear()",
        "print = None",
    ];
    for text in breaks {
        assert_eq!(run(&sandbox, "p", "python", text).await.value(), "", "{text}");
        assert_eq!(run(&sandbox, "p", "python", "6 * 7").await.value(), "42", "after {text}");
        assert_eq!(run(&sandbox, "p", "python", "1/0").await.named_error(), ("ZeroDivisionError", "division by zero"));
    }
    assert_eq!(run(&sandbox, "p", "python", "seen").await.value(), "1");
    // Modules of the code's own, with names that the driver uses.
    let files = "import sys\nfor name in ('json', 'socket', 'ast'):\n    open(name + '.py', 'w').write('1/0')";
    assert_eq!(run(&sandbox, "", "python", files).await.value(), "");
    assert_eq!(run(&sandbox, "", "python", "6 * 7").await.value(), "42");
    let shown = "class Shown:\n    def _repr_mimebundle_(self, include, exclude): return {'text/plain': 'as text', 'text/html': '<b>'}\nShown()";
    let outcome = run(&sandbox, "", "python", shown).await;
    assert_eq!((outcome.value(), &outcome.results[0].data["text/html"][..]), ("as text", &b"<b>"[..]));
}

async fn all_statements_of_a_piece_share_a_loop(on: Runtime) {
    let sandbox = on.sandbox().await;
    let text = "import asyncio\ntask = asyncio.create_task(asyncio.sleep(0.05, 'slept'))\nawait task";
    for context in ["", "p"] {
        assert_eq!(run(&sandbox, context, "python", text).await.value(), "'slept'");
    }
    // A task lives on in the next piece.
    run(&sandbox, "p", "python", "task = asyncio.create_task(asyncio.sleep(0.05, 'later'))\nawait asyncio.sleep(0)")
        .await;
    assert_eq!(run(&sandbox, "p", "python", "await task").await.value(), "'later'");
    assert_eq!(run(&sandbox, "p", "python", "asyncio.run(asyncio.sleep(0, 'own'))").await.value(), "'own'");
    // What was interrupted does not go on in the next piece.
    let text = "n = 0\nwhile True:\n    await asyncio.sleep(0.001)\n    n += 1";
    let outcome = run_for(&sandbox, "p", "python", text, Some(Duration { seconds: 1, nanos: 0 })).await;
    assert_eq!(outcome.named_error().0, "KeyboardInterrupt", "{outcome:?}");
    let text = "before = n\nawait asyncio.sleep(0.05)\nn - before";
    assert_eq!(run(&sandbox, "p", "python", text).await.value(), "0");
    let outcome = run(&sandbox, "p", "python", "async def f():\n    1/0\nawait f()").await;
    let places: Vec<_> = outcome.errors[0].traceback.lines().filter(|line| line.contains("File ")).collect();
    assert!(places.len() == 2 && places.iter().all(|place| place.contains("<code ")), "{outcome:?}");
}

async fn an_interpreter_that_ends_unseen_is_told_of(on: Runtime) {
    let sandbox = on.sandbox().await;
    let outcome = run(&sandbox, "p", "python", "import os\nx = 1\nos.getpid()").await;
    assert_eq!(outcome.started.interpreter_ended, None);
    let request = v1::GetCommandRequest { command_id: outcome.started.command_id.clone() };
    let session = sandbox.session("").await;
    session.run(format!("kill -9 {}", outcome.value())).await.expect("", "", 0);
    within::until("the interpreter's end", async || {
        let known = sandbox.clients.sessions.clone().get_command(request.clone()).await.expect("known").into_inner();
        known.exited.is_some()
    })
    .await;
    let next = run(&sandbox, "p", "python", "x").await;
    let ended = next.started.interpreter_ended.clone().expect("it is told");
    assert_eq!((ended.name.as_str(), next.started.generation), ("InterpreterEnded", 2));
    assert!(ended.message.contains("(signal 9) while no code ran"), "{ended:?}");
    assert_eq!(next.named_error().0, "NameError");
    assert_eq!(run(&sandbox, "p", "python", "1").await.started.interpreter_ended, None, "it is told once");
    // What a call was told of is not told again.
    assert_eq!(run(&sandbox, "p", "python", "import os\nos._exit(3)").await.named_error().0, "InterpreterEnded");
    let next = run(&sandbox, "p", "python", "1").await;
    assert_eq!((next.started.interpreter_ended, next.started.generation), (None, 3));
}

async fn a_deleted_context_ends_in_order(on: Runtime) {
    let sandbox = on.sandbox().await;
    let delete = async |id: &str| {
        let request = v1::DeleteContextRequest { sandbox_id: sandbox.id.clone(), context_id: id.into() };
        within("a deletion", client(&sandbox.clients).delete_context(request)).await.expect("it was there");
    };
    let leaves = |name: &str| format!("import atexit\natexit.register(lambda: open('{name}', 'w').write('last'))\n");
    let read = async |name: &str| {
        let text = format!("open('{name}').read()");
        assert_eq!(run(&sandbox, "", "python", &text).await.value(), "'last'", "{name}");
    };
    run(&sandbox, "idle", "python", &leaves("idle")).await;
    delete("idle").await;
    read("idle").await;
    if has_node(on) {
        let text = "process.on('exit', () => require('fs').writeFileSync('node', 'last'))";
        run(&sandbox, "node", "javascript", text).await;
        delete("node").await;
        read("node").await;
    }
    // One in which code runs, and one that does not want to end.
    let deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n";
    for (id, before) in [("busy", leaves("busy")), ("deaf", deaf.to_owned())] {
        let text = format!("import time\n{before}open('{id}-runs', 'w').close()\nwhile True: time.sleep(1)");
        let running = run(&sandbox, id, "python", &text);
        let deleting = async {
            let text = format!("import os\nos.path.exists('{id}-runs')");
            within::until("code that runs", async || run(&sandbox, "", "python", &text).await.value() == "True").await;
            delete(id).await;
        };
        let (outcome, ()) = tokio::join!(running, deleting);
        assert_eq!((outcome.named_error().0, outcome.done.exit_code), ("InterpreterEnded", 1), "{outcome:?}");
        assert!(outcome.named_error().1.contains("its context was deleted") && !outcome.done.timed_out, "{outcome:?}");
        let request = v1::GetCommandRequest { command_id: outcome.started.command_id };
        let known = sandbox.clients.sessions.clone().get_command(request).await.expect("known").into_inner();
        assert!(known.exited.is_some(), "it has ended when the deletion returns: {known:?}");
    }
    read("busy").await;
}

async fn code_may_look_like_an_option(on: Runtime) {
    let sandbox = on.sandbox().await;
    for language in ["bash", "sh"] {
        for text in ["-x 2>/dev/null; echo ran", "+x 2>/dev/null; echo ran", "--help 2>/dev/null; echo ran"] {
            let outcome = run(&sandbox, "", language, text).await;
            assert_eq!(
                (outcome.out().as_str(), outcome.done.exit_code),
                ("ran\n", 0),
                "{language}: {text}: {outcome:?}"
            );
        }
    }
}

/// Names and prototypes that the driver would need.
#[tokio::test]
async fn javascript_may_change_every_name() {
    let sandbox = Runtime::Linux.sandbox().await;
    for text in [
        "process.stdout.write = () => true; console.log('captured')",
        "const process = {}",
        "let JSON = 5",
        "class Promise {}",
        "JSON.stringify = JSON.parse = null",
        "Array.prototype.map = Array.prototype[Symbol.iterator] = null",
        "Object.prototype.toJSON = () => { throw 1 }",
        "var Buffer = 1",
        "globalThis.Promise.prototype.then = null",
        "String.prototype.slice = RegExp.prototype.exec = RegExp.prototype.test = null",
        "process.stdout.cork()",
    ] {
        let context = token();
        let outcome = run(&sandbox, &context, "javascript", &format!("{text}\nundefined")).await;
        assert_eq!(outcome.value(), "", "{text}");
        assert_eq!(run(&sandbox, &context, "javascript", "6 * 7").await.value(), "42", "after {text}");
        let thrown = run(&sandbox, &context, "javascript", "throw new TypeError('no')").await;
        assert_eq!(thrown.named_error(), ("TypeError", "no"), "after {text}");
        if !text.contains("toJSON") {
            assert_eq!(run(&sandbox, &context, "javascript", "await 43").await.value(), "43", "after {text}");
        }
    }
}

/// As the consoles of browsers do.
#[tokio::test]
async fn javascript_declares_again_and_shows_what_is_its_own() {
    let sandbox = Runtime::Linux.sandbox().await;
    for (text, value) in [
        ("let x = 1; x", "1"),
        ("let x = 2; x", "2"),
        ("const y = 1; y", "1"),
        ("const y = 2; x + y", "4"),
        ("class A { name() { return 'a' } }", ""),
        ("class A { name() { return 'b' } }", ""),
        ("new A().name()", "b"),
        ("'\\ud800'", "\u{fffd}"),
        ("import('fs').then((fs) => typeof fs.readFileSync)", "function"),
    ] {
        assert_eq!(run(&sandbox, "j", "javascript", text).await.value(), value, "{text}");
    }
    assert_eq!(run(&sandbox, "j", "javascript", "throw 's'").await.named_error(), ("Error", "s"));
    // Endless code with declarations is interrupted too, and so is what waits; the next piece runs as ever.
    let timeout = Some(Duration { seconds: 1, nanos: 0 });
    for text in ["let z = 1; while (true);", "let z = 2; await new Promise(() => {})"] {
        let outcome = run_for(&sandbox, "j", "javascript", text, timeout).await;
        assert!(outcome.done.timed_out && outcome.named_error().0 == "Interrupted", "{outcome:?}");
        assert_eq!(run(&sandbox, "j", "javascript", "let w = await 5; w").await.value(), "5", "after {text}");
    }
    let text = "let q = 1;\nfunction g() { throw new TypeError('no') }\ng()";
    let traceback = &run(&sandbox, "j", "javascript", text).await.errors[0].traceback;
    assert!(traceback.contains("at g (code-") && traceback.ends_with(":3:1"), "{traceback}");
    let text = "Promise.reject(new RangeError('lost')); await new Promise((done) => setTimeout(done, 50))";
    let outcome = run(&sandbox, "j", "javascript", text).await;
    let own = |line: &str| line.contains("[eval]") || line.contains("node:");
    assert!(outcome.err().starts_with("RangeError: lost\n") && !outcome.err().lines().any(own), "{outcome:?}");
}

/// Compiled in a directory of its own, of which nothing is left.
#[tokio::test]
async fn go_is_compiled_and_run() {
    let sandbox = Runtime::Linux.sandbox().await;
    let text = "package main\nimport (\"fmt\"; \"os\")\nfunc main() { fmt.Println(\"hello\"); os.Exit(3) }";
    let outcome = run(&sandbox, "", "go", text).await;
    assert_eq!((outcome.out().as_str(), outcome.done.exit_code), ("hello\n", 3), "{outcome:?}");
    let outcome = run(&sandbox, "", "go", "package main\nfunc main() { x }").await;
    assert!(outcome.done.exit_code == 1 && outcome.err().contains("main.go:2:"), "{outcome:?}");
    assert_eq!(run(&sandbox, "", "sh", "ls -d ${TMPDIR:-/tmp}/tmp.* 2>/dev/null").await.out(), "");
}
