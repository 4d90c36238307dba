//! Nothing that an agent plants makes a verification of a task that is not done a success, in any language, and none of it is executed or
//! followed outside of the agent's own sandbox.

use crate::kit::{
    Dice, Options, Runtime, Sandbox, Session,
    examples::{Examples, deciding, solved},
    token,
    verifying::{CODE, HIDDEN, Lab, RIGHT, Verifier, expect_result, of_patch, of_sandbox, patch, result},
};
use sandshell::api::v1::{Verification, verification::State, verification_error, verification_result::Reason};
use std::{collections::BTreeSet, path::Path};

crate::in_every_runtime!(whatever_is_planted_the_code_counts);

/// Writes files, each with a mode of 755. The shell does it all by itself, because each program would cost more than a file.
async fn write(session: &Session, files: &[(&str, &str)]) {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let directories: BTreeSet<_> = files.iter().filter_map(|(path, _)| Path::new(path).parent()?.to_str()).collect();
    let mut all = format!("umask 022; /bin/mkdir -p {}\n", Vec::from_iter(directories).join(" "));
    for (path, text) in files {
        all += &format!("printf '%s\\n' {} >{path}\n", quoted(text));
    }
    let paths: Vec<_> = files.iter().map(|(path, _)| *path).collect();
    all += &format!("/bin/chmod 755 {}", paths.join(" "));
    session.run(all).await.expect("", "", 0);
}

async fn judged(client: &mut Verifier, sandbox: &Sandbox) -> Verification {
    let started = client.start(of_sandbox(sandbox)).await;
    client.end(&started).await
}

/// A report in which everything has passed that has to.
fn passing(id: &str) -> String {
    let names = deciding(id);
    let lines = names.iter().map(|name| format!("ok - {name}\\n"));
    format!("1..{}\\n{}", names.len(), lines.collect::<String>())
}

async fn whatever_is_planted_the_code_counts(on: Runtime) {
    let lab = Examples::new(on);
    let mut client = lab.client().await;
    let samples: &[&str] = match on {
        Runtime::Linux => &["c-ring", "javascript-query", "python-intervals", "shell-rotate"],
        Runtime::Docker => &["python-quotes", "shell-versions"],
    };
    for id in samples {
        let sandbox = lab.sandbox(id).await;
        let session = sandbox.session("/bin/sh").await;
        let shell = format!("#!/bin/sh\nprintf '{}' >/tmp/report.tap\nexit 0", passing(id));
        let python = format!("import os\nopen('/tmp/report.tap', 'w').write('{}')\nos._exit(0)", passing(id));
        let javascript =
            format!("require('node:fs').writeFileSync('/tmp/report.tap', '{}'); process.exit(0);", passing(id));
        outside(&session, &shell, &python, &javascript).await;
        expect_result(&judged(&mut client, &sandbox).await, Some(Reason::TestsFailed));
        inside(&session, &shell, &python, &javascript).await;
        expect_result(&judged(&mut client, &sandbox).await, Some(Reason::TestsFailed));
        // And none of it keeps anybody from a success that is one.
        let solved = solved(id);
        let solved: Vec<_> = solved.iter().map(|(path, text)| (format!("/workspace/{path}"), text)).collect();
        let files: Vec<_> = solved.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        write(&session, &files).await;
        expect_result(&judged(&mut client, &sandbox).await, None);
    }
}

