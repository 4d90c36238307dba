//! `argv`: a program with its arguments, executed exactly as given and without a shell.

use crate::kit::{
    Finished, Options, Runtime, Sandbox, Server, create_sandbox,
    docker::{shared_docker, shared_server},
    errors::expect_bad_fields,
    terminal::Terminal,
    token, v1, within,
};
use std::{fs, process::Command};
use v1::{ExecStart, Pty, exec_start::Target, exited::Reason};

crate::in_every_runtime!(
    arguments_arrive_unchanged,
    a_megabyte_of_arguments_arrives,
    it_is_found_as_a_shell_finds_it,
    what_cannot_be_executed_says_so,
    its_surroundings_are_as_asked,
    it_runs_as_another_user,
    its_input_and_output_are_streams,
    it_may_have_a_terminal,
    it_is_known_like_any_command,
    mistakes_are_named
);

pub fn argv(sandbox: &Sandbox, arguments: &[&str]) -> ExecStart {
    ExecStart { argv: arguments.iter().map(|a| (*a).to_owned()).collect(), ..sandbox.start("") }
}

pub async fn run(sandbox: &Sandbox, start: ExecStart) -> Finished {
    run_with(sandbox, start, b"").await
}

async fn run_with(sandbox: &Sandbox, start: ExecStart, stdin: &[u8]) -> Finished {
    let request = v1::RunRequest { start: Some(start), stdin: stdin.to_vec().into(), ..Default::default() };
    let answer = within("an answer", sandbox.clients.sessions.clone().run(request)).await;
    answer.unwrap_or_else(|e| panic!("{e:?}")).into_inner().into()
}

async fn arguments_arrive_unchanged(on: Runtime) {
    let sandbox = on.sandbox().await;
    let given =
        ["", "a b", "two\nlines\n", "'\"`$(id)$HOME\\", "*", "-n", "--", "äöü \u{1F600} \u{7f}\x01\t\r", ";exit 3", ""];
    let got = run(&sandbox, argv(&sandbox, &[&["/usr/bin/printf", "%s\\0"][..], &given].concat())).await;
    let wanted: Vec<u8> = given.iter().flat_map(|argument| [argument.as_bytes(), b"\0"].concat()).collect();
    got.expect(wanted, "", 0);
    run(&sandbox, argv(&sandbox, &["true"])).await.expect("", "", 0);
    run(&sandbox, argv(&sandbox, &["false"])).await.expect("", "", 1);
    // Nothing between the agent and it: its parent is what adopts what it leaves behind.
    let got = run(&sandbox, argv(&sandbox, &["cat", "/proc/self/stat"])).await;
    let words: Vec<_> = got.out().split_whitespace().map(str::to_owned).collect();
    assert_eq!((words[1].as_str(), &words[0], &words[0]), ("(cat)", &words[4], &words[5]), "it leads its own session");
}

async fn a_megabyte_of_arguments_arrives(on: Runtime) {
    let sandbox = on.sandbox().await;
    let long = ["x".repeat((128 << 10) - 1), "y".repeat(60_000)];
    let mut all: Vec<String> = ["/usr/bin/printf", "%s\n"].map(str::to_owned).to_vec();
    all.extend(long);
    while all.iter().map(String::len).sum::<usize>() < 5 << 18 {
        let left = (5 << 18) - all.iter().map(String::len).sum::<usize>();
        all.push("z".repeat(left.min(100)));
    }
    assert_eq!(all.iter().map(String::len).sum::<usize>(), 5 << 18);
    let request = v1::RunRequest {
        start: Some(ExecStart { argv: all.clone(), ..sandbox.start("") }),
        max_output_bytes: 4 << 20,
        ..Default::default()
    };
    let got = within("an answer", sandbox.clients.sessions.clone().run(request)).await.unwrap().into_inner();
    let wanted = all[2..].join("\n") + "\n";
    assert!(got.stdout == wanted.as_bytes(), "{} bytes of {}", got.stdout.len(), wanted.len());
    // As many as may be, all of them empty.
    let mut many = vec!["python3".into(), "-c".into(), "import sys; print(len(sys.argv))".into()];
    many.resize(1 << 16, String::new());
    run(&sandbox, ExecStart { argv: many, ..sandbox.start("") }).await.expect("65534\n", "", 0);
}

