//! `sandshell key`: makes, lists and revokes API keys.

use super::{
    database::Database,
    error::CliError,
    log::{self, LogFormat},
    table::{self, Table},
};
use crate::store::ApiKey;
use clap::Subcommand;
use serde_json::{Value, json};

/// Options of `key`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key and print it, this once; only its hash is kept.
    Create {
        /// Whose it is, made if it is not there: 1 to 63 of a-z, 0-9 and -
        #[arg(long, value_name = "NAME")]
        tenant: String,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        name: String,
        #[command(flatten)]
        database: Database,
    },
    /// List keys, revoked ones too; never the keys themselves.
    List {
        /// Only those of this tenant
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// Print JSON: one array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        database: Database,
    },
    /// Revoke a key: the next call with it is refused; with --database, within a second.
    Revoke {
        /// As `key list` shows it
        #[arg(value_name = "KEY_ID")]
        id: String,
        #[command(flatten)]
        database: Database,
    },
}

/// Does it.
pub(super) fn main(args: Args) -> Result<(), CliError> {
    log::start(None, "error", LogFormat::Text)?;
    super::block_on(run(args.command))
}

async fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Create { tenant, name, database } => {
            let key = database.tenants_of_any().await?.make_key(&tenant, &name).await?;
            table::print(&format!("{key}\n"))
        }
        Command::List { tenant, json, database } => {
            let keys = database.tenants().await?.keys(tenant.as_deref()).await?;
            if json {
                return table::print(&format!("{}\n", keys.iter().map(as_json).collect::<Value>()));
            }
            let mut table = Table::new(["ID", "TENANT", "NAME", "CREATED", "REVOKED"]);
            for key in keys {
                let revoked = key.revoke_time.map_or_else(|| "-".to_owned(), table::time);
                let name = if key.name.is_empty() { "-".to_owned() } else { key.name };
                table.add([key.id, key.tenant, name, table::time(key.create_time), revoked]);
            }
            table::print(&table.to_string())
        }
        Command::Revoke { id, database } => Ok(database.tenants().await?.revoke_key(&id).await?),
    }
}

fn as_json(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "create_time": table::time(key.create_time),
        "revoke_time": key.revoke_time.map(table::time),
    })
}