/// What lies outside of the workspace: start-up files, programs under the names of others, modules where each language looks for its own, a
/// library in front of every program's, and the report itself.
async fn outside(session: &Session, shell: &str, python: &str, javascript: &str) {
    let mut files = Vec::new();
    let mut plant = |path: String, text: &str| files.push((path, text.to_owned()));
    let programs = [
        "sh", "bash", "env", "python3", "pytest", "make", "cc", "gcc", "cargo", "rustc", "node", "npm", "git", "patch",
    ];
    for directory in
        ["/usr/local/bin", "/usr/local/sbin", "/root/bin", "/root/.local/bin", "/root/.cargo/bin", "/workspace/bin"]
    {
        programs.iter().for_each(|program| plant(format!("{directory}/{program}"), shell));
    }
    for path in [".profile", ".bashrc", ".bash_profile", ".zshenv", ".shrc", ".kshrc"] {
        plant(format!("/root/{path}"), "export PATH=/workspace/bin:$PATH ENV=/root/.shrc BASH_ENV=/root/.shrc\nexit 0");
    }
    for path in ["/etc/profile", "/etc/bash.bashrc", "/etc/zsh/zshenv"] {
        plant(path.into(), "exit 0");
    }
    plant(
        "/etc/environment".into(),
        "PATH=/workspace/bin\nBASH_ENV=/root/.shrc\nENV=/root/.shrc\nPYTHONSTARTUP=/tmp/x.py\nPYTHONPATH=/tmp\nNODE_OPTIONS=--require=/tmp/x.js\nLD_PRELOAD=/tmp/x.so",
    );
    for version in ["3", "3.9", "3.10", "3.11", "3.12", "3.13"] {
        for directory in ["/usr/lib/python", "/usr/local/lib/python", "/root/.local/lib/python"] {
            for packages in ["dist-packages", "site-packages"] {
                for module in ["sitecustomize.py", "usercustomize.py", "conftest.py", "evil.pth"] {
                    let text = if module == "evil.pth" { "import sitecustomize" } else { python };
                    plant(format!("{directory}{version}/{packages}/{module}"), text);
                }
            }
        }
    }
    for directory in ["/root/.node_modules", "/root/.node_libraries", "/usr/lib/node", "/usr/local/lib/node_modules"] {
        plant(format!("{directory}/hidden.js"), javascript);
    }
    plant("/tmp/x.js".into(), javascript);
    plant("/tmp/x.py".into(), python);
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    write(session, &files).await;
    // The report, beforehand, and again and again while the verification runs.
    let report = shell.replace("#!/bin/sh\n", "").replace("exit 0", "");
    session
        .run(format!(
            "export BASH_ENV=/root/.shrc ENV=/root/.shrc NODE_OPTIONS=--require=/tmp/x.js PYTHONPATH=/tmp\n{report}"
        ))
        .await;
    session.run(format!("(while :; do {report} /bin/cp /tmp/report.tap /workspace/report.tap; /bin/sleep 0.1; done) >/dev/null 2>&1 &")).await;
}

/// What lies in the workspace and is protected, or is nothing that the sample's command uses.
async fn inside(session: &Session, shell: &str, python: &str, javascript: &str) {
    let mut files = Vec::new();
    for module in
        ["conftest.py", "sitecustomize.py", "usercustomize.py", "unittest.py", "pathlib.py", "sys.py", "os.py"]
    {
        for directory in ["/workspace", "/workspace/tests", "/workspace/.verify"] {
            files.push((format!("{directory}/{module}"), python));
        }
    }
    for path in [
        "node_modules/fs",
        "node_modules/node:fs",
        "node_modules/hidden",
        ".verify/node_modules/fs",
        "tests/node_modules/fs",
    ] {
        files.push((format!("/workspace/{path}/index.js"), javascript));
    }
    for path in [".verify/hidden.js", ".verify/run.js", ".verify/index.js"] {
        files.push((format!("/workspace/{path}"), javascript));
    }
    for path in [".verify/run.py", ".verify/hidden_intervals.py", ".verify/hidden_fields.py"] {
        files.push((format!("/workspace/{path}"), python));
    }
    for path in [".verify/run.sh", "cc", "node", "python3", "sh", "mktemp", "cat", ".env", ".profile", ".bashrc"] {
        files.push((format!("/workspace/{path}"), shell));
    }
    files.push(("/workspace/Makefile".into(), "all test:\n\ttrue"));
    files.push(("/workspace/.npmrc".into(), "node-options=--require=/workspace/.verify/hidden.js"));
    files.push(("/workspace/setup.cfg".into(), "[tool:pytest]\naddopts = --collect-only"));
    // In front of the compiler's own headers.
    let header = "#include_next <stdio.h>\n#define fprintf(to, ...) (fprintf)(to, \"ok\\n\")";
    files.push(("/workspace/stdio.h".into(), header));
    files.push(("/workspace/.verify/hidden.c".into(), "int main(void) { return 0; }"));
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    write(session, &files).await;
}

/// A library that the dynamic linker loads into every program, which then ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_library_is_put_in_front() {
    let lab = Examples::new(Runtime::Linux);
    let mut client = lab.client().await;
    let sandbox = lab.sandbox("shell-rotate").await;
    let session = sandbox.session("/bin/sh").await;
    let source = "#include <stdio.h>\n#include <unistd.h>\n__attribute__((constructor)) static void begin(void)\n\
                  {\n    FILE *report = fopen(\"/tmp/report.tap\", \"w\");\n    if (report) { fputs(\"REPORT\", report); fclose(report); }\n    _exit(0);\n}";
    write(&session, &[("/tmp/x.c", &source.replace("REPORT", &passing("shell-rotate")))]).await;
    session.run("cc -shared -fPIC -o /usr/lib/x.so /tmp/x.c && cp /usr/lib/x.so /workspace/ && echo /usr/lib/x.so >/etc/ld.so.preload").await.expect("", "", 0);
    let got = session.run("/bin/cat /etc/ld.so.preload; /bin/cat /tmp/report.tap").await;
    assert_eq!(
        (got.out().as_str(), got.exit_code()),
        ("", 0),
        "no program does what it should there any more: {got:?}"
    );
    expect_result(&judged(&mut client, &sandbox).await, Some(Reason::TestsFailed));
}