async fn it_is_found_as_a_shell_finds_it(on: Runtime) {
    let sandbox = on.sandbox().await;
    let made = "mkdir -p /p/a /p/b /p/a/tool2 && cp /bin/echo /p/b/tool && cp /bin/echo /p/b/tool2 && cp /bin/echo /p/a/tool && \
                chmod 644 /p/a/tool && cp /bin/echo /p/own";
    sandbox.run(made).await.expect("", "", 0);
    let env = |path: &str| [("PATH".to_owned(), path.to_owned())].into();
    // One that may not be executed, and a directory, are passed by.
    for tool in ["tool", "tool2"] {
        let start = ExecStart { env: env("/nosuch:/p/a:/etc/passwd:/p/b"), ..argv(&sandbox, &[tool, "found"]) };
        run(&sandbox, start).await.expect("found\n", "", 0);
    }
    let start = ExecStart { working_directory: "/p".into(), ..argv(&sandbox, &["./own", "here"]) };
    run(&sandbox, start).await.expect("here\n", "", 0);
    let start = ExecStart { working_directory: "/p".into(), env: env("/nosuch:"), ..argv(&sandbox, &["own", "x"]) };
    run(&sandbox, start).await.expect("x\n", "", 0);
}

async fn what_cannot_be_executed_says_so(on: Runtime) {
    let sandbox = on.sandbox().await;
    let made = "mkdir /p && echo text >/p/plain && echo 'echo no' >/p/noformat && printf '#!/nosuch/interpreter\\n' >/p/script \
                && chmod +x /p/noformat /p/script";
    sandbox.run(made).await.expect("", "", 0);
    for (name, code, said) in [
        ("nosuch", 127, "not found in PATH"),
        ("/p/nosuch", 127, "is not there"),
        ("/p/plain/x", 127, "is not there"),
        ("/p/plain", 126, "Permission denied"),
        ("/p", 126, "Permission denied"),
        ("/p/noformat", 126, "#!"),
        ("/p/script", 126, "/nosuch/interpreter"),
    ] {
        let got = run(&sandbox, argv(&sandbox, &[name, "argument"])).await;
        assert_eq!((got.exit_code(), got.reason(), got.out().as_str()), (code, Reason::Exited, ""), "{name}: {got:?}");
        assert!(got.err().contains(said) && got.err().contains(name), "{name}: {got:?}");
        let merged = ExecStart { merge_stderr: true, ..argv(&sandbox, &[name]) };
        let got = run(&sandbox, merged).await;
        assert!(got.exit_code() == code && got.out().contains(said) && got.stderr.is_empty(), "{name}: {got:?}");
    }
}

async fn its_surroundings_are_as_asked(on: Runtime) {
    let sandbox = on.sandbox().await;
    let start = ExecStart {
        env: [("GREETING".into(), "a 'b' $c\n".into()), ("odd-name.x".into(), "1".into())].into(),
        working_directory: "/usr/lib".into(),
        ..argv(&sandbox, &["/usr/bin/env", "-0"])
    };
    let got = run(&sandbox, start).await;
    let variables: Vec<_> = got.out().split_terminator('\0').map(str::to_owned).collect();
    for wanted in ["GREETING=a 'b' $c\n", "odd-name.x=1", "PWD=/usr/lib", "HOME=/root", "USER=root", "TERM=dumb"] {
        assert!(variables.iter().any(|variable| variable == wanted), "{wanted}: {variables:?}");
    }
    assert_eq!(got.exited.working_directory, "/usr/lib");
    // A shell's own way to say where it is.
    let own = sandbox.run("pwd").await.out();
    run(&sandbox, argv(&sandbox, &["/bin/pwd"])).await.expect(own, "", 0);
    // No descriptor but the three, no terminal, and nothing that a signal would not do.
    let got = run(&sandbox, argv(&sandbox, &["python3", "-c", "import os; print(sorted(os.listdir('/proc/self/fd'))[:-1])\ntry: os.open('/dev/tty', 0)\nexcept OSError as e: print(e.errno)"])).await;
    got.expect("['0', '1', '2']\n6\n", "", 0);
    let got = run(&sandbox, argv(&sandbox, &["cat", "/proc/self/status"])).await;
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        let mask = got.out().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t").map(str::to_owned));
        let mask = u64::from_str_radix(&mask.expect("a mask"), 16).expect("a number");
        // Those from 32 on are the C library's.
        assert_eq!(mask & 0x7fff_ffff, 0, "{name}: {mask:x}");
    }
    // A directory that its user may not enter.
    sandbox.run("mkdir /closed && chmod 700 /closed").await.expect("", "", 0);
    let start = ExecStart { working_directory: "/closed".into(), user: "4242".into(), ..argv(&sandbox, &["true"]) };
    let got = run(&sandbox, start).await;
    assert!(got.exit_code() == 126 && got.err().contains("/closed"), "{got:?}");
}

