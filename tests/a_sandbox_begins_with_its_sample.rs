//! A sandbox that is made from a sample has its code base as it was at its commit, nothing of what came after, and what its setup has made;
//! and a session.

use crate::{
    kit::{
        Options, Runtime, Server,
        archives::unpacked,
        cli::sandshell,
        create_sandbox,
        datasets::{ANSWER, Dataset, git},
        errors::expect_error,
        v1, within,
    },
    what_differs_from_the_image_is_told::changes,
};
use std::{fs, process::Command};
use tonic::Code;
use v1::sample_source::History;

crate::in_every_runtime!(
    the_code_base_is_at_its_commit_and_has_no_future,
    a_directory_and_an_archive_are_code_bases_too,
    a_setup_that_fails_is_told_and_leaves_nothing,
    each_mistake_has_its_reason,
    the_command_line_makes_it,
);

fn source(id: &str, history: History) -> Option<v1::SampleSource> {
    Some(v1::SampleSource { dataset: "set".into(), sample_id: id.into(), history: history.into() })
}

async fn the_code_base_is_at_its_commit_and_has_no_future(on: Runtime) {
    let dataset = Dataset::new();
    dataset.add("one", &["cp file made", "echo two >> made"]);
    let server = Server::start(dataset.options(on));
    for (history, commits) in [(History::Unspecified, 2), (History::None, 1)] {
        let request = v1::CreateSandboxRequest { sample: source("one", history), ..on.request() };
        let s = create_sandbox(&server, request).await;
        assert_eq!(s.described.working_directory, "/workspace");
        let sample = s.described.sample.clone().unwrap();
        let told = if history == History::None { History::None } else { History::Past };
        assert_eq!((sample.dataset.as_str(), sample.sample_id.as_str(), sample.version.as_str()), ("set", "one", "3"));
        assert_eq!(sample.history(), told);
        // The session is there, and is an ordinary one.
        let session = s.default_session().await;
        session.run("pwd; cat made; ./run.sh; A=1").await.expect("/workspace\nbase\ntwo\nran\n", "", 0);
        session.run("echo $A >> file; ls -A").await.expect(".git\nfile\nmade\nrun.sh\n", "", 0);

        let out = tempfile::tempdir().unwrap();
        unpacked(&s, "/workspace/.", out.path()).await;
        assert_eq!(git(out.path(), &["rev-list", "--all", "--count"]), commits.to_string());
        assert_eq!(git(out.path(), &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
        assert_eq!(git(out.path(), &["fsck", "--full", "--unreachable"]), "");
        assert_eq!(git(out.path(), &["reflog", "--all"]), "");
        let objects = git(out.path(), &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
        for object in objects.lines() {
            assert!(!git(out.path(), &["cat-file", "-p", object]).contains(ANSWER), "{object}");
        }
        assert_eq!(git(out.path(), &["status", "--porcelain"]), "M file\n?? made");
        // Nor anywhere else.
        s.run(&format!("grep -rlF {ANSWER} /workspace /etc /tmp /var /root /home 2>/dev/null")).await.expect("", "", 1);
    }
}

async fn a_directory_and_an_archive_are_code_bases_too(on: Runtime) {
    let dataset = Dataset::new();
    dataset.write("directory", "directory = \"code\"", "60s", &["cp file made"]);
    dataset.write("archive", "archive = \"code.tar.gz\"", "60s", &["cp file made"]);
    // With a repository in them that tells the future.
    git(&dataset.repository(), &["checkout", "-q", "--detach", &dataset.commit]);
    let [code, archive] = ["directory/code", "archive/code.tar.gz"].map(|name| dataset.directory().join(name));
    let runs = |program: &mut Command| assert!(program.status().unwrap().success(), "{program:?}");
    runs(Command::new("cp").arg("-a").arg(dataset.repository()).arg(&code));
    runs(Command::new("tar").arg("czf").arg(&archive).arg("-C").arg(dataset.repository()).arg("."));
    let server = Server::start(dataset.options(on));
    for id in ["directory", "archive"] {
        let s = create_sandbox(&server, Dataset::request(on, id)).await;
        let session = s.default_session().await;
        session.run("cat file made").await.expect("base\nbase\n", "", 0);
        let has_git = s.run("command -v git").await.exit_code() == 0;
        assert_eq!(has_git, on == Runtime::Linux, "these tests need: apt-get install git");
        let commits = if has_git { "main\n1\n0\n" } else { "none\n" };
        let look = "if [ -d .git ]; then git symbolic-ref --short HEAD; git rev-list --all --count; git reflog | wc -l; else echo none; fi";
        session.run(look).await.expect(commits, "", 0);
    }
}

async fn a_setup_that_fails_is_told_and_leaves_nothing(on: Runtime) {
    let dataset = Dataset::new();
    let fails = ["echo beginning; seq 1 5000", "echo this is why >&2; exit 3", "echo never"];
    dataset.add("fails", &fails);
    dataset.write(
        "slow",
        &format!("git = \"../repository\"\ncommit = \"{}\"", dataset.commit),
        "1s",
        &["sleep 100 & sleep 1000"],
    );
    let server = Server::start(dataset.options(on));
    let mut clients = server.connect().await;
    let error = within("a refusal", clients.sandboxes.create_sandbox(Dataset::request(on, "fails"))).await.unwrap_err();
    expect_error(&error, Code::FailedPrecondition, "SAMPLE_SETUP_FAILED");
    for part in ["set/fails", "exit code 3", "this is why"] {
        assert!(error.message().contains(part), "{part}: {error:?}");
    }
    assert!(!error.message().contains("never") && !error.message().contains("beginning"), "{error:?}");
    let error = within("a refusal", clients.sandboxes.create_sandbox(Dataset::request(on, "slow"))).await.unwrap_err();
    expect_error(&error, Code::FailedPrecondition, "SAMPLE_SETUP_FAILED");
    assert!(error.message().contains("was not over within"), "{error:?}");
    let listed = clients.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.total_size, 0, "{listed:?}");
    assert_eq!(left(&server, on), Vec::<String>::new());
}

/// What of sandboxes and layers is in the data directory.
fn left(server: &Server, on: Runtime) -> Vec<String> {
    let below = match on {
        Runtime::Linux => vec!["sandboxes", "layers", "codebases"],
        Runtime::Docker => vec!["docker/sandboxes", "codebases"],
    };
    let names = |below: &str| -> Vec<String> {
        let entries = fs::read_dir(server.data_dir().join(below)).into_iter().flatten().flatten();
        entries.map(|entry| format!("{below}/{}", entry.file_name().display())).collect()
    };
    below.into_iter().flat_map(names).collect()
}

async fn each_mistake_has_its_reason(on: Runtime) {
    let dataset = Dataset::new();
    dataset.add("one", &[]);
    dataset.write("lost", "git = \"../repository\"\ncommit = \"0123456789012345678901234567890123456789\"", "60s", &[]);
    let server = Server::start(dataset.options(on));
    let mut clients = server.connect().await;
    let mut refused = async |sample: v1::SampleSource| {
        let request = v1::CreateSandboxRequest { sample: Some(sample), ..on.request() };
        within("a refusal", clients.sandboxes.create_sandbox(request)).await.unwrap_err()
    };
    let named = |dataset: &str, sample: &str| v1::SampleSource {
        dataset: dataset.into(),
        sample_id: sample.into(),
        ..Default::default()
    };
    expect_error(&refused(named("set", "none")).await, Code::NotFound, "SAMPLE_NOT_FOUND");
    expect_error(&refused(named("none", "one")).await, Code::NotFound, "DATASET_NOT_FOUND");
    expect_error(&refused(named("", "")).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    let wrong = v1::SampleSource { history: 9, ..named("", "one") };
    expect_error(&refused(wrong).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    expect_error(&refused(named("", "lost")).await, Code::FailedPrecondition, "SAMPLE_UNUSABLE");
    // Without a dataset it is the only sample of that name.
    let request = v1::CreateSandboxRequest { sample: Some(named("", "one")), ..on.request() };
    let s = create_sandbox(&server, request).await;
    assert_eq!(s.described.sample.unwrap().dataset, "set");
    assert_eq!(create_sandbox(&server, on.request()).await.described.default_session_id, "");
}

async fn the_command_line_makes_it(on: Runtime) {
    let dataset = Dataset::new();
    dataset.add("one", &["cp file made"]);
    let server = Server::start(dataset.options(on));
    let url = server.url();
    let image = on.image();
    let image = if image.is_empty() { vec![] } else { vec!["--image", &image] };
    let common = [&["run", "--server", &url, "--sample", "set/one"][..], &image].concat();
    let ran = sandshell(&[&common[..], &["pwd; cat made"]].concat());
    assert_eq!(
        (String::from_utf8_lossy(&ran.stdout).as_ref(), ran.status.code()),
        ("/workspace\nbase\n", Some(0)),
        "{ran:?}"
    );
    let ran = sandshell(&[&common[..], &["--history", "none", "cat .git/refs/heads/main"]].concat());
    let top = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    assert!(top.len() == 40 && top != dataset.commit, "{ran:?}");
    let ran = sandshell(&["run", "--server", &url, "--sample", "set/none", "true"]);
    assert!(ran.status.code() == Some(125) && String::from_utf8_lossy(&ran.stderr).contains("set/none"), "{ran:?}");
}

/// What an ordinary user's server has in its sandboxes belongs to root there.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_ordinary_user_has_samples_too() {
    let dataset = Dataset::new();
    dataset.add("one", &["cp file made; rm file; mkdir d; mv run.sh d"]);
    let options = Options { uid: Some(65_534), ..dataset.options(Runtime::Linux) };
    let server = Server::start(options);
    for _ in 0..2 {
        let s = create_sandbox(&server, Dataset::request(Runtime::Linux, "one")).await;
        let session = s.default_session().await;
        session.run("cat made; stat -c %u made; d/run.sh; ls -A").await.expect("base\n0\nran\n.git\nd\nmade\n", "", 0);
        assert_eq!(changes(&s, 1000).await, Vec::<String>::new());
        session.run("echo x > file; rm made; mv d/run.sh d/other; git status --porcelain").await.expect(
            " M file\n D run.sh\n?? d/\n",
            "",
            0,
        );
        let told = changes(&s, 1000).await;
        let told: Vec<_> = told.iter().filter(|told| !told.contains("/.git")).map(String::as_str).collect();
        assert_eq!(
            told,
            [
                "~/workspace",
                "~/workspace/d",
                "+/workspace/d/other",
                "-/workspace/d/run.sh",
                "+/workspace/file",
                "-/workspace/made"
            ]
        );
    }
}

/// The sandbox's user has the code base, and a layer of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_users_sample_is_theirs() {
    let dataset = Dataset::new();
    dataset.add("one", &["cp file made", "id -un"]);
    let server = Server::start(dataset.options(Runtime::Linux));
    for (user, name) in [("nobody", "nobody"), ("", "root"), ("nobody", "nobody")] {
        let request = v1::CreateSandboxRequest { user: user.into(), ..Dataset::request(Runtime::Linux, "one") };
        let s = create_sandbox(&server, request).await;
        let session = s.default_session().await;
        let all = format!("{name}\n").repeat(4);
        session.run("stat -c %U . made file .git; echo x >> file; git status --porcelain").await.expect(
            format!("{all} M file\n?? made\n"),
            "",
            0,
        );
    }
    assert_eq!(fs::read_dir(server.data_dir().join("layers")).unwrap().count(), 2);
}
