//! `sandshell serve`: configuration, runtime, listen, say so, serve, wait for a signal, drain.

use super::{config::Config, error::CliError, exposure, launch, log, serve_args::Args};
use crate::{
    data_dir::DataDir,
    descriptors,
    rpc::lanes::Bulk,
    runtime::Runtime,
    sample::Samples,
    sandbox::{Recovered, Sandboxes},
    server::{Budget, Most, Server},
    store::{Durability, Store},
    tenant::{self, Tenants},
    verification::Verifications,
};
use std::{future::Future, sync::Arc, time::SystemTime};
use tokio::signal::unix::{SignalKind, signal};

/// Serves until SIGTERM or SIGINT.
pub(super) fn main(args: Args) -> Result<(), CliError> {
    let config = Config::new(args)?;
    log::start(config.log.as_deref(), "warn", config.log_format)?;
    let open_files = descriptors::raise().map_err(|source| CliError::io("raise the limit of open files", source))?;
    let budget = Budget::new(
        config.policy.max_sandboxes,
        launch::descriptors_per_sandbox(config.runtime),
        config.max_connections,
        open_files,
    )?;
    let data_dir = DataDir::open(&config.data_dir)?;
    let runtime = launch::start(config.runtime, data_dir.path(), &config.runtime_options)?;
    for warning in runtime.warnings() {
        tracing::warn!("{warning}");
    }
    if let Some(storage) = runtime.storage() {
        eprintln!("files of sandboxes: {storage}");
    }
    let samples = Samples::open(config.catalog.clone());
    let bulk = Bulk::start(super::workers()).map_err(|source| CliError::io("start threads", source))?;
    let outcome = super::block_on(serve(config, budget, &data_dir, runtime, samples, &bulk));
    bulk.stop(super::SHUTDOWN_TIMEOUT);
    outcome
}

async fn serve(
    config: Config,
    budget: Budget,
    data_dir: &DataDir,
    runtime: Arc<dyn Runtime>,
    samples: Samples,
    bulk: &Bulk,
) -> Result<(), CliError> {
    // Before anything can be listened to, so that a signal is never missed.
    let shutdown = stop_signal()?;
    let store = match &config.database {
        Some(url) => Store::open(url, Durability::Kill).await?,
        None => Store::in_directory(data_dir.path(), Durability::Kill).await?,
    };
    let tenants = Tenants::new(store.clone());
    exposure::check(&config, &tenants).await?;
    store.ensure_tenant(tenant::DEFAULT, SystemTime::now()).await?;
    let server_id = data_dir.server_id()?;
    let sandboxes = Sandboxes::new(runtime, store.clone(), &server_id, config.policy)
        .with_samples(samples.clone(), &data_dir.path().join("codebases"))
        .with_lanes(bulk.lanes());
    let recovered = sandboxes.recover().await?;
    if recovered != Recovered::default() {
        let Recovered { adopted, failed, removed } = recovered;
        tracing::info!(adopted, failed, removed, "took over the sandboxes of an earlier server");
    }
    let verifications = Verifications::new(sandboxes.clone(), samples.clone(), store, &server_id, config.verifications);
    verifications.recover().await?;
    let listener = Server::bind(config.listen).await?;
    let address = listener.local_addr().map_err(|source| CliError::io("read the address", source))?;
    let Budget { sandboxes: most_sandboxes, connections, open_files } = budget;
    eprintln!("room for {most_sandboxes} sandboxes and {connections} connections (open files: {open_files})");
    eprintln!("listening on {address}");
    let most = Most { in_all: connections, per_address: config.max_connections_per_address };
    let server = Server::new(sandboxes, verifications, config.at_stop)
        .with_tenants(tenants)
        .with_samples(samples)
        .with_tls(config.tls)
        .with_web(config.web)
        .with_most_connections(most)
        .with_command_timeout(config.command_timeout)
        .with_lanes(bulk.lanes());
    server.run(listener, shutdown).await?;
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