async fn it_runs_as_another_user(on: Runtime) {
    let sandbox = on.sandbox().await;
    let made = "echo 'ann:x:1234:1234::/home/ann:/bin/sh' >>/etc/passwd && echo 'crew:x:777:ann' >>/etc/group
        mkdir -p /home/ann && chown 1234:1234 /home/ann && chmod 700 /root";
    sandbox.run(made).await.expect("", "", 0);
    let ann = |arguments: &[&str]| ExecStart { user: "ann".into(), ..argv(&sandbox, arguments) };
    run(&sandbox, ann(&["id", "-G"])).await.expect("1234 777\n", "", 0);
    run(
        &sandbox,
        ann(&[
            "sh",
            "-c",
            "echo $HOME $USER $LOGNAME; echo named >/dev/stdout; echo e >/dev/stderr; touch /home/ann/x",
        ]),
    )
    .await
    .expect("/home/ann ann ann\nnamed\n", "e\n", 0);
    sandbox.run("stat -c %U /home/ann/x").await.expect("ann\n", "", 0);
    let got = run(&sandbox, ann(&["touch", "/root/x"])).await;
    got.expect_complaint();
    // Its permissions count in the search too.
    sandbox.run("cp /bin/echo /root/only").await.expect("", "", 0);
    let got = run(&sandbox, ann(&["/root/only"])).await;
    assert_eq!(got.exit_code(), 126, "{got:?}");
    run_with(&sandbox, ann(&["cat", "/dev/stdin"]), b"typed\n").await.expect("typed\n", "", 0);
    let pty = ExecStart { pty: Some(Pty::default()), ..ann(&["sh", "-c", "id -un >/dev/tty; tty; stty size <$(tty)"]) };
    let got = sandbox.exec(pty).await.finish().await;
    assert!(got.tty().starts_with("ann\r\n/dev/pts/") && got.tty().ends_with("24 80\r\n"), "{got:?}");
    let status = sandbox.refused(ExecStart { user: "nosuch".into(), ..argv(&sandbox, &["true"]) }).await;
    expect_bad_fields(&status, &["start.user"]);
}

async fn its_input_and_output_are_streams(on: Runtime) {
    let sandbox = on.sandbox().await;
    let bytes: Vec<u8> = (0..=255).collect();
    run_with(&sandbox, argv(&sandbox, &["cat"]), &bytes).await.expect(&bytes, "", 0);
    run(&sandbox, argv(&sandbox, &["cat"])).await.expect("", "", 0);
    let running = sandbox.exec(ExecStart { stdin: true, ..argv(&sandbox, &["cat"]) }).await;
    running.stdin("one ").await;
    running.stdin("two").await;
    running.close_stdin().await;
    running.finish().await.expect("one two", "", 0);
    // Much of it, to a program that is slow to read and to one that never does.
    let much = vec![b'x'; 8 << 20];
    run_with(&sandbox, argv(&sandbox, &["sh", "-c", "head -c 1 >/dev/null; wc -c"]), &much).await;
    run_with(&sandbox, argv(&sandbox, &["wc", "-c"]), &much).await.expect("8388608\n", "", 0);
    run_with(&sandbox, argv(&sandbox, &["true"]), &much).await.expect("", "", 0);
    let got = run(&sandbox, argv(&sandbox, &["sh", "-c", "echo out; echo err >&2"])).await;
    got.expect("out\n", "err\n", 0);
    let merged = ExecStart { merge_stderr: true, ..argv(&sandbox, &["sh", "-c", "echo 1; echo 2 >&2; echo 3"]) };
    run(&sandbox, merged).await.expect("1\n2\n3\n", "", 0);
    let mut long = sandbox.exec(argv(&sandbox, &["head", "-c", "50000000", "/dev/zero"])).await;
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&count);
    long.sink = Some(Box::new(move |_, data| _ = counted.fetch_add(data.len(), std::sync::atomic::Ordering::Relaxed)));
    assert_eq!(long.finish().await.exit_code(), 0);
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 50_000_000);
    // Input that nothing was to read.
    let refused = sandbox.exec(argv(&sandbox, &["sleep", "1000"])).await;
    refused.stdin("x").await;
    expect_bad_fields(&refused.broken().await, &["stdin"]);
}

