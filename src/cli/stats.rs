//! `sandshell stats`: what sandboxes use now.

use super::{
    FAILED,
    client::{Client, Remote},
    error::CliError,
    listing,
    log::{self, LogFormat},
    size,
    table::{self, Table},
};
use crate::api::v1::{GetSandboxStatsRequest, SandboxStats, sandbox::State};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::{process::ExitCode, time::Duration};
use tonic::{Code, Status};

const AFTER_HELP: &str = "\
Sizes are in bytes, or in powers of 1024 with K, M, G or T. What is not known on the server's host is shown as -. If any sandbox could
not be looked at, the exit code is 125.";

/// Options of `stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// Sandboxes [default: all that run]
    #[arg(value_name = "SANDBOX")]
    ids: Vec<String>,
    /// Only sandboxes that have this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = size::pair, conflicts_with = "ids")]
    label: Vec<(String, String)>,
    /// Print JSON: one array
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub(super) fn main(args: Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let Args { remote, ids, label, json } = args;
    let listed = ids.is_empty();
    let looks = super::block_on(async {
        let client = remote.connect().await?;
        let ids = if listed {
            let running = listing::sandboxes(&client, &label).await?.into_iter();
            running.filter(|sandbox| sandbox.state() == State::Running).map(|sandbox| sandbox.sandbox_id).collect()
        } else {
            ids
        };
        let looks = stream::iter(ids.into_iter().map(|id| look(&client, id)));
        Ok(looks.buffered(listing::AT_ONCE).collect::<Vec<_>>().await)
    })?;
    let (mut all, mut failed) = (Vec::new(), false);
    for (id, look) in looks {
        match look {
            Ok(stats) => all.push(stats),
            // It was deleted after it was listed.
            Err(status) if listed && status.code() == Code::NotFound => {}
            Err(status) => {
                failed = true;
                eprintln!("sandshell: {id}: {}", CliError::from(status));
            }
        }
    }
    print(&all, json)?;
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

async fn look(client: &Client, id: String) -> (String, Result<SandboxStats, Status>) {
    let request = GetSandboxStatsRequest { sandbox_id: id.clone() };
    (id, client.sandboxes.clone().get_sandbox_stats(request).await.map(tonic::Response::into_inner))
}

fn print(all: &[SandboxStats], json: bool) -> Result<(), CliError> {
    if json {
        return table::print(&format!("{}\n", all.iter().map(as_json).collect::<Value>()));
    }
    let heading = ["SANDBOX", "CPU_SECONDS", "MEMORY", "PEAK", "PROCESSES", "DISK", "SESSIONS", "RUNNING", "COMMANDS"];
    let mut table = Table::new(heading);
    for stats in all {
        let unknown = || "-".to_owned();
        let bytes = |bytes: Option<i64>| bytes.map_or_else(unknown, size::short);
        table.add([
            stats.sandbox_id.clone(),
            cpu_seconds(stats).map_or_else(unknown, |seconds| format!("{seconds:.2}")),
            bytes(stats.memory_bytes),
            bytes(stats.memory_peak_bytes),
            stats.processes.map_or_else(unknown, |processes| processes.to_string()),
            bytes(stats.disk_bytes),
            stats.sessions.to_string(),
            stats.running_commands.to_string(),
            stats.commands.to_string(),
        ]);
    }
    table::print(&table.to_string())
}

fn cpu_seconds(stats: &SandboxStats) -> Option<f64> {
    stats.cpu_time.and_then(|time| Duration::try_from(time).ok()).map(|time| time.as_secs_f64())
}

fn as_json(stats: &SandboxStats) -> Value {
    json!({
        "sandbox_id": stats.sandbox_id,
        "cpu_seconds": cpu_seconds(stats),
        "memory_bytes": stats.memory_bytes,
        "memory_peak_bytes": stats.memory_peak_bytes,
        "processes": stats.processes,
        "disk_bytes": stats.disk_bytes,
        "sessions": stats.sessions,
        "running_commands": stats.running_commands,
        "commands": stats.commands,
    })
}
