//! `sandshell attach`: a person types commands into a session that an agent works in, or watches it.

use crate::kit::{
    Server, Session, USUAL,
    cli::{program, refuses},
    create_sandbox, shared,
    terminal::Terminal,
    v1, within,
};
use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStderr, Output, Stdio},
    sync::mpsc,
};

async fn session() -> (&'static Server, Session) {
    let server = shared();
    (server, create_sandbox(server, v1::CreateSandboxRequest::default()).await.into_session("bash").await)
}

fn terminal(server: &Server, session: &Session) -> Terminal {
    let t = Terminal::start(&["attach", "--server", &server.url(), &session.id], 24, 80);
    t.wait_for("it goes on\r\n");
    t
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_the_state_and_leaves_its_own() {
    let (server, s) = session().await;
    s.run("cd /usr; greeting=hello; f() { echo \"$greeting from $PWD\"; }").await.expect("", "", 0);
    let mut t = terminal(server, &s);
    t.wait_for(":/usr$ ");
    t.type_keys("f\r");
    t.wait_for("hello from /usr\r");
    t.wait_for(":/usr$ ");
    t.type_keys("cd /tmp; greeting=bye\r");
    t.wait_for(":/tmp$ ");
    // A program has the terminal, every key of it.
    t.type_keys("tty -s && stty size; read -rsn1 -p 'key? ' key; echo \"[$key]\"\r");
    t.wait_for("24 80\r");
    t.wait_for("key? ");
    t.type_keys("x");
    t.wait_for("[x]\r");
    t.wait_for(":/tmp$ ");
    // ^C is for the program, and at the prompt for the line.
    t.type_keys("sh -c 'echo u''p; exec sleep 1000'; echo code $?\r");
    t.wait_for("up\r");
    t.type_keys("\x03");
    t.wait_for(":/tmp$ ");
    t.type_keys("echo never\x03");
    t.wait_for(":/tmp$ ");
    // After a program that has read the terminal, ^D is for us again.
    t.type_keys("echo mo''re; read line; echo \"<$line>\"\r");
    t.wait_for("more\r");
    t.type_keys("typed\r");
    t.wait_for("<typed>\r");
    t.wait_for(":/tmp$ ");
    t.type_keys("\x04");
    assert_eq!(t.wait().code(), Some(0));
    let mut t = terminal(server, &s);
    t.wait_for(":/tmp$ ");
    t.type_keys("echo still $greeting\r");
    t.wait_for("still bye\r");
    t.wait_for(":/tmp$ ");
    // `exit` is for us, not for the agent's shell.
    t.type_keys("exit\r");
    assert_eq!(t.wait().code(), Some(0));
    assert!(t.is_cooked(), "the terminal is as it was");
    s.run("f").await.expect("bye from /tmp\n", "", 0);
    assert_eq!(s.get().await.generation, 1, "the shell has stayed");
    let mut t = terminal(server, &s);
    t.wait_for(":/tmp$ ");
    t.type_keys("\x04");
    assert_eq!(t.wait().code(), Some(0));
    s.alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_command_goes_first() {
    let (server, s) = session().await;
    let mut running = s.exec_text("echo up; until [ -e /tmp/go ]; do sleep 0.01; done; echo first").await;
    running.until_out("up\n").await;
    let mut t = terminal(server, &s);
    t.wait_for("$ ");
    t.type_keys("echo mine\r");
    t.wait_for("yours waits for its turn");
    within::until("a command that waits", async || s.get().await.queued_commands == 1).await;
    // ^C gives up what waits, and touches nothing of the agent's.
    t.type_keys("\x03");
    t.wait_for("$ ");
    within::until("nothing that waits", async || s.get().await.queued_commands == 0).await;
    t.type_keys("echo again\r");
    t.wait_for("yours waits for its turn");
    s.sandbox.run("touch /tmp/go").await;
    running.finish().await.expect("up\nfirst\n", "", 0);
    t.wait_for("again\r");
    t.wait_for("$ ");
    t.type_keys("\x04");
    assert_eq!(t.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_one_command() {
    let (server, s) = session().await;
    let attach = |script: &str| -> Output {
        let mut child = program(&["attach", "--server", &server.url(), &s.id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let got = attach("cd /usr\nf() {\n  echo \"in $PWD\"\n}\nf; echo e >&2\n(exit 5)\n");
    assert_eq!(
        (got.stdout.as_slice(), got.stderr.as_slice(), got.status.code()),
        (&b"in /usr\n"[..], &b"e\n"[..], Some(5))
    );
    s.run("f").await.expect("in /usr\n", "", 0);
    refuses(&["attach", "--server", &server.url(), &s.sandbox.id], &["this is the id of a sandbox", "SANDBOX/NAME"]);
}

/// `attach --watch`, and the lines that it says of commands.
struct Watcher {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
}

impl Watcher {
    fn start(server: &Server, session: &Session, more: &[&str]) -> Self {
        let url = server.url();
        let mut child = program(&[&["attach", "--watch", "--server", &url, &session.id], more].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, said }
    }

    #[track_caller]
    fn says(&mut self, words: &str) {
        let line = self.said.next().expect("one more line").unwrap();
        assert!(line.contains(words), "{line:?} should have {words:?}");
    }

    fn end(mut self) -> (Vec<u8>, Option<i32>) {
        let ended = within::ask_until(USUAL, || self.child.try_wait().unwrap());
        assert!(ended.is_some(), "the watcher stays after the end of its session: {:?}", self.child.kill());
        let got = self.child.wait_with_output().unwrap();
        (got.stdout, got.status.code())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_all_and_touches_nothing() {
    let (server, s) = session().await;
    s.run("echo before").await.expect("before\n", "", 0);
    let mut running = s.exec_text("echo up; until [ -e /tmp/go ]; do sleep 0.01; done; echo down; (exit 3)").await;
    running.until_out("up\n").await;
    let mut watcher = Watcher::start(server, &s, &[]);
    watcher.says("/2 $ echo up; until");
    s.sandbox.run("touch /tmp/go").await;
    watcher.says("/2 has ended with exit code 3");
    running.finish().await;
    for number in 3..20 {
        s.run(format!("echo quick {number}")).await;
    }
    for number in 3..20 {
        watcher.says(&format!("/{number} $ echo quick {number}"));
        watcher.says(&format!("/{number} has ended with exit code 0"));
    }
    let seen = s.get().await;
    assert_eq!((seen.generation, seen.queued_commands), (1, 0));
    s.close().await;
    watcher.says("is closed");
    let (out, code) = watcher.end();
    let quick: String = (3..20).map(|number| format!("quick {number}\n")).collect();
    assert_eq!((String::from_utf8(out).unwrap(), code), (format!("up\ndown\n{quick}"), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_may_be_a_program() {
    let (server, s) = session().await;
    let mut watcher = Watcher::start(server, &s, &["--json"]);
    let lines = BufReader::new(watcher.child.stdout.take().unwrap()).lines();
    let (tell, seen) = mpsc::channel();
    std::thread::spawn(move || {
        // To the end, so that the watcher has somebody to tell.
        for line in lines.map_while(Result::ok) {
            let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            if object["command"] == "echo next; kill -9 $$" {
                let _ = tell.send(object);
            }
        }
    });
    // It sees what comes after it, whenever that is.
    let mut last = None;
    within::until("an object", async || {
        s.run("echo next; kill -9 $$").await;
        last = seen.try_recv().ok();
        last.is_some()
    })
    .await;
    let last = last.expect("the object");
    assert_eq!(
        (&last["stdout"], &last["exit_code"], &last["shell_exited"]),
        (&"next\n".into(), &137.into(), &true.into())
    );
    s.close().await;
    assert_eq!(watcher.end().1, Some(0));
}
