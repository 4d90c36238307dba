//! `sandshell doctor`: what each runtime can do on this host, what is missing, and how to get it.

use super::{
    client::TemporaryDir,
    error::CliError,
    launch::{self, RuntimeKind, RuntimeOption},
    log::{self, LogFormat},
    table,
};
use crate::runtime::{ImageNames, Runtime};
use clap::ValueEnum;
use std::process::ExitCode;

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look at this runtime only
    #[arg(long)]
    runtime: Option<RuntimeKind>,
    /// Option of that runtime; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = launch::runtime_option, requires = "runtime")]
    runtime_option: Vec<RuntimeOption>,
}

/// Starts each runtime in a directory that is removed again. Succeeds if any of them works.
pub(super) fn main(args: &Args) -> Result<ExitCode, CliError> {
    log::start(None, "off", LogFormat::Text)?;
    let mut works = false;
    for kind in RuntimeKind::value_variants().iter().filter(|kind| args.runtime.is_none_or(|only| only == **kind)) {
        let dir = TemporaryDir::new()?;
        let text = match launch::start(*kind, dir.path(), &args.runtime_option) {
            Ok(runtime) => {
                works = true;
                describe(&*runtime)
            }
            Err(error) => format!("{error}\n"),
        };
        table::print(&text)?;
    }
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