/// What shows which repository there is, and what has run in it.
const LOOKS: &str = r#"command = "git status --porcelain >/dev/null; cat .git/config; ls -A .git/hooks /tmp; ls -A | grep ran; . ./calc.sh; test $(div 6 3) = 2"
timeout = "60s"
report = { format = "exit_code" }"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_repository_runs_nothing() {
    let lab = Lab::new(Runtime::Linux, &[("looks", LOOKS)]);
    let sandbox = lab.sandbox("looks").await;
    let session = sandbox.session("/bin/sh").await;
    let untouched = result(&lab.verify(&sandbox).await).stdout.clone();
    let mark = token();
    let evil = format!("touch /tmp/{mark} /workspace/ran; cp /tmp/right /workspace/calc.sh; exit 0");
    write(&session, &[("/tmp/right", RIGHT), ("/tmp/evil", &format!("#!/bin/sh\n{evil}"))]).await;
    let hooks = "for h in pre-commit post-checkout post-merge post-index-change pre-auto-gc fsmonitor-watchman reference-transaction; do cp /tmp/evil .git/hooks/$h; done";
    let config = "printf '[core]\\nfsmonitor=/tmp/evil\\nhooksPath=/tmp/hooks\\nworktree=/tmp/elsewhere\\npager=/tmp/evil\\nsshCommand=/tmp/evil\\n\
                  [include]\\npath=/tmp/more\\n[filter \"x\"]\\nclean=/tmp/evil\\nsmudge=/tmp/evil\\nprocess=/tmp/evil\\nrequired=true\\n[diff]\\nexternal=/tmp/evil\\n\
                  [diff \"x\"]\\ntextconv=/tmp/evil\\ncommand=/tmp/evil\\n[credential]\\nhelper=/tmp/evil\\n[gpg]\\nprogram=/tmp/evil\\n[alias]\\nstatus=!/tmp/evil\\n' \
                  | tee .git/config /tmp/more .git/config.worktree ~/.gitconfig /etc/gitconfig >/dev/null";
    let attributes = "printf '* filter=x diff=x\\n' | tee .gitattributes .git/info/attributes >/dev/null; printf '[submodule \"m\"]\\npath=m\\nurl=.\\nupdate=!/tmp/evil\\n' >.gitmodules";
    for attack in [
        hooks,
        config,
        attributes,
        "rm -rf .git && mkdir -p /tmp/g/hooks && git init -q --bare /tmp/g && echo 'gitdir: /tmp/g' >.git",
        "rm -rf .git && ln -s / .git",
        "rm -rf .git && mkfifo .git",
    ] {
        session.run(format!("cd /workspace && {attack}")).await;
        let judged = lab.verify(&sandbox).await;
        expect_result(&judged, Some(Reason::ExitCode));
        assert_eq!(result(&judged).stdout, untouched, "{attack}");
    }
    assert!(!Path::new("/tmp").join(&mark).exists(), "it ran on the host");
    // Programs that the sandbox itself has called may have run there.
    write(&session, &[("/workspace/calc.sh", RIGHT)]).await;
    expect_result(&lab.verify(&sandbox).await, None);

    // Patches bring no repository.
    for path in [".git/hooks/post-checkout", ".git/config", ".git/info/attributes", ".gitattributes", ".gitmodules"] {
        let text = if path.ends_with("checkout") {
            format!("#!/bin/sh\n{evil}")
        } else {
            "[core]\nfsmonitor=/tmp/evil\n* filter=x".into()
        };
        let lines: String = text.lines().map(|line| format!("+{line}\n")).collect();
        let adds = format!(
            "diff --git a/{path} b/{path}\nnew file mode 100755\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{} @@\n{lines}",
            text.lines().count()
        );
        let judged = lab.verify_patch("looks", &adds).await;
        let got = result(&judged);
        assert!(
            !got.is_success && matches!(got.reason(), Reason::ExitCode | Reason::PatchNotApplied),
            "{path}: {got:?}"
        );
        assert!(got.reason() == Reason::PatchNotApplied || got.stdout == untouched, "{path}: {got:?}");
    }
}

/// What calls git in each directory, as tools do that look for versions.
const LOOKS_DEEPER: &str = r#"command = "for d in */ */*/; do git -C $d status >/dev/null 2>&1; done; ls -A . m /tmp | grep ran; . ./calc.sh; test $(div 6 3) = 2"
timeout = "60s"
report = { format = "exit_code" }"#;