async fn it_may_have_a_terminal(on: Runtime) {
    let sandbox = on.sandbox().await;
    let size = Some(v1::TerminalSize { rows: 30, columns: 100 });
    let pty = |arguments: &[&str]| ExecStart { pty: Some(Pty { size, ..Pty::default() }), ..argv(&sandbox, arguments) };
    assert_eq!(sandbox.exec(pty(&["stty", "size"])).await.finish().await.tty(), "30 100\r\n");
    assert_eq!(sandbox.exec(pty(&["printenv", "TERM"])).await.finish().await.tty(), "xterm-256color\r\n");
    let named = Pty { term: "vt100".into(), ..Pty::default() };
    let start = ExecStart { pty: Some(named), ..argv(&sandbox, &["printenv", "TERM"]) };
    assert_eq!(sandbox.exec(start).await.finish().await.tty(), "vt100\r\n");
    // Typed lines, an end of input, and a key that interrupts.
    let running = sandbox.exec(pty(&["cat"])).await;
    running.stdin("typed\n").await;
    running.close_stdin().await;
    let got = running.finish().await;
    assert_eq!((got.tty().as_str(), got.exit_code()), ("typed\r\ntyped\r\n", 0), "{got:?}");
    let mut running = sandbox
        .exec(pty(&["sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"]))
        .await;
    running.until_tty("ready").await;
    running.stdin("\x03").await;
    let got = running.finish().await;
    assert!(got.exit_code() == 5 && got.tty().contains("caught"), "{got:?}");
    // Job control: an interactive shell is a program like any other.
    let mut shell = sandbox.exec(pty(&["bash", "--norc", "-i"])).await;
    shell.stdin("stty -echo; PS1=; echo sta''rted\n").await;
    shell.until_tty("started").await;
    shell.stdin("sleep 1000\n").await;
    let id = shell.got.command_id.clone();
    foreground(&sandbox, &id, "sleep 1000").await;
    shell.signal(libc::SIGINT).await;
    shell.stdin("echo $?; exit 7\n").await;
    let got = shell.finish().await;
    assert!(got.exit_code() == 7 && got.tty().contains("130"), "{got:?}");
    // A size that changes.
    let mut running = sandbox
        .exec(pty(&["sh", "-c", "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"]))
        .await;
    running.until_tty("ready").await;
    running.resize(40, 90).await;
    assert!(running.finish().await.tty().contains("40 90"));
}

/// Waits until a process is in the foreground of a command.
async fn foreground(sandbox: &Sandbox, command_id: &str, text: &str) {
    let request = v1::ListProcessesRequest { command_id: command_id.into(), ..Default::default() };
    within::until("a program in the foreground", async || {
        let listed =
            sandbox.clients.sessions.clone().list_processes(request.clone()).await.expect("a list").into_inner();
        listed
            .processes
            .iter()
            .any(|process| process.command == text && process.foreground && process.command_id == command_id)
    })
    .await;
}

pub async fn cancel(sandbox: &Sandbox, command_id: &str) {
    let request = v1::SignalCommandRequest { command_id: command_id.to_owned(), signal: 0 };
    within("a cancellation", sandbox.clients.sessions.clone().signal_command(request)).await.expect("it runs");
}

async fn it_is_known_like_any_command(on: Runtime) {
    let sandbox = on.sandbox().await;
    let start =
        ExecStart { request_id: token(), stdin: true, ..argv(&sandbox, &["sh", "-c", "read x; echo got $x", "a\nb"]) };
    let running = sandbox.exec(start.clone()).await;
    let again = sandbox.exec(start.clone()).await;
    assert_eq!(running.got.command_id, again.got.command_id);
    let other = ExecStart { argv: vec!["true".into()], ..start };
    let status = sandbox.refused(other).await;
    crate::kit::errors::expect_error(&status, tonic::Code::FailedPrecondition, "REQUEST_ID_REUSED");
    running.stdin("it\n").await;
    running.finish().await.expect("got it\n", "", 0);
    let got = again.finish().await;
    got.expect("got it\n", "", 0);
    let request = v1::GetCommandRequest { command_id: got.command_id.clone() };
    let known = sandbox.clients.sessions.clone().get_command(request).await.expect("it is known").into_inner();
    assert_eq!(known.argv, ["sh", "-c", "read x; echo got $x", "a\nb"]);
    assert_eq!((known.session_id.as_str(), known.command.as_str(), known.stdout_bytes), ("", "", 7));
    let attach = v1::AttachRequest { command_id: got.command_id, stdout_offset: 4, ..Default::default() };
    crate::kit::Running::attach(&sandbox.clients, attach).await.finish().await.expect("it\n", "", 0);
    // Its processes are its own.
    let running = sandbox.exec(argv(&sandbox, &["sleep", "1001"])).await;
    let id = running.got.command_id.clone();
    foreground(&sandbox, &id, "sleep 1001").await;
    cancel(&sandbox, &id).await;
    running.finish().await;
}

