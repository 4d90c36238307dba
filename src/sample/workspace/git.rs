//! A new repository with the objects that one commit is made of, and no others.
//!
//! Not by cloning: what a clone brings along depends on branches, tags and settings. The objects that can be reached from the commit are
//! packed and unpacked, and the only reference is the one that is made here. The operator's repository is trusted as its other files
//! are, yet nothing of its configuration that would run a program, and no hook, has a part in this.

use super::{CodebaseError, History};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

/// The new working tree, in the directory of this code base.
pub(super) const TREE: &str = "tree";

/// What is kept of what git says, and what is told of it.
const MOST_SAID: u64 = 64 << 10;
const TOLD: usize = 500;

/// Who makes the commit of a repository without past, and what it says.
const NOBODY: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "Sandshell"),
    ("GIT_AUTHOR_EMAIL", "sandshell@localhost"),
    ("GIT_COMMITTER_NAME", "Sandshell"),
    ("GIT_COMMITTER_EMAIL", "sandshell@localhost"),
];
const MESSAGE: &str = "The code as it is when the task begins";

/// Makes `directory/tree`: the files of the commit, and their repository.
pub(super) async fn copy(
    repository: &Path,
    commit: &str,
    history: History,
    directory: &Path,
) -> Result<(), CodebaseError> {
    let git = Git { program: find().ok_or(CodebaseError::NoGit)? };
    let tree = directory.join(TREE);
    make(&git, &tree).await?;
    let unbundled = directory.join("unbundled");
    let from = if repository.is_file() {
        make(&git, &unbundled).await?;
        git.ask("unpack the bundle", &unbundled, &["bundle", "unbundle", &text(repository)]).await?;
        &unbundled
    } else {
        repository
    };
    // Also that it is a commit, and is there.
    let step = "find the commit of the sample";
    let date = git.ask(step, from, &["log", "-1", "--no-show-signature", "--format=%ct", commit, "--"]).await?;
    let top = match history {
        History::Past => {
            shallow(&git, from, commit, &tree).await?;
            take(&git, from, commit, &tree).await?;
            commit.to_ascii_lowercase()
        }
        History::None => {
            let files = git.ask(step, from, &["rev-parse", "--verify", &format!("{commit}^{{tree}}")]).await?;
            take(&git, from, files.trim(), &tree).await?;
            git.commit(&tree, files.trim(), date.trim()).await?
        }
    };
    let top = top.trim();
    git.ask("name the commit", &tree, &["update-ref", "refs/heads/main", top]).await?;
    git.ask("unpack the files", &tree, &["read-tree", "-u", "--reset", "HEAD"]).await?;
    Ok(())
}

/// An empty repository on a branch `main`.
async fn make(git: &Git, at: &Path) -> Result<(), CodebaseError> {
    fs::create_dir(at).map_err(|source| CodebaseError::Io { step: "make a directory for the code base", source })?;
    // Without templates there are no hooks, not even examples.
    git.ask("make a repository", at, &["init", "-q", "--template="]).await?;
    git.ask("make a repository", at, &["symbolic-ref", "HEAD", "refs/heads/main"]).await.map(drop)
}

/// Copies what can be reached from an object.
async fn take(git: &Git, from: &Path, object: &str, to: &Path) -> Result<(), CodebaseError> {
    let step = "copy the objects of the commit";
    let failed = |source| CodebaseError::Io { step, source };
    let mut packing = git.command(from, &["pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset"]);
    let mut packing = packing.stdin(Stdio::piped()).spawn().map_err(failed)?;
    let pack: Stdio = match packing.stdout.take() {
        Some(pack) => pack.try_into().map_err(failed)?,
        None => Stdio::null(),
    };
    let mut unpacking = git.command(to, &["index-pack", "--stdin"]).stdin(pack).spawn().map_err(failed)?;
    if let Some(mut wanted) = packing.stdin.take() {
        // One that has ended says why itself.
        let _ = wanted.write_all(format!("{object}\n").as_bytes()).await;
    }
    let (packed, unpacked) = tokio::join!(end(step, &mut packing), end(step, &mut unpacking));
    packed?;
    unpacked.map(drop)
}

