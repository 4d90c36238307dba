//! A context of code keeps its variables, whatever ends in it, until it is deleted.

use crate::kit::{
    Runtime,
    code::{client, code, has_node, in_context, run},
    errors::expect_error,
    host, token, v1, within,
};
use prost_types::Duration;
use tonic::Code;
use v1::{RunCodeRequest, RunCodeResponse, run_code_response::Response};

crate::in_every_runtime!(
    a_context_keeps_its_variables,
    its_time_is_over_and_the_context_goes_on,
    an_interpreter_that_ends_is_followed_by_another,
    contexts_are_listed_and_deleted,
    a_lost_call_interrupts_its_code,
);

async fn a_context_keeps_its_variables(on: Runtime) {
    let sandbox = on.sandbox().await;
    let one = in_context(&sandbox, "p", "python", "x = 41\ndef f():\n    return x\nprint('hello')").await;
    assert_eq!((one.stdout.as_slice(), one.value(), one.started.generation), (&b"hello\n"[..], "", 1), "{one:?}");
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
        assert_eq!((after.value(), after.started.generation), ("1", 1));
    }
    // Code that will not be interrupted costs its interpreter.
    let deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass";
    let request = RunCodeRequest { context_id: "p".into(), timeout, ..code(&sandbox, "python", deaf) };
    let outcome = run(&sandbox, request).await;
    assert!(outcome.done.timed_out && outcome.error().name == "InterpreterEnded", "{outcome:?}");
    assert_eq!(in_context(&sandbox, "p", "python", "1").await.started.generation, 2);
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
    assert_eq!((next.value(), next.started.generation), ("False", 2));
    // Killed by somebody in a session, while it waits.
    let pid = in_context(&sandbox, "p", "python", "import os\nos.getpid()").await.value().to_owned();
    let session = sandbox.session("").await;
    session.run(format!("kill -9 {pid}")).await.expect("", "", 0);
    within::until("the interpreter's end", async || host_says_gone(&session, &pid).await).await;
    let next = in_context(&sandbox, "p", "python", "1 + 1").await;
    assert_eq!((next.value(), next.started.generation), ("2", 3));
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
    assert!(all[0].command_id == told.started.command_id && all[0].generation == 1 && !all[0].busy, "{all:?}");
    let delete = async |id: &str| {
        let request = v1::DeleteContextRequest { sandbox_id: sandbox.id.clone(), context_id: id.into() };
        within("a deletion", client(&sandbox.clients).delete_context(request)).await
    };
    delete("a").await.expect("it was there");
    expect_error(&delete("a").await.expect_err("it is gone"), Code::NotFound, "CONTEXT_NOT_FOUND");
    assert_eq!(list().await.len(), 1);
    let request = v1::GetCommandRequest { command_id: told.started.command_id };
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
    assert_eq!(in_context(&sandbox, "b", "python", "1").await.started.generation, 1, "it is another context");
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
    assert_eq!((after.value(), after.started.generation), ("1", 1));
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
