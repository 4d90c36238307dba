//! `sandshell doctor`: what each runtime can do on this host, what is missing, and how to get it.

use super::{
    client::TemporaryDir,
    config::default_data_dir,
    error::CliError,
    launch::{self, Kept, RuntimeKind, RuntimeOption},
    log::{self, LogFormat},
    storage, table,
};
use crate::{image::ImageNames, runtime::Runtime};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode};

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look at this runtime only
    #[arg(long)]
    runtime: Option<RuntimeKind>,
    /// Option of that runtime; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = launch::runtime_option, requires = "runtime")]
    runtime_option: Vec<RuntimeOption>,
    /// Data directory of a server, running or not, to look at without changing anything [default: as of serve]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON: one array
    #[arg(long)]
    json: bool,
}

/// Starts each runtime in a directory that is removed again. Succeeds if any of them works.
pub(super) fn main(args: &Args) -> Result<ExitCode, CliError> {
    log::start(None, "off", LogFormat::Text)?;
    let (mut works, mut all) = (false, Vec::new());
    for kind in RuntimeKind::value_variants().iter().filter(|kind| args.runtime.is_none_or(|only| only == **kind)) {
        let dir = TemporaryDir::new()?;
        let started = launch::start(*kind, dir.path(), &args.runtime_option);
        works |= started.is_ok();
        let tried = started.as_ref().ok().and_then(|runtime| runtime.storage());
        let data_dir = args.data_dir.clone().or_else(default_data_dir);
        let kept = data_dir.and_then(|data_dir| launch::kept(*kind, data_dir, tried));
        if args.json {
            all.push(as_json(*kind, started.as_deref(), kept.as_ref()));
            continue;
        }
        let text = match started {
            Ok(runtime) => describe(&*runtime),
            Err(error) => format!("{error}\n"),
        };
        table::print(&(text + &kept.as_ref().map_or_else(String::new, storage::describe)))?;
    }
    if args.json {
        table::print(&format!("{}\n", Value::from(all)))?;
    }
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(kind: RuntimeKind, started: Result<&dyn Runtime, &CliError>, kept: Option<&Kept>) -> Value {
    let limits = started.ok().map(Runtime::supported_limits).map(|can| {
        json!({ "memory_bytes": can.memory, "cpu_millis": can.cpu, "max_processes": can.processes, "disk_bytes": can.disk })
    });
    json!({
        "runtime": launch::name(kind),
        "works": started.is_ok(),
        "error": started.err().map(ToString::to_string),
        "can_limit": limits,
        "data": kept.map(storage::as_json),
        "notes": started.map(Runtime::warnings).unwrap_or_default(),
    })
}

fn describe(runtime: &dyn Runtime) -> String {
    let mut text = format!("the {} runtime works\n", runtime.name());
    text += match runtime.image_names() {
        ImageNames::Files => "  images: host, and directories below an --image-root\n",
        ImageNames::References => "  images: names in registries, such as debian:bookworm\n",
    };
    let can = runtime.supported_limits();
    for (field, kept) in [
        ("memory_bytes", can.memory),
        ("cpu_millis", can.cpu),
        ("max_processes", can.processes),
        ("disk_bytes", can.disk),
    ] {
        text += &format!("  {field}: {}\n", if kept { "can be limited" } else { "cannot be limited here" });
    }
    for warning in runtime.warnings() {
        text += &format!("  note: {warning}\n");
    }
    text
}
