//! The sandbox that `run`, `exec`, `shell` and `code` work in: one that is there, or one that is made first and deleted afterwards.

use super::{
    client::{Client, Place},
    creation,
    error::CliError,
    follow::Signals,
    log::{self, LogFormat},
    size, span, volume,
};
use crate::api::v1::{
    self, CreateSandboxRequest, Lifetime, Network, Resources, SampleSource, VolumeMount, sample_source::History,
};
use clap::ValueEnum;
use std::{collections::HashMap, process::ExitCode, time::Duration};

/// Which sandbox, and how commands run in it.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    place: Place,
    /// Existing sandbox to work in; it is not deleted afterwards
    #[arg(long, value_name = "ID", requires = "server")]
    #[arg(conflicts_with_all = ["image", "memory", "cpus", "processes", "disk", "label", "ttl", "network", "sample", "sandbox_cwd", "volume"])]
    sandbox: Option<String>,
    /// Memory of all processes together: bytes, or a number with K, M, G or T, such as 512M [default: 2G]
    #[arg(long, value_name = "SIZE", value_parser = size::bytes, allow_hyphen_values = true)]
    memory: Option<i64>,
    /// Processors, such as 1.5 [default: all]
    #[arg(long, value_name = "N", value_parser = size::cpus, allow_hyphen_values = true)]
    cpus: Option<i64>,
    /// Processes and threads at one time [default: 1024]
    #[arg(long, value_name = "N")]
    processes: Option<i64>,
    /// Bytes of its own files, as --memory; without a server it takes root [default: the server's; without a server no limit]
    #[arg(long, value_name = "SIZE", value_parser = size::bytes, allow_hyphen_values = true)]
    disk: Option<i64>,
    /// Label of the sandbox, which `ps` and `rm` can select by; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = size::pair)]
    label: Vec<(String, String)>,
    /// Time after which the server deletes the sandbox, used or not: seconds, or 90s, 5m, 2h, 1d; `none` where the server sets no maximum [default: the server's]
    #[arg(long, value_name = "TIME", value_parser = time_to_live, allow_hyphen_values = true)]
    ttl: Option<Duration>,
    /// What the sandbox can reach [default: none]
    #[arg(long)]
    network: Option<Reach>,
    /// The sandbox's working directory, where all begins in it that says nothing else; it is made if it is not there [default: the image's]
    #[arg(long, value_name = "DIR")]
    sandbox_cwd: Option<String>,
    /// Volume of the server's, and where it is to be; with :ro behind it the sandbox can only read it; may be repeated
    #[arg(long, value_name = "NAME:PATH[:ro]", value_parser = volume::mount, requires = "server")]
    volume: Vec<VolumeMount>,
    /// Make the sandbox from a sample of the server's, as DATASET/ID: with its image, its code base in /workspace, and its setup done
    #[arg(long, value_name = "DATASET/ID", requires = "server")]
    sample: Option<String>,
    /// What of the past the sample's repository is to have [default: past]
    #[arg(long, requires = "sample")]
    history: Option<Past>,
    /// Do not delete the sandbox afterwards, nor the session of `run`; `sandshell ps` shows both and `sandshell rm` deletes them
    #[arg(long, requires = "server")]
    keep: bool,
    #[command(flatten)]
    how: How,
}

/// How commands run.
#[derive(Debug, Default, clap::Args)]
pub(super) struct How {
    /// Variable in the environment of what runs; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = size::pair)]
    env: Vec<(String, String)>,
    /// Directory to begin in [default: the sandbox's working directory]
    #[arg(long, visible_alias = "working-directory", alias = "directory", value_name = "DIR")]
    cwd: Option<String>,
    /// As whom: name or number, and :GROUP if wanted
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    pub(super) user: String,
    /// Longest time of each command: seconds, or 90s, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = span::time, allow_hyphen_values = true)]
    timeout: Option<Duration>,
}

/// What a sandbox can reach.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reach {
    /// Only itself
    None,
    /// The host's network, where the operator allows it
    Host,
}

/// How much of its past a repository has.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Past {
    /// All commits before that of the sample
    Past,
    /// One commit
    None,
}