/// Where the operator's repository ends, the new one does too.
async fn shallow(git: &Git, from: &Path, commit: &str, to: &Path) -> Result<(), CodebaseError> {
    let step = "look how far the history goes back";
    if git.ask(step, from, &["rev-parse", "--is-shallow-repository"]).await?.trim() != "true" {
        return Ok(());
    }
    let failed = |source| CodebaseError::Io { step, source };
    let file = git.ask(step, from, &["rev-parse", "--git-path", "shallow"]).await?;
    let ends = fs::read_to_string(from.join(file.trim())).map_err(failed)?;
    // Of those of other branches nothing is told.
    let mut reached = String::new();
    for end in ends.lines().filter(|end| end.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        if git.ask(step, from, &["merge-base", "--is-ancestor", end, commit]).await.is_ok() {
            reached.push_str(end);
            reached.push('\n');
        }
    }
    fs::write(to.join(".git/shallow"), reached).map_err(failed)
}

/// Where git is.
fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    env::split_paths(&path).map(|directory| directory.join("git")).find(|git| git.is_file())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

struct Git {
    program: PathBuf,
}

impl Git {
    /// Git with nothing of its environment, and of its configuration only the repository's own.
    fn command(&self, at: &Path, arguments: &[&str]) -> Command {
        // Files are to be readable by others, whatever the server's umask is; without an `unsafe` that only a shell can say.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 022; exec \"$@\"", "sh"]).arg(&self.program).arg("-C").arg(at);
        for setting in [
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.logAllRefUpdates=false",
            "core.autocrlf=false",
            "core.quotePath=false",
            "safe.directory=*",
            "gc.auto=0",
            "maintenance.auto=false",
            "commit.gpgSign=false",
            "protocol.allow=never",
        ] {
            command.args(["-c", setting]);
        }
        command.args(arguments).env_clear();
        let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        command.env("PATH", path).env("HOME", "/nonexistent").env("LC_ALL", "C.UTF-8");
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_TERMINAL_PROMPT", "0"),
        ] {
            command.env(name, value);
        }
        command.envs(NOBODY);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs git, and returns what it prints.
    async fn ask(&self, step: &'static str, at: &Path, arguments: &[&str]) -> Result<String, CodebaseError> {
        let child = self.command(at, arguments).spawn();
        end(step, &mut child.map_err(|source| CodebaseError::Io { step, source })?).await
    }

    /// Makes a commit without parents, of the time that the sample's commit has.
    async fn commit(&self, at: &Path, files: &str, date: &str) -> Result<String, CodebaseError> {
        let step = "make the commit";
        let mut command = self.command(at, &["commit-tree", files, "-m", MESSAGE]);
        let date = format!("{date} +0000");
        let child = command.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date).spawn();
        end(step, &mut child.map_err(|source| CodebaseError::Io { step, source })?).await
    }
}

/// Waits for its end, and returns what it printed, as far as that is not too long.
async fn end(step: &'static str, child: &mut Child) -> Result<String, CodebaseError> {
    let (out, error) = (child.stdout.take(), child.stderr.take());
    let read = async {
        let (mut printed, mut said) = (Vec::new(), Vec::new());
        tokio::try_join!(read(out, &mut printed), read(error, &mut said))?;
        Ok::<_, io::Error>((printed, said))
    };
    let failed = |source| CodebaseError::Io { step, source };
    let (printed, said) = read.await.map_err(failed)?;
    if child.wait().await.map_err(failed)?.success() {
        return Ok(String::from_utf8_lossy(&printed).into_owned());
    }
    let said = String::from_utf8_lossy(&said);
    let start = said.char_indices().rev().nth(TOLD).map_or(0, |(at, _)| at);
    Err(CodebaseError::Git { step, said: said[start..].trim().to_owned() })
}

/// Reads all, and keeps the beginning.
async fn read(from: Option<impl tokio::io::AsyncRead + Unpin>, kept: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    (&mut from).take(MOST_SAID).read_to_end(kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await.map(drop)
}