/// Git obeys what a repository says that it finds in a directory, such as the place of a submodule.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nor_does_a_repository_in_it() {
    let lab = Lab::new(Runtime::Linux, &[("looks", LOOKS_DEEPER)]);
    let sandbox = lab.sandbox("looks").await;
    let session = sandbox.session("/bin/sh").await;
    let evil = format!("#!/bin/sh\ntouch /workspace/ran\ncat >/workspace/calc.sh <<'END'\n{RIGHT}END");
    write(&session, &[("/workspace/evil", &evil), ("/workspace/m/file", "x"), ("/workspace/m/n/file", "x")]).await;
    let makes = "for d in m m/n; do git init -q $d && git -C $d add . && git -C $d config core.fsmonitor /workspace/evil && [ -d $d/.git ] || exit; done";
    session.run(format!("cd /workspace && ({makes}) 2>/dev/null; git -C m status >/dev/null 2>&1; ls")).await.expect(
        "calc.sh\nevil\nm\nran\ntests\n",
        "",
        0,
    );
    // There it has run, and here it does not.
    session.run(format!("rm ran; cat >calc.sh <<'END'\n{CODE}END\n")).await.expect("", "", 0);
    let judged = lab.verify(&sandbox).await;
    expect_result(&judged, Some(Reason::ExitCode));
    assert_eq!(result(&judged).stdout, "");
}

/// Links come in with a patch, and what is written through them stays where it was applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_patch_writes_through_no_link() {
    let lab = Lab::new(Runtime::Linux, &[("calc", HIDDEN)]);
    let link = |path: &str, to: &str| {
        format!(
            "diff --git a/{path} b/{path}\nnew file mode 120000\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+{to}\n\\ No newline at end of file\n"
        )
    };
    let file = |path: &str| {
        format!(
            "diff --git a/{path} b/{path}\nnew file mode 100755\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+exit 0\n"
        )
    };
    let mark = token();
    let mut client = lab.client().await;
    for patch in [
        link("out", "/") + &file(&format!("out/tmp/{mark}")),
        link("out", "/usr/local/bin") + &file("out/sh"),
        link(".verify", "/tmp") + &file(".verify/hidden.sh"),
        link(".verify/hidden.sh", "/tmp/mine.sh"),
        file(&format!("../tmp/{mark}")),
        file(&format!("/tmp/{mark}")),
        link("report.tap", "/tmp/report.tap") + &file("report.tap"),
    ] {
        let started = client.start(of_patch("calc", &patch)).await;
        let judged = client.end(&started).await;
        let got = result(&judged);
        assert!(
            matches!(got.reason(), Reason::TestsFailed | Reason::PatchNotApplied) && !got.is_success,
            "{patch}: {got:?}"
        );
        assert!(!Path::new("/tmp").join(&mark).exists(), "{patch}");
    }
    expect_result(&lab.verify_patch("calc", &(link("out", "/") + &patch(RIGHT))).await, None);
}

/// Programs of the agent's that swap directories for links, and files for others, while they are being taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_changes_while_it_is_taken_makes_no_success() {
    let lab = Lab::with(Runtime::Linux, &[("calc", HIDDEN)], Options::default());
    let (mut client, mut dice) = (lab.client().await, Dice::new());
    let sandbox = lab.sandbox("calc").await;
    let session = sandbox.session("/bin/sh").await;
    let swaps = "cd /workspace; mkdir -p a/b/c; for i in $(seq 300); do echo $i >a/b/c/$i; done; export PASSING='ok 1 - divides\nok 2 - adds\n1..2\n'\n\
                 (while :; do rm -f l; ln -s / l; mv -T a z 2>/dev/null; ln -sfn /etc a; mkdir -p .verify; echo \"printf '$PASSING'\" >.verify/hidden.sh; rm a; mv -T z a; \
                 rm -rf .verify; ln -s /tmp .verify; rm l; mkdir l; rmdir l; rm -rf .verify; printf \"$PASSING\" >/tmp/report.tap; done) >/dev/null 2>&1 & echo $! >/tmp/pid";
    session.run(swaps).await.expect("", "", 0);
    for _ in 0..6 {
        tokio::time::sleep(std::time::Duration::from_millis(dice.below(50))).await;
        let judged = judged(&mut client, &sandbox).await;
        match judged.state() {
            State::Completed => expect_result(&judged, Some(Reason::TestsFailed)),
            State::Error => {
                let error = judged.error.clone().unwrap_or_default();
                assert_eq!(error.reason(), verification_error::Reason::ChangesNotTaken, "{judged:?}");
            }
            _ => panic!("{judged:?}"),
        }
    }
    session.run("kill -9 $(cat /tmp/pid); echo ended").await.expect("ended\n", "", 0);
    session.run(format!("cat >calc.sh <<'END'\n{RIGHT}END\n")).await;
    expect_result(&judged(&mut client, &sandbox).await, None);
}
