//! `sandshell tenant`: lists tenants, and sets what each may have.

use super::{
    database::Database,
    error::CliError,
    log::{self, LogFormat},
    table::{self, Table},
};
use crate::{store::TenantRow, tenant::Limits};
use clap::Subcommand;
use serde_json::{Value, json};

/// Options of `tenant`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List tenants and their limits.
    List {
        /// Print JSON: one array, null for no limit
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        database: Database,
    },
    /// Set what a tenant may have in all. What is not named stays as it is; `none` takes a limit away.
    Limit {
        /// Which tenant; callers without a key are `default`
        #[arg(value_name = "NAME")]
        tenant: String,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        database: Database,
    },
}

/// Limits to be set. At least one, so that nobody takes the command for one that shows them.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// Sandboxes at one time
    #[arg(long, value_name = "N|none", value_parser = bound)]
    max_sandboxes: Option<Bound>,
    /// Sessions in all its sandboxes at one time, direct executions included
    #[arg(long, value_name = "N|none", value_parser = bound)]
    max_sessions: Option<Bound>,
    /// Memory limits of its sandboxes together
    #[arg(long, value_name = "N|none", value_parser = bound)]
    max_memory_bytes: Option<Bound>,
    /// Calls in a second; as many may come at once
    #[arg(long, value_name = "N|none", value_parser = rate)]
    max_requests_per_second: Option<Bound>,
    /// Volumes
    #[arg(long, value_name = "N|none", value_parser = bound)]
    max_volumes: Option<Bound>,
}

/// What one limit is to be.
#[derive(Debug, Clone, Copy)]
struct Bound(Option<u64>);

/// Does it.
pub(super) fn main(args: Args) -> Result<(), CliError> {
    log::start(None, "error", LogFormat::Text)?;
    super::block_on(run(args.command))
}

async fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::List { json, database } => {
            let tenants = database.tenants().await?.list().await?;
            if json {
                return table::print(&format!("{}\n", tenants.iter().map(as_json).collect::<Value>()));
            }
            let mut table =
                Table::new(["TENANT", "CREATED", "SANDBOXES", "SESSIONS", "MEMORY_BYTES", "REQUESTS/S", "VOLUMES"]);
            for tenant in tenants {
                let limit = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
                let Limits { sandboxes, sessions, memory_bytes, requests_per_second, volumes } = tenant.limits;
                let [a, b, c, d, e] = [sandboxes, sessions, memory_bytes, requests_per_second, volumes].map(limit);
                table.add([tenant.id, table::time(tenant.create_time), a, b, c, d, e]);
            }
            table::print(&table.to_string())
        }
        Command::Limit { tenant, change, database } => {
            database.tenants().await?.change_limits(&tenant, move |limits| change.apply(limits)).await?;
            Ok(())
        }
    }
}

fn as_json(tenant: &TenantRow) -> Value {
    json!({
        "tenant": tenant.id,
        "create_time": table::time(tenant.create_time),
        "max_sandboxes": tenant.limits.sandboxes,
        "max_sessions": tenant.limits.sessions,
        "max_memory_bytes": tenant.limits.memory_bytes,
        "max_requests_per_second": tenant.limits.requests_per_second,
        "max_volumes": tenant.limits.volumes,
    })
}

impl Change {
    fn apply(self, limits: &mut Limits) {
        let set = |limit: &mut Option<u64>, change: Option<Bound>| {
            if let Some(Bound(bound)) = change {
                *limit = bound;
            }
        };
        set(&mut limits.sandboxes, self.max_sandboxes);
        set(&mut limits.sessions, self.max_sessions);
        set(&mut limits.memory_bytes, self.max_memory_bytes);
        set(&mut limits.requests_per_second, self.max_requests_per_second);
        set(&mut limits.volumes, self.max_volumes);
    }
}

fn bound(text: &str) -> Result<Bound, String> {
    if text == "none" {
        return Ok(Bound(None));
    }
    // The database has signed numbers.
    let number = text.parse::<u64>().ok().filter(|number| i64::try_from(*number).is_ok());
    number.map(|number| Bound(Some(number))).ok_or_else(|| format!("must be a number up to {}, or none", i64::MAX))
}

fn rate(text: &str) -> Result<Bound, String> {
    match bound(text)? {
        Bound(Some(0)) => Err("must be 1 or more; to shut a tenant out, revoke its keys".to_owned()),
        bound => Ok(bound),
    }
}
