//! The database that `key` and `tenant` work on, while a server uses it or not.

use super::{config::default_data_dir, error::CliError};
use crate::{
    store::{Durability, Store},
    tenant::Tenants,
};
use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt, path::PathBuf};

/// Which database, in the words of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Database {
    /// The server's data directory [default: /var/lib/sandshell as root, else ~/.local/share/sandshell]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The server's database, if it is not in its data directory: postgres://…
    #[arg(long, value_name = "URL", env = "SANDSHELL_DATABASE", hide_env_values = true)]
    database: Option<String>,
}

impl Database {
    /// The tenants in it.
    pub(super) async fn tenants(&self) -> Result<Tenants, CliError> {
        if self.database.is_none() {
            let path = self.path()?;
            if !Store::is_in(&path) {
                let message = format!(
                    "--data-dir {}: there is no database; name the directory that the server was given",
                    path.display()
                );
                return Err(CliError::option(message));
            }
        }
        self.open().await
    }

    /// The tenants in it. It is made if it is not there: a server may need a key before it starts.
    pub(super) async fn tenants_of_any(&self) -> Result<Tenants, CliError> {
        if self.database.is_none() {
            let path = self.path()?;
            // Private, as the server would make it.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|error| CliError::option(format!("--data-dir {}: {error}", path.display())))?;
            let is_new = !Store::is_in(&path);
            let tenants = self.open().await?;
            if is_new {
                // A server of another directory would know nothing of it, and stay open to all.
                let path = path.display();
                eprintln!(
                    "sandshell: {path} had no database; this key is for a server that is started with --data-dir {path}"
                );
            }
            return Ok(tenants);
        }
        self.open().await
    }

    async fn open(&self) -> Result<Tenants, CliError> {
        // A revoked key must not come back with the power.
        let durability = Durability::PowerCut;
        let store = match &self.database {
            Some(url) => Store::open(url, durability).await?,
            None => Store::in_directory(&self.path()?, durability).await?,
        };
        Ok(Tenants::new(store))
    }

    fn path(&self) -> Result<PathBuf, CliError> {
        let none = "there is no HOME to look for data in; name the server's directory with --data-dir";
        self.data_dir.clone().or_else(default_data_dir).ok_or_else(|| CliError::option(none))
    }
}
