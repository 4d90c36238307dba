//! Datasets of a test's own, and servers that have them.

use super::{Options, Runtime, v1};
use std::{
    fmt::Write,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A dataset `set` in a directory of its own.
pub struct Dataset {
    home: tempfile::TempDir,
    /// The commit of [`Dataset::repository`] that a task begins with.
    pub commit: String,
}

/// Text that is in the future of the repository, and nowhere in its past.
pub const ANSWER: &str = "the-answer-of-the-future";

/// Runs git, which must succeed.
pub fn git(at: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(at).args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*"]);
    let output = command.args(arguments).output().expect("these tests need: apt-get install git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Dataset {
    /// With a repository that has a past, and a future of every kind.
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        // Also for a server that is not root's.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let mut this = Self { home, commit: String::new() };
        let code = this.repository();
        fs::create_dir_all(&code).expect("a directory");
        git(&code, &["init", "-q"]);
        let commit = |text: &str| {
            fs::write(code.join("file"), format!("{text}\n")).expect("a file");
            fs::write(code.join("run.sh"), "#!/bin/sh\necho ran\n").expect("a file");
            fs::set_permissions(code.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("a mode");
            git(&code, &["add", "-A"]);
            git(&code, &["commit", "-q", "-m", text]);
            git(&code, &["rev-parse", "HEAD"])
        };
        commit("first");
        this.commit = commit("base");
        commit(ANSWER);
        git(&code, &["tag", "-a", "later", "-m", ANSWER]);
        git(&code, &["update-ref", "refs/remotes/origin/later", "HEAD"]);
        fs::write(code.join("file"), ANSWER).expect("a file");
        git(&code, &["stash"]);
        this
    }

    /// The directory of the dataset.
    pub fn directory(&self) -> PathBuf {
        self.home.path().join("set")
    }

    /// The repository, which is in the dataset and in no sample.
    pub fn repository(&self) -> PathBuf {
        self.directory().join("repository")
    }

    /// Adds a sample of the repository, or writes it anew.
    pub fn add(&self, id: &str, setup: &[&str]) {
        self.write(id, &format!("git = \"../repository\"\ncommit = \"{}\"", self.commit), "600s", setup);
    }

    /// Adds a sample, with what `sample.toml` has to say of its code base.
    pub fn write(&self, id: &str, codebase: &str, setup_timeout: &str, setup: &[&str]) {
        let directory = self.directory().join(id);
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("task.md"), "Do it.").expect("a file");
        let mut commands = String::new();
        for command in setup {
            let _ = write!(commands, "{command:?}, ");
        }
        let text = format!(
            "id = \"{id}\"\ntitle = \"A sample\"\nlanguage = \"sh\"\nimage = \"host\"\ndescription = \"task.md\"\nversion = \"3\"\n\
             setup = [{commands}]\nsetup_timeout = \"{setup_timeout}\"\n[codebase]\n{codebase}\n\
             [verification]\ncommand = \"true\"\nreport = {{ format = \"exit_code\" }}\n"
        );
        // There at once and as a whole: the server may be reading.
        let draft = self.directory().join(".draft");
        fs::write(&draft, text).expect("a file");
        fs::rename(draft, directory.join("sample.toml")).expect("a file");
    }

    /// How a server that has it is started.
    pub fn options(&self, on: Runtime) -> Options {
        let mut options = on.options();
        options.args.extend(["--catalog".to_owned(), self.directory().display().to_string()]);
        options
    }

    /// Asks for a sandbox of a sample.
    pub fn request(on: Runtime, id: &str) -> v1::CreateSandboxRequest {
        let sample = v1::SampleSource { dataset: "set".into(), sample_id: id.into(), ..Default::default() };
        v1::CreateSandboxRequest { sample: Some(sample), ..on.request() }
    }
}
