//! `sandshell rm`: deletes sandboxes and closes sessions.

use super::{
    FAILED,
    client::{Client, Remote},
    error::CliError,
    listing::{self, Named},
    log::{self, LogFormat},
    size, table,
};
use crate::api::v1::{CloseSessionRequest, DeleteSandboxRequest};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::process::ExitCode;
use tonic::Code;

const AFTER_HELP: &str = "\
Each id that is gone is printed. If any could not be removed, the exit code is 125, and the others are removed all the same.";

/// Options of `rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// Sandboxes, and sessions of them: SANDBOX or SANDBOX/NAME
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<String>,
    /// All sandboxes
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// With --all, only those that have this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = size::pair, requires = "all", conflicts_with = "ids")]
    label: Vec<(String, String)>,
    /// Print JSON: one array
    #[arg(long)]
    json: bool,
}

/// Removes them.
pub(super) fn main(args: Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let Args { remote, ids, all, label, json } = args;
    let wrong = ids.iter().filter(|id| listing::named(id) == Named::Command);
    let wrong: Vec<_> = wrong
        .map(|id| format!("{id}: is a command, which only its end removes; `sandshell kill {id}` cancels it"))
        .collect();
    if !wrong.is_empty() {
        return Err(CliError::Options(wrong));
    }
    let outcomes = super::block_on(async {
        let client = remote.connect().await?;
        let ids = if all {
            listing::sandboxes(&client, &label).await?.into_iter().map(|sandbox| sandbox.sandbox_id).collect()
        } else {
            ids
        };
        let removals = stream::iter(ids.into_iter().map(|id| remove(&client, id, all)));
        Ok(removals.buffered(listing::AT_ONCE).collect::<Vec<_>>().await)
    })?;
    let failed = outcomes.iter().any(|(_, outcome)| outcome.is_err());
    if json {
        let all: Value = outcomes.iter().map(|(id, outcome)| as_json(id, outcome)).collect();
        table::print(&format!("{all}\n"))?;
    } else {
        for (id, outcome) in outcomes {
            match outcome {
                Ok(()) => table::print(&format!("{id}\n"))?,
                Err(error) => eprintln!("sandshell: {id}: {error}"),
            }
        }
    }
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Removes one thing. What was `found` in a list may be gone by now.
async fn remove(client: &Client, id: String, found: bool) -> (String, Result<(), CliError>) {
    let removed = match listing::named(&id) {
        Named::Sandbox => {
            let request = DeleteSandboxRequest { sandbox_id: id.clone() };
            client.sandboxes.clone().delete_sandbox(request).await.map(drop)
        }
        Named::Session | Named::Command => {
            let request = CloseSessionRequest { session_id: id.clone() };
            client.sessions.clone().close_session(request).await.map(drop)
        }
    };
    let removed = match removed {
        Err(status) if found && status.code() == Code::NotFound => Ok(()),
        removed => removed,
    };
    (id, removed.map_err(CliError::from))
}

fn as_json(id: &str, outcome: &Result<(), CliError>) -> Value {
    json!({
        "id": id,
        "removed": outcome.is_ok(),
        "error": outcome.as_ref().err().map(ToString::to_string),
    })
}
