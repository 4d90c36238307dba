//! Starting: the runtime itself, and one sandbox.

use super::{
    client::Client,
    config::LinuxConfig,
    end, home,
    order::{Outcome, carry_out},
    probe,
    shared::{Shared, Started},
    work::blocking,
};
use crate::{
    proc,
    runtime::{
        RuntimeError, Storage,
        linux::{
            cgroup,
            failure::{Failure, Step},
            layout::Layout,
            rootfs::skeleton,
            storage::{
                delete, layer,
                pool::{self, Pool, Watched},
                sweep::sweep,
                trash,
            },
            wire::{Hello, Made, Order},
        },
    },
};
use rustix::fs::{MemfdFlags, Mode, memfd_create};
use std::{
    fs::File,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The sandbox that is only tried. Its name is no id, so nobody can ask for it.
const REHEARSAL: &str = ".rehearsal";

/// How long it may take.
const REHEARSAL_LIMIT: Duration = Duration::from_secs(120);
/// How often a sandbox is started whose starter was killed.
const TRIES: usize = 3;

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
    let opened = pool::open(&layout, config.disk, privileged);
    warnings.extend(opened.warnings);
    let (pool, mut storage) = (opened.pool, opened.storage);
    let layout = pool.as_ref().map_or(layout.clone(), |pool| layout.with_pool_at(pool.root().path()));
    sweep(&layout, &name, &cgroups, pool.as_ref().map(Pool::root), |path| trash::throw(&layout, path))?;
    let mut hello = Hello {
        data_dir: layout.root().to_owned(),
        privileged,
        cgroups,
        skeleton: name,
        host_directories: skeleton::shown(host),
        boot_id: proc::boot_id().step("read the boot id")?,
        pool: config.pool,
        disk_pool: pool.as_ref().map(|pool| pool.place().clone()),
    };
    let with_pool = pool.map(|pool| {
        let client = Client::start(config.program.clone(), hello.clone(), lock.try_clone().step("share the lock")?)?;
        let read_only = rehearse(&layout, Some(&pool), &client)?;
        Ok((Watched::new(pool).step("look after the pool of the sandboxes' files")?, client, read_only))
    });
    let (pool, client, read_only) = match with_pool {
        Some(Ok((pool, client, read_only))) => (Some(pool), client, read_only),
        other => {
            if let Some(Err(failure)) = other {
                let failure: Failure = failure;
                let why = format!("no sandbox could be made in the pool: {failure}");
                warnings.push(format!("disk_bytes cannot be limited, nor the size of volumes: {why}"));
                storage = Storage::none(layout.root(), why);
            }
            hello.disk_pool = None;
            let client = Client::start(config.program.clone(), hello, lock)?;
            let read_only = rehearse(&layout, None, &client).map_err(|failure| probe::explain(failure, &layout))?;
            (None, client, read_only)
        }
    };
    warnings.extend(read_only.iter().map(|path| probe::unchangeable(path)));
    if let Err(error) = pool::note(&layout, &storage) {
        tracing::warn!(%error, "where sandboxes' files are could not be noted for `sandshell doctor`");
    }
    Ok(Started { layout, pool, client, warnings, storage })
}

/// Starts a sandbox up to the moment before its agent: the one sure way to know that this host can.
/// Returns the host's directories that sandboxes will not be able to change.
fn rehearse(layout: &Layout, pool: Option<&Pool>, client: &Client) -> Result<Vec<PathBuf>, Failure> {
    let order = Order {
        sandbox_id: REHEARSAL.to_owned(),
        directory: None,
        layer: None,
        host_network: false,
        memory_bytes: None,
        cpu_millis: None,
        max_processes: None,
        disk_bytes: None,
        volumes: Vec::new(),
        rehearsal: true,
    };
    let sandbox = layout.sandbox(REHEARSAL);
    // Nothing else runs yet: the event loop is only for the limits of the waits.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().step("start an event loop")?;
    let outcome = runtime.block_on(async {
        make_directory(&sandbox)?;
        carry_out(client, &order, &configuration(b"")?, Instant::now() + REHEARSAL_LIMIT).await
    })?;
    let (reply, made) = match outcome {
        Outcome::Done(reply) => (Ok(reply), None),
        Outcome::Lost(made) => (Err(lost()), Some(made)),
        Outcome::TooLong(made) => (Err(too_long()), Some(made)),
    };
    let made = made.or_else(|| reply.as_ref().ok().map(|reply| reply.made.clone())).unwrap_or_default();
    end::remove_at_start(layout, pool, &made, &sandbox);
    let reply = reply?;
    reply.failure.map_or(Ok(reply.read_only), Err)
}

/// Starts a sandbox. After an error nothing of it is left, or a task of its own goes on removing it.
pub(super) async fn create(shared: &Arc<Shared>, order: Order, config: Vec<u8>) -> Result<(), RuntimeError> {
    let (id, until) = (order.sandbox_id.clone(), Instant::now() + shared.start_limit);
    let sandbox = shared.layout.sandbox(&id);
    if let Some(pool) = shared.pool() {
        blocking(move || pool.has_room()).await?;
    }
    // In memory, so that nothing can hold it up.
    let config = configuration(&config)?;
    let mut tries = TRIES;
    loop {
        // Whoever else has this directory keeps it: only from here on is it ours to remove.
        let (path, layer) = (sandbox.clone(), order.layer.as_deref().map(|layer| shared.layout.layer(layer)));
        blocking(move || {
            if let Some(layer) = layer {
                layer::note_use(&layer).step("note the use of the layer")?;
            }
            make_directory(&path)
        })
        .await?;
        let (made, failure) = match carry_out(&shared.client, &order, &config, until).await {
            Ok(Outcome::Done(reply)) => match reply.failure {
                None => {
                    // From now on it is held. If that cannot be done now, the next look does it.
                    if let Err(failure) = shared.processes.find(&shared.layout, &id).await {
                        tracing::warn!(sandbox_id = id, error = %failure, "a new sandbox could not be looked at");
                    }
                    return Ok(());
                }
                Some(failure) => (reply.made, RuntimeError::from(failure)),
            },
            // Somebody killed it, the kernel perhaps for want of memory. That says nothing of this sandbox.
            Ok(Outcome::Lost(made)) => {
                tries -= 1;
                tracing::warn!(sandbox_id = id, tries, "what was starting a sandbox has ended");
                if tries > 0 && end::undo_start(shared, &id, made.clone()).await.is_ok() {
                    continue;
                }
                (made, lost().into())
            }
            Ok(Outcome::TooLong(made)) => (made, RuntimeError::Unavailable(too_long().to_string())),
            Err(failure) => (Made::default(), failure.into()),
        };
        end::undo_at_last(shared, &id, made).await;
        return Err(failure);
    }
}

fn lost() -> Failure {
    Failure::new("start the sandbox", &io::Error::other("the process that was starting it has ended"))
}

fn too_long() -> Failure {
    let cause = "it takes too long; does the disk of its image answer?";
    Failure::new("start the sandbox", &io::Error::new(io::ErrorKind::TimedOut, cause))
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
