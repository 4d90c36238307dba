//! Whatever was removed inside: commands run, or an error says at once what is not there.

use crate::kit::{At, Runtime, errors::expect_error, within};
use tonic::{Code, Status};

crate::in_every_shell!(
    without_dev_null_commands_run,
    with_something_else_for_dev_null_commands_run,
    without_places_to_write_commands_run,
    where_the_directory_is_gone_commands_run,
);

async fn without_dev_null_commands_run(at: At) {
    let s = at.session().await;
    let removed = s.run("umount /dev/null 2>&1; rm -f /dev/null && echo gone").await;
    if !removed.out().ends_with("gone\n") {
        // Where it cannot be removed nothing is broken.
        s.alive().await;
        return;
    }
    for _ in 0..2 {
        s.run("cat; echo alive").await.expect("alive\n", "", 0);
    }
    s.exec_text("cat; echo alive").await.finish().await.expect("alive\n", "", 0);
    s.run("cd /usr; export A=kept; exit 3").await.expect_shell_exit(3, 0, 2);
    s.run("pwd; echo $A").await.expect("/usr\nkept\n", "", 0);
    s.sandbox.session(at.shell.path()).await.alive().await;
}

async fn with_something_else_for_dev_null_commands_run(at: At) {
    let s = at.session().await;
    if s.run("umount /dev/null 2>&1; rm -f /dev/null && mkfifo /dev/null && echo there").await.out() != "there\n" {
        s.alive().await;
        return;
    }
    s.run("cat; echo alive").await.expect("alive\n", "", 0);
    s.run("rm /dev/null; mkdir /dev/null").await.expect("", "", 0);
    s.run("cat; echo alive").await.expect("alive\n", "", 0);
}

async fn without_places_to_write_commands_run(at: At) {
    let s = at.session().await;
    s.run("rm -rf /tmp /var/tmp; rm -f /etc/passwd /etc/group; true").await;
    s.run("echo alive; cat <<END\nheredoc\nEND\n").await;
    s.alive().await;
    let other = s.sandbox.session(at.shell.path()).await;
    other.alive().await;
    other.run("exit 3").await.expect_shell_exit(3, 0, 2);
    other.alive().await;
    s.sandbox.run("echo alive").await.expect("alive\n", "", 0);
}

async fn where_the_directory_is_gone_commands_run(at: At) {
    let s = at.session().await;
    s.run("mkdir /workspace/a; cd /workspace/a; rmdir /workspace/a").await;
    s.alive().await;
    s.run("exit 3").await.expect_shell_exit(3, 0, 2);
    s.alive().await;
    s.run("cd /; mv /workspace /elsewhere").await;
    s.sandbox.session(at.shell.path()).await.alive().await;
    s.alive().await;
}

/// Whatever the shell.
mod of_all_shells {
    use super::*;

    crate::in_every_runtime!(
        without_its_loader_a_shell_is_refused_by_name,
        without_its_libraries_a_shell_is_refused_in_its_own_words,
        without_any_shell_that_is_said,
    );

    async fn refusal(sandbox: &crate::kit::Sandbox, shell: &str) -> Status {
        let request = crate::kit::v1::CreateSessionRequest { shell: shell.into(), ..sandbox.ask_session() };
        match within("a refusal", sandbox.clients.sessions.clone().create_session(request)).await {
            Err(refusal) => refusal,
            Ok(session) => panic!("{session:?} in a broken sandbox"),
        }
    }

    async fn without_its_loader_a_shell_is_refused_by_name(on: Runtime) {
        let sandbox = on.sandbox().await;
        let s = sandbox.session("/bin/bash").await;
        let loader = s.run("readlink -f /lib64/ld-linux-x86-64.so.2; cp /bin/busybox /workspace/busybox").await;
        assert_eq!(loader.exit_code(), 0, "{loader:?}");
        // Whichever of them is a link.
        s.run("mv /lib64 /x || mv \"$(readlink -f /lib64/ld-linux-x86-64.so.2)\" /x").await;
        let refusal = refusal(&sandbox, "/bin/bash").await;
        expect_error(&refusal, Code::FailedPrecondition, "SHELL_NOT_STARTED");
        assert!(refusal.message().contains("ld-linux"), "{refusal:?}");
        // What does not need it still works.
        sandbox.session("/workspace/busybox").await.run("echo alive").await.expect("alive\n", "", 0);
        // The shell that runs has all that it needs.
        s.alive().await;
        let gone = s.run("/usr/bin/env").await;
        assert_eq!(gone.exit_code(), 127, "{gone:?}");
    }

    async fn without_its_libraries_a_shell_is_refused_in_its_own_words(on: Runtime) {
        let sandbox = on.sandbox().await;
        let s = sandbox.session("/bin/bash").await;
        s.run("for l in $(ldd /bin/bash | grep -o '/[^ ]*libtinfo[^ ]*'); do rm -f $(readlink -f $l); done").await;
        let refusal = refusal(&sandbox, "/bin/bash").await;
        expect_error(&refusal, Code::FailedPrecondition, "SHELL_NOT_STARTED");
        assert!(refusal.message().contains("libtinfo"), "{refusal:?}");
        sandbox.session("/bin/dash").await.alive().await;
    }

    async fn without_any_shell_that_is_said(on: Runtime) {
        let sandbox = on.sandbox().await;
        let s = sandbox.session("/bin/bash").await;
        s.run("cp /bin/busybox /workspace/busybox; /workspace/busybox rm -f /bin/sh /bin/dash").await;
        let refused = refusal(&sandbox, "").await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains("/bin/sh") && refused.message().contains("bash"), "{refused:?}");
        s.alive().await;
    }
}
