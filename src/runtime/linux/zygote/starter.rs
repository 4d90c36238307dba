//! A starter: a process that starts one sandbox and ends.
//!
//! Before it knows which sandbox, it has entered a cgroup, taken a slot, and mounted the host image, all of which would
//! cost the create time. Then it waits for an order. The sandbox's first process inherits its cgroups and mounts.

use crate::{
    packet,
    proc::{ProcessId, state_and_start},
    runtime::linux::{
        failure::{Failure, Step},
        inside::{
            first::{First, Plan, out_of_the_way},
            privileges,
            seccomp::Filter,
        },
        layout::{AGENT_LOG, AGENT_SOCKET, Layout},
        record::Record,
        rootfs::{
            idmap::{self, Ids},
            layer,
            tree::{self, Tree},
            volumes,
        },
        storage::{pool, slots},
        sys,
        wire::{Answer, Hello, Made, Order, Reply},
    },
};
use rustix::{
    fs::Mode,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::{Signal, WaitId, WaitIdOptions, chdir, pidfd_send_signal, setpriority_process, umask, waitid},
};
use std::{
    fs::OpenOptions,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

/// The agent's nice value. Beside 200 busy programs of its sandbox it answers as soon as with -10, and five times sooner than with 0.
/// With -10 it would also go before the server and the shells in the midst of their turns, each time that something comes for it, and
/// many sessions at once would do a tenth less in the same time.
const AGENT_NICE: i32 = -4;

/// What all starters of a zygote share.
pub(super) struct Shared {
    pub(super) hello: Hello,
    pub(super) layout: Layout,
    pub(super) filter: Filter,
    /// For sandboxes with several volumes, or with one beside directories of the host.
    pub(super) filter_beside: Filter,
    /// The agent's program, sealed.
    pub(super) program: OwnedFd,
}

/// What was made ahead of the order.
struct Prepared {
    made: Made,
    layers: PathBuf,
    ids: Ids,
    /// With root: the user namespace that layers are mapped for.
    user_namespace: Option<OwnedFd>,
    /// The host's directories that are not copy-on-write.
    read_only: Vec<PathBuf>,
}

/// A starter's whole life.
pub(super) fn run(shared: &Shared, orders: &OwnedFd) -> ! {
    sys::watch_children();
    umask(Mode::from_raw_mode(0o077));
    let mut made = Made::default();
    let prepared = prepare(shared, &mut made);
    let code = match packet::receive(orders.as_fd()) {
        Ok(packet) if !packet.bytes.is_empty() => serve(shared, prepared, made, packet),
        // Nobody needs it any more. Its cgroup and slot are swept up by the next server.
        _ => 0,
    };
    sys::exit_now(code)
}

fn serve(shared: &Shared, prepared: Result<Prepared, Failure>, made: Made, packet: packet::Packet) -> i32 {
    let Ok([reply, config]) = <[OwnedFd; 2]>::try_from(packet.descriptors) else { return 1 };
    // Before anything else: whoever waits can then remove what was made, whatever becomes of this process.
    if Answer::Taken(made.clone()).tell(&reply).is_err() {
        return 1;
    }
    let mut answer = Reply { made, ..Reply::default() };
    answer.failure = match (prepared, serde_json::from_slice::<Order>(&packet.bytes)) {
        (Ok(prepared), Ok(order)) => {
            answer.read_only.clone_from(&prepared.read_only);
            start(shared, &prepared, &order, config).err()
        }
        (Err(failure), _) => Some(failure),
        (_, Err(error)) => Some(Failure::new("read the order", &error.into())),
    };
    i32::from(Answer::Done(Box::new(answer)).tell(&reply).is_err())
}

fn prepare(shared: &Shared, made: &mut Made) -> Result<Prepared, Failure> {
    let hello = &shared.hello;
    let (slot, layers) = slots::take(&shared.layout).step("take a slot")?;
    made.slot = Some(slot);
    let layers = match &hello.disk_pool {
        None => layers,
        Some(place) => {
            tree::private_mounts()?;
            let pool = shared.layout.pool_mount();
            place.mount_at(&pool).step("mount the pool of the sandboxes' files")?;
            let name = slot.to_string();
            made.subvolume = Some(place.make_subvolume(&pool, &name).step("make a subvolume for the sandbox's files")?);
            pool.join(name)
        }
    };
    let boot = hello.boot_id.get(..8).unwrap_or_default();
    hello.cgroups.enter(&format!("{slot}-{boot}-{}", std::process::id()), &mut made.cgroups)?;
    if !hello.privileged {
        let ids = Ids::Own(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        return Ok(Prepared { made: made.clone(), layers, ids, user_namespace: None, read_only: Vec::new() });
    }
    if hello.disk_pool.is_none() {
        tree::private_mounts()?;
    }
    let user_namespace = idmap::user_namespace(Ids::Range(slot)).step("make a user namespace")?;
    let owner = Some(slots::root_id(slot));
    let tree = Tree { hello, layout: &shared.layout, layers: &layers, owner, frozen: None };
    let read_only = tree.host_mapped(&user_namespace)?;
    let user_namespace = Some(user_namespace);
    Ok(Prepared { made: made.clone(), layers, ids: Ids::Range(slot), user_namespace, read_only })
}

fn start(shared: &Shared, prepared: &Prepared, order: &Order, config: OwnedFd) -> Result<(), Failure> {
    let hello = &shared.hello;
    let sandbox = shared.layout.sandbox(&order.sandbox_id);
    let slot = prepared.made.slot.filter(|_| hello.privileged);
    let layer = order.layer.as_deref().map(|layer| layer::open(&shared.layout, layer, slot)).transpose()?;
    let tree = Tree {
        hello,
        layout: &shared.layout,
        layers: &prepared.layers,
        owner: slot.map(slots::root_id),
        frozen: layer.as_ref(),
    };
    match (&order.directory, &prepared.user_namespace) {
        (Some(directory), Some(user_namespace)) => {
            check(directory)?;
            tree.directory_mapped(directory, user_namespace)?;
        }
        // Over what was mounted ahead, which has no layer.
        (None, Some(user_namespace)) if layer.is_some() => drop(tree.host_mapped(user_namespace)?),
        _ => {}
    }
    if prepared.made.subvolume.is_some() {
        pool::limit(&prepared.layers, order.disk_bytes).step("limit the sandbox's files")?;
    }
    if slot.is_some() {
        volumes::mount_all(&shared.layout, &order.volumes, slot, &tree.root())?;
    }
    // Short relative names from here on: a socket's path has room for 108 bytes.
    chdir(&sandbox).step("enter the sandbox's directory")?;
    let listener = listener().step("make the agent's socket")?;
    let log = log().step("open the agent's log")?;
    let kill_count = hello.cgroups.kill_count(&prepared.made.cgroups);
    let aside = |descriptor| out_of_the_way(descriptor).step("arrange descriptors");
    let (go_reader, mut go) = io::pipe().step("make a pipe")?;
    let (failures, failed) = io::pipe().step("make a pipe")?;
    let config = aside(config)?;
    let plan = Plan { hello, order, made: &prepared.made };
    let beside = order.volumes.len() + prepared.read_only.len();
    let first = First {
        plan: &plan,
        tree: &tree,
        // A sandbox's own files lie behind an overlay, and so share nothing with what is mounted beside it.
        filter: if beside > 1 { &shared.filter_beside } else { &shared.filter },
        program: shared.program.as_fd(),
        listener: aside(listener)?,
        config: config.as_fd(),
        log: aside(log)?,
        kill_count: kill_count.map(aside).transpose()?,
        go: aside(go_reader.into())?.into(),
        failed: aside(failed.into())?.into(),
    };
    // The agent answers for all programs of its sandbox, so it gets the processor before them. They do not inherit this.
    // Only root may set it.
    let _ = setpriority_process(None, AGENT_NICE);
    let owner = tree.owner;
    if let Some(owner) = owner {
        privileges::act_as(owner).step("become the sandbox's user")?;
    }
    let Some(child) = sys::clone_into(namespaces(order.host_network)).step("make the sandbox's namespaces")? else {
        drop((go, failures));
        first.run()
    };
    if owner.is_some() {
        privileges::act_as_root().step("become root again")?;
    }
    drop(first);
    let running = release(shared, prepared, order, &sandbox, &child, &mut go).and_then(|()| {
        drop(go);
        outcome(failures, &child, order.rehearsal)
    });
    if running.is_err() || order.rehearsal {
        let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
    running
}

/// Looks at an image's directory. Here and not in the server, because its file system may not answer.
fn check(directory: &Path) -> Result<(), Failure> {
    let what = directory.display();
    match std::fs::metadata(directory) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Failure::image(format!("use {what} as an image"), &io::ErrorKind::NotADirectory.into())),
        Err(error) => Err(Failure::image(format!("use {what} as an image"), &error)),
    }
}

fn namespaces(host_network: bool) -> libc::c_int {
    let network = if host_network { 0 } else { libc::CLONE_NEWNET };
    libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | network
}

/// Gives the first process its ids and limits, records it, and lets it go. In this order: a process that was recorded
/// can be found and ended by anybody later, and one that was not dies with the pipe.
fn release(
    shared: &Shared,
    prepared: &Prepared,
    order: &Order,
    sandbox: &Path,
    child: &sys::Child,
    go: &mut impl Write,
) -> Result<(), Failure> {
    prepared.ids.write(child.pid).step("map the sandbox's ids")?;
    shared.hello.cgroups.limit(&prepared.made.cgroups, &order.limits())?;
    let (_, start_time) = state_and_start(child.pid).step("identify the sandbox's process")?;
    let process = ProcessId { pid: child.pid.as_raw_pid(), start_time, boot_id: shared.hello.boot_id.clone() };
    let skeleton = order.directory.is_none().then(|| shared.hello.skeleton.clone());
    let (made, directory, layer) = (prepared.made.clone(), order.directory.clone(), order.layer.clone());
    let record = Record { process, made, skeleton, directory, layer };
    record.write(sandbox).step("write the sandbox's record")?;
    go.write_all(&[1]).step("let the sandbox's process go")
}

/// Waits until the agent runs: the failure pipe ends without a word.
fn outcome(mut failures: impl Read, child: &sys::Child, rehearsal: bool) -> Result<(), Failure> {
    let mut text = Vec::new();
    failures.read_to_end(&mut text).step("wait for the agent")?;
    if !text.is_empty() {
        return Err(serde_json::from_slice(&text)
            .unwrap_or_else(|error: serde_json::Error| Failure::new("wait for the agent", &error.into())));
    }
    // A process that was killed closes the pipe too.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::PidFd(child.pidfd.as_fd()), options).step("wait for the agent")? {
        Some(status) if !rehearsal => {
            let how = match (status.terminating_signal(), status.exit_status()) {
                (Some(9), _) => "it was killed, perhaps for want of memory: the limit may be too low".to_owned(),
                (Some(signal), _) => format!("it ended by signal {signal}"),
                (_, code) => format!("it ended with status {}", code.unwrap_or(-1)),
            };
            Err(Failure::new("start the agent", &io::Error::other(how)))
        }
        _ => Ok(()),
    }
}

fn listener() -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new(AGENT_SOCKET)?)?;
    rustix::fs::chmod(AGENT_SOCKET, Mode::RUSR | Mode::WUSR)?;
    listen(&socket, 1024)?;
    Ok(socket)
}

fn log() -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().append(true).create(true).mode(0o600).open(AGENT_LOG)?.into())
}
