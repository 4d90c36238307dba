//! What would give a task away is in no place that its sandbox reaches: neither in its files nor in its repository, neither before a verification
//! nor while one runs nor afterwards.

use crate::kit::{
    Finished, Runtime, Session, examples,
    examples::{Examples, reference},
    v1,
    verifying::{Verifier, expect_result, of_patch, of_sandbox},
};
use sandshell::api::v1::{verification::State, verification_result::Reason};
use std::{collections::BTreeSet, fs, path::Path};

crate::in_every_runtime!(neither_before_nor_meanwhile_nor_afterwards);

/// A shorter line may be anywhere by chance.
const SHORTEST: usize = 16;

/// All lines of the files below a directory.
fn lines_below(directory: &Path) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            lines.extend(lines_below(&entry.path()));
        } else {
            lines.extend(fs::read_to_string(entry.path()).unwrap().lines().map(|line| line.trim().to_owned()));
        }
    }
    lines
}

/// What the reference patch adds, and what is in the hidden tests: each line that is not in the code already.
fn secrets(id: &str) -> BTreeSet<String> {
    let known = lines_below(&examples::sample(id).join("code"));
    let patch = reference(id);
    let added = patch.lines().filter(|line| !line.starts_with("+++")).filter_map(|line| line.strip_prefix('+'));
    let mut secrets: BTreeSet<_> = added.map(|line| line.trim().to_owned()).collect();
    assert!(secrets.len() > 1, "{id}: {secrets:?}");
    secrets.extend(lines_below(&examples::sample(id).join("verification")));
    secrets.retain(|line| line.len() >= SHORTEST && !known.iter().any(|known| known.contains(line.as_str())));
    assert!(secrets.len() > 5, "{id}: {secrets:?}");
    secrets
}

/// Looks for lines everywhere. The lines come on standard input, so that they are nowhere while it looks. What is found is printed, behind the
/// place where it was.
const LOOK: &str = r#"lines=$(cat)
looking() { printf '%s\n' "$lines"; }
cd /workspace
grep -raF -f <(looking) / /dev/shm --exclude-dir=usr --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev --exclude-dir=dpkg --exclude-dir=alternatives 2>/dev/null | sed 's/^/files: /'
for process in /proc/[0-9]*; do [ $process = /proc/$$ ] || cat $process/cmdline $process/environ $process/mountinfo 2>/dev/null; done | grep -aF -f <(looking) | sed 's/^/processes: /'
if [ -e .git ]; then
    { git log --all --stat -p; git reflog show --all; git for-each-ref; git stash list; git notes list; cat .git/packed-refs .git/*HEAD; } 2>/dev/null | grep -aF -f <(looking) | sed 's/^/history: /'
    git cat-file --batch-all-objects --batch --unordered | grep -aF -f <(looking) | sed 's/^/objects: /'
    git fsck --unreachable --no-reflogs --lost-found 2>/dev/null | grep -E 'unreachable|dangling' | sed 's/^/unreachable: /'
fi
find / -xdev \( -name .verify -o -name reference.patch -o -name 'hidden*.py' -o -name sample.toml \) ! -path '/usr/*' ! -path '/proc/*' | sed 's/^/names: /'
"#;

async fn look<'a>(session: &Session, lines: impl IntoIterator<Item = &'a String>) -> Finished {
    let lines: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
    let start = v1::ExecStart { stdin: true, ..session.start(LOOK) };
    session.run_start(start, lines.as_bytes()).await
}

async fn neither_before_nor_meanwhile_nor_afterwards(on: Runtime) {
    // The tests wait in the sandbox of the verification, with the hidden files laid over the code, until they are cancelled.
    let lab = Examples::with(on, |toml| {
        *toml = toml.replace("command = \"", "command = \"[ -e go-on ] || { echo begun; sleep 50; }; ")
    });
    let mut client = lab.client().await;
    for id in examples::samples(on) {
        let secrets = secrets(id);
        let sandbox = lab.sandbox(id).await;
        let session = sandbox.session("/bin/bash").await;
        // What there is is found, wherever it is.
        let code = lines_below(&examples::sample(id).join("code"));
        let known = code.iter().max_by_key(|line| line.len());
        let found = look(&session, known).await;
        let places: &[&str] = if on == Runtime::Linux {
            &["files: /workspace/", "history: +", "objects: "]
        } else {
            &["files: /workspace/"]
        };
        for place in places {
            assert!(found.out().contains(place), "{id}: {place} {known:?}: {found:?}");
        }
        look(&session, &secrets).await.expect("", "", 0);
        let running = client.start(of_sandbox(&sandbox)).await;
        follow_to_the_tests(&mut client, &running).await;
        look(&session, &secrets).await.expect("", "", 0);
        client.cancel(&running.verification_id).await;
        // A patch is applied in a sandbox like this one, which is another.
        let running = client.start(of_patch(id, &reference(id))).await;
        follow_to_the_tests(&mut client, &running).await;
        look(&session, &secrets).await.expect("", "", 0);
        client.cancel(&running.verification_id).await;
        session.run("touch /workspace/go-on").await.expect("", "", 0);
        let started = client.start(of_sandbox(&sandbox)).await;
        expect_result(&client.end(&started).await, Some(Reason::TestsFailed));
        look(&session, &secrets).await.expect("", "", 0);
        sandbox.delete().await;
    }
}

async fn follow_to_the_tests(client: &mut Verifier, running: &v1::Verification) {
    let seen = client.follow(running, |_, seen| seen.stdout == b"begun\n").await;
    assert_eq!(seen.states.last(), Some(&State::Running));
}