/// What is needed to work in a sandbox.
pub(super) struct Work<'a> {
    pub(super) client: &'a Client,
    pub(super) signals: &'a mut Signals,
    pub(super) sandbox_id: &'a str,
    pub(super) how: How,
    /// Whether a session that was opened for it must be closed afterwards: nothing else ends it.
    pub(super) closes: bool,
}

impl How {
    /// The environment, as requests have it.
    pub(super) fn env(&mut self) -> HashMap<String, String> {
        HashMap::from_iter(std::mem::take(&mut self.env))
    }

    /// The directory, as requests have it.
    pub(super) fn cwd(&mut self, default: &str) -> String {
        self.cwd.take().unwrap_or_else(|| default.to_owned())
    }

    /// The longest time, as requests have it.
    pub(super) fn timeout(&self) -> Option<prost_types::Duration> {
        self.timeout.and_then(|timeout| timeout.try_into().ok())
    }
}

impl Options {
    /// Does some work in the sandbox. Its result is our exit code.
    pub(super) fn work(
        mut self,
        work: impl AsyncFnOnce(Work<'_>) -> Result<u8, CliError>,
    ) -> Result<ExitCode, CliError> {
        log::start(None, "error", LogFormat::Text)?;
        self.place.limits_disk = self.disk.is_some();
        let prepared = self.place.prepare()?;
        let code = super::block_on(async {
            let mut signals = Signals::new()?;
            let mut client = prepared.connect().await?;
            let outcome = self.enter(&mut client, &mut signals, work).await;
            client.close().await.and(outcome)
        })?;
        Ok(ExitCode::from(code))
    }

    async fn enter(
        mut self,
        client: &mut Client,
        signals: &mut Signals,
        work: impl AsyncFnOnce(Work<'_>) -> Result<u8, CliError>,
    ) -> Result<u8, CliError> {
        let (how, keep) = (std::mem::take(&mut self.how), self.keep);
        if let Some(sandbox_id) = &self.sandbox {
            return work(Work { client, signals, sandbox_id, how, closes: !keep }).await;
        }
        let sandbox_id = tokio::select! {
            sandbox = creation::create(&mut client.sandboxes, self.request(how.user.clone())) => sandbox?.sandbox_id,
            // The server removes what nobody waits for any more.
            code = signals.next() => return Ok(code),
        };
        let outcome = work(Work { client, signals, sandbox_id: &sandbox_id, how, closes: false }).await;
        if keep {
            eprintln!("sandshell: {sandbox_id} is kept; `sandshell rm {sandbox_id}` deletes it");
        } else {
            client.delete(sandbox_id).await;
        }
        outcome
    }

    fn request(self, user: String) -> CreateSandboxRequest {
        let limits = Resources {
            memory_bytes: self.memory,
            cpu_millis: self.cpus,
            max_processes: self.processes,
            disk_bytes: self.disk,
        };
        let mode = self.network.map(|reach| match reach {
            Reach::None => v1::network::Mode::None,
            Reach::Host => v1::network::Mode::Host,
        });
        let sample = self.sample.map(|name| {
            // A sample of the only dataset that has it may go without the dataset's name.
            let (dataset, sample_id) = name.split_once('/').unwrap_or(("", &name));
            let history = match self.history {
                Some(Past::None) => History::None,
                Some(Past::Past) | None => History::Past,
            };
            SampleSource { dataset: dataset.to_owned(), sample_id: sample_id.to_owned(), history: history.into() }
        });
        let ttl = self.ttl.and_then(|ttl| ttl.try_into().ok());
        CreateSandboxRequest {
            image: self.place.image,
            labels: HashMap::from_iter(self.label),
            resources: (limits != Resources::default()).then_some(limits),
            lifetime: ttl.map(|ttl| Lifetime { ttl: Some(ttl), ..Lifetime::default() }),
            network: mode.map(|mode| Network { mode: mode.into() }),
            sample,
            working_directory: self.sandbox_cwd.unwrap_or_default(),
            volumes: self.volume,
            // Whose files there are is theirs too.
            user,
            ..CreateSandboxRequest::default()
        }
    }
}

/// A time, or none: which the API says by zero.
fn time_to_live(text: &str) -> Result<Duration, String> {
    if text == "none" { Ok(Duration::ZERO) } else { span::time(text) }
}
