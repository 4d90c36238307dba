//! `sandshell sample`: lists and shows the samples of a server, checks those of a directory, and imports those of others.

mod check;
mod import;
mod list;
mod prove;

use super::{
    client::Remote,
    error::CliError,
    launch::{self, RuntimeKind, RuntimeOption},
    log::{self, LogFormat},
};
use clap::Subcommand;
use std::{path::PathBuf, process::ExitCode};

/// Options of `sample`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the samples of a server, or its datasets.
    List(ListArgs),
    /// Show a sample, with the description of its task.
    Show(ShowArgs),
    /// Look for mistakes in the samples of a directory, tell each with its file and line, and prove the samples if that is wanted.
    Check(CheckArgs),
    /// Make samples of a benchmark's files: SWE-bench-like JSON lines or Parquet, Codeset's fields, or task folders of Harbor and terminal-bench.
    Import(import::Args),
}

/// Options of `sample list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    remote: Remote,
    /// List datasets, with how many samples each has
    #[arg(long, conflicts_with_all = ["dataset", "language", "tag", "text"])]
    datasets: bool,
    /// Only samples of this dataset
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    dataset: String,
    /// Only samples in this programming language
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    language: String,
    /// Only samples with this tag; may be repeated
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only samples with this text in id, title or description
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    text: String,
    /// Print JSON: one array
    #[arg(long)]
    json: bool,
}

/// Options of `sample show`.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    remote: Remote,
    /// A sample: DATASET/ID, or only its id where one dataset alone has it
    #[arg(value_name = "DATASET/ID")]
    sample: String,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// Options of `sample check`.
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// A dataset, or a directory of datasets
    #[arg(value_name = "DIR", required = true)]
    directories: Vec<PathBuf>,
    /// Also verify each sample as it is, which must not succeed, and with its reference patch, which must; by a private server
    #[arg(long)]
    prove: bool,
    /// What makes the sandboxes of --prove [default: linux]
    #[arg(long, requires = "prove")]
    runtime: Option<RuntimeKind>,
    /// Option of that runtime; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = launch::runtime_option, requires = "prove")]
    runtime_option: Vec<RuntimeOption>,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// Does it.
pub(super) fn main(args: &Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    match &args.command {
        Command::List(args) => list::list(args).map(|()| ExitCode::SUCCESS),
        Command::Show(args) => list::show(args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check::check(args),
        Command::Import(args) => import::main(args),
    }
}

/// Reads a Parquet file for an import.
pub(super) fn parquet_rows() -> ExitCode {
    import::parquet::reading::main()
}

/// `DATASET/ID` or `ID`.
fn named(sample: &str) -> (String, String) {
    match sample.split_once('/') {
        Some((dataset, id)) => (dataset.to_owned(), id.to_owned()),
        None => (String::new(), sample.to_owned()),
    }
}
