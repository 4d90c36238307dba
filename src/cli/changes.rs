//! `sandshell changes`: what a sandbox has added, modified and removed, compared with its image.

use super::{
    client::Remote,
    error::CliError,
    log::{self, LogFormat},
    table,
};
use crate::api::v1::{ChangesRequest, FileChange, file_change::Kind};
use serde_json::{Value, json};

/// Differences that are asked for at one time.
const PAGE: i32 = 10_000;

/// Options of `changes`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// A sandbox
    #[arg(value_name = "SANDBOX")]
    sandbox_id: String,
    /// Print JSON: one array
    #[arg(long)]
    json: bool,
}

/// Prints a line for each difference.
pub(super) fn main(args: &Args) -> Result<(), CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let changes = super::block_on(async {
        let mut client = args.remote.connect().await?;
        let sandbox_id = args.sandbox_id.clone();
        let mut request = ChangesRequest { sandbox_id, page_size: PAGE, ..ChangesRequest::default() };
        let mut changes = Vec::new();
        loop {
            let page = client.files.changes(request.clone()).await?.into_inner();
            changes.extend(page.changes);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(changes);
            }
        }
    })?;
    if args.json {
        let all: Vec<Value> = changes.iter().map(as_json).collect();
        return table::print(&format!("{}\n", Value::from(all)));
    }
    let lines = changes.iter().map(|change| format!("{} {}\n", word(change), change.path.escape_debug()));
    table::print(&lines.collect::<String>())
}

fn word(change: &FileChange) -> &'static str {
    match change.kind() {
        Kind::Added => "added",
        Kind::Modified => "modified",
        Kind::Removed => "removed",
        Kind::Unspecified => "changed",
    }
}

fn as_json(change: &FileChange) -> Value {
    json!({ "change": word(change), "path": change.path })
}
