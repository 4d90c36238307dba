use super::*;
use crate::sample::Catalogue;
use std::{fs, process::Command};

/// A dataset with one sample, whose code base is in a repository with a past, and with a future that nobody may find.
struct Repository {
    home: tempfile::TempDir,
    commit: String,
}

fn git(at: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(at).args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=trunk"]);
    let output = command.args(arguments).output().expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Repository {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let code = home.path().join("set/one/code");
        fs::create_dir_all(&code).unwrap();
        git(&code, &["init", "-q"]);
        let commit = |text: &str| {
            fs::write(code.join("file"), text).unwrap();
            git(&code, &["add", "-A"]);
            git(&code, &["commit", "-q", "-m", text]);
            git(&code, &["rev-parse", "HEAD"])
        };
        commit("first");
        let base = commit("base");
        commit("the answer");
        git(&code, &["tag", "-a", "later", "-m", "a tag of the answer"]);
        git(&code, &["branch", "answer"]);
        git(&code, &["update-ref", "refs/remotes/origin/answer", "HEAD"]);
        fs::write(code.join("file"), "stashed").unwrap();
        git(&code, &["stash"]);

        let hook = code.join(".git/hooks/post-checkout");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::write(&hook, "#!/bin/sh\ntouch /tmp/sandshell-hook-has-run\n").unwrap();
        Self { home, commit: base }
    }

    fn sample(&self, codebase: &str) -> std::sync::Arc<Sample> {
        let text = format!(
            "id = \"one\"\ntitle = \"t\"\nlanguage = \"sh\"\nimage = \"host\"\ndescription = \"task.md\"\nversion = \"1\"\n\
             [codebase]\n{codebase}\n[verification]\ncommand = \"true\"\nreport = {{ format = \"exit_code\" }}\n"
        );
        let sample = self.home.path().join("set/one");
        fs::write(sample.join("sample.toml"), text).unwrap();
        fs::write(sample.join("task.md"), "do").unwrap();
        let catalogue = Catalogue::load(&[self.home.path().join("set")]);
        catalogue.sample("set", "one").unwrap_or_else(|| panic!("{:?}", catalogue.problems()))
    }

    fn of_git(&self) -> std::sync::Arc<Sample> {
        self.sample(&format!("git = \"code\"\ncommit = \"{}\"", self.commit))
    }

    /// Unpacks what a sandbox would get.
    async fn unpack(&self, sample: &Sample, history: History) -> PathBuf {
        let workspace = Workspace::open(sample, history, &self.home.path().join("scratch")).await.unwrap();
        let mut pieces = workspace.pack();
        let at = self.home.path().join("unpacked");
        let _ = fs::remove_dir_all(&at);
        fs::create_dir(&at).unwrap();
        let mut archive = Vec::new();
        while let Some(piece) = pieces.recv().await {
            archive.extend(piece.unwrap());
        }
        fs::write(self.home.path().join("archive"), archive).unwrap();
        let mut tar = Command::new("tar");
        assert!(tar.arg("xf").arg(self.home.path().join("archive")).arg("-C").arg(&at).status().unwrap().success());
        at
    }
}

#[tokio::test]
async fn a_repository_has_the_past_or_nothing_and_never_the_future() {
    let repository = Repository::new();
    let sample = repository.of_git();
    for (history, commits) in [(History::Past, 2), (History::None, 1)] {
        let at = repository.unpack(&sample, history).await;
        assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "base");
        assert_eq!(git(&at, &["status", "--porcelain"]), "");
        assert_eq!(git(&at, &["rev-list", "--all", "--count"]), commits.to_string());
        assert_eq!(git(&at, &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
        // A commit, its files and their content each; without the past the files of one.
        let objects = git(&at, &["cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"]);
        assert_eq!(objects.lines().count(), 3 * commits, "{objects}");
        for line in objects.lines() {
            let (object, kind) = line.split_once(' ').unwrap();
            let content = git(&at, &["cat-file", kind, object]);
            assert!(!content.contains("answer") && !content.contains("stash"), "{content}");
        }
        assert_eq!(git(&at, &["fsck", "--full", "--unreachable", "--strict"]), "");
        assert_eq!(git(&at, &["reflog", "--all"]), "");
        assert_eq!(git(&at, &["stash", "list"]), "");
        assert!(
            !at.join(".git/hooks").exists() && !at.join(".git/logs").exists() && !at.join(".git/ORIG_HEAD").exists()
        );
        assert_eq!(
            git(&at, &["show", "-s", "--format=%ct"]),
            git(&repository.home.path().join("set/one/code"), &["show", "-s", "--format=%ct", &repository.commit],)
        );
    }
    assert!(!Path::new("/tmp/sandshell-hook-has-run").exists());
    assert_eq!(fs::read_dir(repository.home.path().join("scratch")).unwrap().count(), 0, "copies are removed");
}

#[tokio::test]
async fn a_shallow_repository_and_a_bundle_are_repositories_too() {
    let repository = Repository::new();
    let set = repository.home.path().join("set/one");
    git(&set.join("code"), &["bundle", "create", "-q", "../all.bundle", "--all"]);
    let sample = repository.sample(&format!("git = \"all.bundle\"\ncommit = \"{}\"", repository.commit));
    let at = repository.unpack(&sample, History::Past).await;
    assert_eq!(git(&at, &["rev-list", "--all", "--count"]), "2");

    let url = format!("file://{}", set.join("code").display());
    git(&set, &["clone", "-q", "--depth=2", "--bare", &url, "short.git"]);
    let sample = repository.sample(&format!("git = \"short.git\"\ncommit = \"{}\"", repository.commit));
    let at = repository.unpack(&sample, History::Past).await;
    assert_eq!(git(&at, &["rev-list", "--all", "--count"]), "1");
    assert_eq!(git(&at, &["fsck", "--full"]), "");
}

#[tokio::test]
async fn a_directory_brings_no_repository_of_its_own() {
    let repository = Repository::new();
    let at = repository.unpack(&repository.sample("directory = \"code\""), History::Past).await;
    assert!(at.join("file").exists() && !at.join(".git").exists());
}

#[tokio::test]
async fn what_git_says_is_told() {
    let repository = Repository::new();
    let missing = "0123456789012345678901234567890123456789";
    let sample = repository.sample(&format!("git = \"code\"\ncommit = \"{missing}\""));
    let error = Workspace::open(&sample, History::Past, &repository.home.path().join("scratch")).await.unwrap_err();
    assert!(matches!(&error, CodebaseError::Git { said, .. } if !said.is_empty()), "{error}");
}
