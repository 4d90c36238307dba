//! `cargo bench`: what Sandshell takes, as a client sees it, in a table for the README.
//!
//! `cargo bench -- create density` runs only the measurements whose names contain one of the words;
//! `cargo bench -- --quick` takes fewer samples.
//!
//! It starts a server of its own, speaks gRPC to it over loopback, and measures plain `sh` and bubblewrap in turn with
//! it, so that a ratio compares what the same machine did in the same seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod bulk;
mod changes;
mod code;
mod commands;
mod create;
mod density;
mod docker;
mod files;
mod hostile;
mod list;
mod neighbours;
mod processes;
mod python;
mod report;
mod server;
mod streaming;
mod verifications;

use report::Table;
use server::Server;

#[tokio::main]
async fn main() {
    let options = Options::from_args();
    let server = Server::start().await;
    let mut table = Table::default();
    if options.wants("create") {
        create::measure(&server, &options, &mut table).await;
    }
    if options.wants("run") {
        commands::one_at_a_time(&server, &options, &mut table).await;
        commands::directly(&server, &options, &mut table).await;
    }
    if options.wants("many") {
        commands::many_sessions(&server, &options, "", &mut table).await;
    }
    if options.wants("team") {
        let team = Server::start_for_a_team().await;
        commands::for_a_team(&server, &team, &options, &mut table).await;
        commands::many_sessions(&team, &options, ", with API keys and TLS", &mut table).await;
        team.stop();
    }
    if options.wants("stream") {
        streaming::measure(&server, &options, &mut table).await;
    }
    if options.wants("files") {
        files::measure(&server, &options, &mut table).await;
    }
    if options.wants("changes") {
        changes::measure(&server, &options, &mut table).await;
    }
    if options.wants("code") {
        code::measure(&server, &options, &mut table).await;
    }
    if options.wants("python") {
        python::measure(&server, &options, &mut table).await;
    }
    if options.wants("verifications") {
        verifications::measure(&options, &mut table).await;
    }
    if options.wants("neighbours") {
        neighbours::measure(&server, &options, &mut table).await;
        bulk::measure(&server, &options, &mut table).await;
    }
    if options.wants("hostile neighbours") {
        hostile::measure(&server, server.another_client().await, "", options.quick, &mut table).await;
    }
    if options.wants("density") {
        density::measure(&server, &options, &mut table).await;
    }
    if options.wants("list") {
        list::measure(&server, &options, &mut table).await;
    }
    if options.wants("deletion") {
        create::delete_full(&server, &options, &mut table).await;
    }
    server.stop();
    docker::measure(&options, &mut table).await;
    println!("{}\n\n{table}", report::machine());
}

/// What the command line asks for.
struct Options {
    quick: bool,
    names: Vec<String>,
}

impl Options {
    fn from_args() -> Self {
        let (flags, names): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
        // Cargo adds --bench.
        Self { quick: flags.iter().any(|flag| flag == "--quick"), names }
    }

    fn wants(&self, measurement: &str) -> bool {
        let wanted = self.names.is_empty() || self.names.iter().any(|name| measurement.contains(name.as_str()));
        if wanted {
            eprintln!("measuring {measurement}");
        }
        wanted
    }

    /// How many samples to take.
    fn samples(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(10) } else { full }
    }
}
