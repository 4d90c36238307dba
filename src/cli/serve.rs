//! `sandshell serve`: configuration, runtime, listen, say so, serve, wait for a signal, drain.

use super::{
    config::Config,
    error::CliError,
    exposure,
    launch::{self, RuntimeKind},
    log::{self, LogFormat},
};
use crate::{
    runtime::Runtime,
    sandbox::Sandboxes,
    server::{DataDir, Server},
    store::{Durability, Store},
    tenant::Tenants,
};
use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::signal::unix::{SignalKind, signal};

/// Options of `serve`.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Address to listen on; port 0 picks one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) listen: Option<SocketAddr>,
    /// Directory for sandboxes and sockets [default: /var/lib/sandshell as root, else ~/.local/share/sandshell]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// What makes sandboxes [default: linux]
    #[arg(long)]
    pub(super) runtime: Option<RuntimeKind>,
    /// TOML file with these options, `_` for `-`; flags win
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Directory of root file systems that clients may name as image; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(super) image_root: Vec<PathBuf>,
    /// Let clients give sandboxes the host's network
    #[arg(long)]
    pub(super) allow_host_network: bool,
    /// Most sandboxes at one time [default: 1000]
    #[arg(long, value_name = "N")]
    pub(super) max_sandboxes: Option<usize>,
    /// Certificate of the server, with those that lead to its authority after it: PEM
    #[arg(long, value_name = "FILE")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Private key of the certificate: PEM
    #[arg(long, value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,
    /// Let only clients connect that have a certificate of one of these authorities: PEM
    #[arg(long, value_name = "FILE")]
    pub(super) client_ca: Option<PathBuf>,
    /// Listen on an address that others can reach, even without TLS or API keys
    #[arg(long)]
    pub(super) insecure: bool,
    /// What to log, as in RUST_LOG [default: warn]
    #[arg(long, value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// How log lines look [default: text]
    #[arg(long)]
    pub(super) log_format: Option<LogFormat>,
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn main(args: Args) -> Result<(), CliError> {
    let config = Config::new(args)?;
    log::start(config.log.as_deref(), "warn", config.log_format)?;
    let data_dir = DataDir::open(&config.data_dir)?;
    let runtime = launch::start(config.runtime, data_dir.path())?;
    for warning in runtime.warnings() {
        tracing::warn!("{warning}");
    }
    super::block_on(serve(config, data_dir.path(), runtime))
}

async fn serve(config: Config, data_dir: &Path, runtime: Arc<dyn Runtime>) -> Result<(), CliError> {
    // Before anything can be listened to, so that a signal is never missed.
    let shutdown = stop_signal()?;
    let tenants = Tenants::new(Store::in_directory(data_dir, Durability::Kill).await?);
    exposure::check(&config, &tenants).await?;
    let sandboxes = Sandboxes::new(runtime, config.policy);
    let orphans = sandboxes.remove_orphans().await?;
    if orphans > 0 {
        tracing::warn!("removed {orphans} sandboxes that an earlier server left behind");
    }
    let listener = Server::bind(config.listen).await?;
    let address = listener.local_addr().map_err(|source| CliError::io("read the address", source))?;
    eprintln!("listening on {address}");
    Server::new(sandboxes).with_tenants(tenants).with_tls(config.tls).run(listener, shutdown).await?;
    Ok(())
}

/// Resolved by SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>, CliError> {
    let open = |kind| signal(kind).map_err(|source| CliError::io("listen to signals", source));
    let (mut terminate, mut interrupt) = (open(SignalKind::terminate())?, open(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