async fn mistakes_are_named(on: Runtime) {
    let sandbox = on.sandbox().await;
    let session = sandbox.session("").await;
    let target = || Some(Target::SessionId(session.id.clone()));
    let one = |arguments: &[&str]| argv(&sandbox, arguments);
    for (wrong, fields) in [
        (ExecStart { command: "true".into(), ..one(&["true"]) }, vec!["start.argv"]),
        (ExecStart { target: target(), ..one(&["true"]) }, vec!["start.argv"]),
        (ExecStart { shell: "/bin/sh".into(), ..one(&["true"]) }, vec!["start.shell"]),
        (one(&["", "x"]), vec!["start.argv[0]"]),
        (one(&["echo", "a\0b"]), vec!["start.argv[1]"]),
        (one(&["echo", &"x".repeat(128 << 10)]), vec!["start.argv[1]"]),
        (ExecStart { argv: vec!["x".repeat(100); 13_108], ..one(&[]) }, vec!["start.argv"]),
        (ExecStart { argv: vec!["x".into(); 65_537], ..one(&[]) }, vec!["start.argv"]),
        (ExecStart { working_directory: "/nosuch".into(), ..one(&["true"]) }, vec!["start.working_directory"]),
    ] {
        expect_bad_fields(&sandbox.refused(wrong).await, &fields);
    }
}

/// One static program is an image: no shell, no library, no other file.
#[tokio::test]
async fn an_image_needs_no_shell() {
    let folder = tempfile::tempdir().expect("a directory");
    let script = "set -e; mkdir $1/root; cp /bin/busybox $1/root/cat; chmod 755 $1/root $1/root/cat; \
                  tar -C $1/root -cf $1/image.tar .";
    let made = Command::new("sh").args(["-c", script, "sh"]).arg(folder.path()).status().expect("sh");
    assert!(made.success(), "these tests need /bin/busybox: apt-get install busybox-static");
    let archive = folder.path().join("image.tar");
    let name = format!("sandshell-test/{}", token());
    shared_docker().run(&["import", archive.to_str().expect("a path"), &name]);
    let directory = folder.path().join("root").display().to_string();
    let roots = ["--image-root", folder.path().to_str().expect("a path")].map(str::to_owned).to_vec();
    let of_directories = Server::start(Options { args: roots, ..Options::default() });
    for (server, image) in [(shared_server(), name), (&of_directories, directory)] {
        let sandbox = create_sandbox(server, v1::CreateSandboxRequest { image, ..Default::default() }).await;
        run_with(&sandbox, argv(&sandbox, &["/cat", "-"]), b"input").await.expect("input", "", 0);
        let got = run(&sandbox, argv(&sandbox, &["/cat", "/nosuch"])).await;
        assert!(got.exit_code() == 1 && got.err().contains("/nosuch"), "{got:?}");
        assert_eq!(run(&sandbox, argv(&sandbox, &["sh"])).await.exit_code(), 127);
        sandbox.delete().await;
    }
    let _ = fs::remove_dir_all(folder.path());
}

/// `sandshell exec` passes words on as they are, and input, output and the exit code too.
#[test]
fn the_command_line_passes_words_on() {
    use crate::kit::cli::sandshell;
    let output = sandshell(&["exec", "--env", "A=1", "--", "printf", "%s|", "", "a b", "$A", "-n", "*", "--", "x\ny"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "|a b|$A|-n|*|--|x\ny|", "{output:?}");
    let output = sandshell(&["exec", "--env", "A=1", "sh", "-c", "echo $A >&2; exit 7"]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(7), &b"1\n"[..]), "{output:?}");
    // On a terminal it has the keys of ours, without more options.
    let mut t = Terminal::start(&["exec", "--tty", "sh", "-c", "read line; echo \"<$line>\"; exec sleep 1000"], 24, 80);
    t.type_keys("typed\r");
    t.wait_for("<typed>\r");
    t.type_keys("\x03");
    assert_eq!(t.wait().code(), Some(130));
    let output = sandshell(&["exec", "nosuch-program"]);
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    let output = sandshell(&["exec", "--json", "--", "sh", "-c", "echo o; echo e >&2; exit 7"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &told["exit_code"], &told["reason"]), (Some(7), &7.into(), &"exited".into()));
    assert_eq!((&told["stdout"], &told["stderr"], &told["argv"][0]), (&"o\n".into(), &"e\n".into(), &"sh".into()));
    let output = sandshell(&["exec", "--timeout", "0.1", "sleep", "1000"]);
    assert!(
        output.status.code() == Some(130) && String::from_utf8_lossy(&output.stderr).contains("time"),
        "{output:?}"
    );
}
