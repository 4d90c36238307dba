//! Starting: the runtime itself, and one sandbox.

use super::{
    LinuxConfig, Shared, blocking, cgroup,
    client::{self, Client},
    delete, end, home,
    layout::Layout,
    probe, process, skeleton,
    wire::{Failure, Hello, Order, Reply, Step},
};
use crate::runtime::RuntimeError;
use rustix::fs::{MemfdFlags, Mode, memfd_create};
use std::{
    fs::File,
    io::{self, Seek, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};
use tokio::io::AsyncReadExt;

/// A runtime that has been started.
pub(super) struct Started {
    pub(super) layout: Layout,
    pub(super) client: Client,
    pub(super) warnings: Vec<String>,
}

/// The sandbox that is only tried. Its name is no id, so nobody can ask for it.
const REHEARSAL: &str = ".rehearsal";

/// The longest answer of a starter: paths and a sentence.
const MAX_REPLY: u64 = 1 << 20;

/// Takes charge of the data directory and starts a zygote.
pub(super) fn start(config: &LinuxConfig) -> Result<Started, Failure> {
    let (layout, lock) = home::open(&config.data_dir)?;
    let privileged = probe::is_privileged();
    let (cgroups, mut warnings) = cgroup::discover(&home::instance(&layout)?).step("look for cgroups")?;
    if !privileged {
        warnings.insert(0, probe::WITHOUT_ROOT.to_owned());
    }
    cgroups.sweep();
    home::end_strays(&layout, &cgroups)?;
    delete::tree(&layout.sandbox(REHEARSAL)).step("remove the last rehearsal")?;
    let host = Path::new("/");
    let name = skeleton::ensure(host, &layout.images()).step("build the host image")?;
    home::sweep(&layout, &name, &cgroups)?;
    let hello = Hello {
        data_dir: layout.root().to_owned(),
        privileged,
        cgroups,
        skeleton: name,
        host_directories: skeleton::shown(host),
        boot_id: process::boot_id().step("read the boot id")?,
        pool: config.pool,
    };
    let client = Client::start(config.program.clone(), hello, lock)?;
    let read_only = rehearse(&layout, &client).map_err(|failure| probe::explain(failure, &layout))?;
    warnings.extend(read_only.iter().map(|path| probe::unchangeable(path)));
    Ok(Started { layout, client, warnings })
}

/// Starts a sandbox up to the moment before its agent: the one sure way to know that this host can.
/// Returns the host's directories that sandboxes will not be able to change.
fn rehearse(layout: &Layout, client: &Client) -> Result<Vec<PathBuf>, Failure> {
    let order = Order {
        sandbox_id: REHEARSAL.to_owned(),
        directory: None,
        host_network: false,
        memory_bytes: None,
        cpu_millis: None,
        max_processes: None,
        rehearsal: true,
    };
    let sandbox = layout.sandbox(REHEARSAL);
    let reply = make_directory(&sandbox)
        .and_then(|()| client.order(&order, &configuration(b"")?))
        .and_then(client::wait_for_reply)?;
    end::remove_at_start(layout, &reply.made, &sandbox);
    reply.failure.map_or(Ok(reply.read_only), Err)
}

/// Starts a sandbox. After an error nothing of it is left.
pub(super) async fn create(shared: &Shared, order: Order, config: Vec<u8>) -> Result<(), RuntimeError> {
    let sandbox = shared.layout.sandbox(&order.sandbox_id);
    // Whoever else has this directory keeps it: only from here on is it ours to remove.
    let path = sandbox.clone();
    let config = blocking(move || {
        let config = configuration(&config)?;
        make_directory(&path)?;
        Ok(config)
    })
    .await?;
    let reply = match order_and_wait(shared, &order, config).await {
        Ok(reply) => reply,
        Err(failure) => Reply { failure: Some(failure), ..Reply::default() },
    };
    let Some(failure) = reply.failure else {
        // From now on it is held. If that cannot be done now, the next look does it.
        if let Err(failure) = shared.processes.find(&shared.layout, &order.sandbox_id).await {
            tracing::warn!(sandbox_id = order.sandbox_id, error = %failure, "a new sandbox could not be looked at");
        }
        return Ok(());
    };
    if let Err(error) = end::undo(shared, reply.made, sandbox).await {
        tracing::error!(sandbox_id = order.sandbox_id, %error, "a failed sandbox left something behind");
    }
    Err(failure.into())
}

async fn order_and_wait(shared: &Shared, order: &Order, config: File) -> Result<Reply, Failure> {
    let pipe = loop {
        match shared.client.order(order, &config) {
            Err(failure) if failure.errno == libc::EAGAIN => tokio::time::sleep(client::RETRY).await,
            other => break other?,
        }
    };
    read_reply(pipe).await
}

async fn read_reply(pipe: OwnedFd) -> Result<Reply, Failure> {
    let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe).step("wait for the starter")?;
    let mut bytes = Vec::new();
    pipe.take(MAX_REPLY).read_to_end(&mut bytes).await.step("wait for the starter")?;
    client::parse_reply(&bytes)
}

fn make_directory(sandbox: &Path) -> Result<(), Failure> {
    rustix::fs::mkdir(sandbox, Mode::RWXU).step("make the sandbox's directory")
}

/// The agent's configuration as a file that is nowhere.
fn configuration(bytes: &[u8]) -> Result<File, Failure> {
    let write = || -> io::Result<File> {
        let mut file = File::from(memfd_create("sandshell-agent-config", MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        file.rewind()?;
        Ok(file)
    };
    write().step("write the agent's configuration")
}
