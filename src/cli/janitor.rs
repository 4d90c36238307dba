//! What a private server leaves when it is killed is cleared up by a process of its own, which waits for that from the
//! beginning: whoever kills `run` cannot mean its sandboxes to go on, because nobody could ever find them again.

use super::{
    error::CliError,
    launch::{self, RuntimeKind, RuntimeOption},
};
use crate::{
    data_dir::DataDir,
    runtime::{Runtime, RuntimeError},
};
use std::{
    fs,
    io::{Read, stdin},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// When what was asked for last is there, if it comes at all.
const SETTLED: Duration = Duration::from_secs(1);

/// How long it may take until everything can be taken over, and the pause between two attempts.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// What to clear up, and how it was made.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    dir: PathBuf,
    #[arg(long)]
    runtime: RuntimeKind,
    #[arg(long, value_parser = launch::runtime_option)]
    runtime_option: Vec<RuntimeOption>,
}

/// The process that waits. Dropped when there is nothing left to clear up, it ends.
pub(super) struct Janitor {
    child: Child,
    dir: PathBuf,
}

impl Janitor {
    /// Starts it.
    pub(super) fn start(dir: &Path, runtime: RuntimeKind, options: &[RuntimeOption]) -> Result<Self, CliError> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("janitor").arg(dir).arg("--runtime").arg(launch::name(runtime));
        for (name, value) in options {
            command.arg("--runtime-option").arg(format!("{name}={value}"));
        }
        // Its standard input ends when this process does, however that happens. Outputs of ours would stay open with it, and
        // keys pressed on the terminal are not for it.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().map_err(|source| CliError::io("start the janitor", source))?;
        Ok(Self { child, dir: dir.to_owned() })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // What is still there it clears up without us.
        if !self.dir.exists() {
            let _ = self.child.wait();
        }
    }
}

/// Waits for the end of who started it, and removes what is left then.
pub(super) fn main(args: &Args) -> Result<ExitCode, CliError> {
    // Whether it ends or breaks is the same.
    let _ = stdin().read_to_end(&mut Vec::new());
    if !args.dir.exists() {
        return Ok(ExitCode::SUCCESS);
    }
    // Helpers of the dead may hold on to it a little longer.
    let data = patiently(|| Ok(DataDir::open(&args.dir)?))?;
    let runtime = patiently(|| launch::start(args.runtime, data.path(), &args.runtime_option))?;
    super::block_on(async move {
        let removed = clear(&runtime).await;
        removed.map_err(|error| CliError::Runtime { name: runtime.name().to_owned(), reason: error.to_string() })
    })?;
    fs::remove_dir_all(data.path()).map_err(|source| CliError::io("remove the directory", source))?;
    Ok(ExitCode::SUCCESS)
}

/// Tries again and again, until it has had time enough. Nothing else runs here.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, CliError>) -> Result<T, CliError> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(_) if began.elapsed() < PATIENCE => thread::sleep(PAUSE),
            other => return other,
        }
    }
}

async fn clear(runtime: &Arc<dyn Runtime>) -> Result<(), RuntimeError> {
    for pause in [Duration::ZERO, SETTLED] {
        sleep(pause).await;
        for sandbox_id in runtime.list().await? {
            runtime.remove(&sandbox_id).await?;
        }
    }
    Ok(())
}
