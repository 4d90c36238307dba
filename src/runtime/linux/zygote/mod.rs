//! The zygote: a small process with one thread that makes starters, because a large one with many threads cannot fork
//! safely nor fast. It ends when the server's socket does; sandboxes go on.

mod starter;

use crate::{
    packet,
    runtime::linux::{
        failure::{Failure, Step},
        inside::seccomp::{Filter, Sharing},
        layout::Layout,
        pool_place::Place,
        storage::{delete, pool::Root, sweep::sweep},
        sys,
        wire::{Answer, Hello, Welcome},
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    net::SendFlags,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, set_child_subreaper, setsid},
};
use starter::Shared;
use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// How often, and after which time, sealing is tried again.
const SEALING_TRIES: usize = 100;
const SEAL_AGAIN: Duration = Duration::from_millis(10);

/// The hidden subcommand `zygote --control-fd N`: `N` is the server's socket.
pub fn main(control_fd: RawFd) -> ExitCode {
    match serve(control_fd) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!(error = %failure, "the zygote failed");
            ExitCode::FAILURE
        }
    }
}

fn serve(control_fd: RawFd) -> Result<(), Failure> {
    let control = sys::inherited(control_fd).step("take the control socket")?;
    // Kept away from 0 to 2, which a child could take for its standard streams.
    let control = rustix::io::fcntl_dupfd_cloexec(&control, 10).step("take the control socket")?;
    let null = File::open("/dev/null").step("open /dev/null")?;
    sys::place_descriptor(null.as_fd(), 0).step("open /dev/null")?;
    // Never closed: it may be descriptor 0 itself.
    let _ = null.into_raw_fd();
    // A terminal's interrupt is for the server, which then decides.
    let _ = setsid();
    let _ = rustix::thread::set_name(c"sandshell-zygot");
    // Sandboxes whose starter has ended become children of this process, and it reaps them by not caring.
    set_child_subreaper(Some(rustix::process::getpid())).step("become a subreaper")?;
    sys::ignore_children();
    let hello = packet::receive(control.as_fd()).step("read the greeting")?;
    let shared = greet(&hello.bytes);
    let shared = shared.and_then(|shared| Ok((pool_of(&shared.hello)?, shared)));
    let welcome = Welcome { error: shared.as_ref().err().cloned() };
    let text = serde_json::to_vec(&welcome).map_err(io::Error::from).step("answer the greeting")?;
    packet::send(control.as_fd(), &text, &[], SendFlags::empty()).step("answer the greeting")?;
    let (pool, shared) = shared?;
    Zygote { shared, pool, control, idle: Vec::new(), busy: Vec::new(), last_start: None }.run()
    // `hello` holds the lock until here.
}

fn greet(bytes: &[u8]) -> Result<Shared, Failure> {
    let hello: Hello = serde_json::from_slice(bytes).map_err(io::Error::from).step("read the greeting")?;
    Ok(Shared {
        layout: Layout::new(hello.data_dir.clone()),
        hello,
        filter: Filter::compile(Sharing::Allowed).step("compile the system call filter")?,
        filter_beside: Filter::compile(Sharing::Refused).step("compile the system call filter")?,
        program: sealed_program()
            .step("copy the agent's program to memory (sysctl vm.memfd_noexec must be below 2)")?,
    })
}

/// The pool of the sandboxes' files, if there is one.
fn pool_of(hello: &Hello) -> Result<Option<Root>, Failure> {
    hello.disk_pool.as_ref().map(Place::open).transpose().step("mount the pool of the sandboxes' files")
}

/// A copy of this program that nobody can change, in memory: what runs inside a sandbox can find its agent's program
/// through `/proc`, and must not find a file of the host there.
fn sealed_program() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag, and allow execution without it.
    let memory = match memfd_create("sandshell", flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => memfd_create("sandshell", flags),
        other => other,
    }?;
    let mut copy = File::from(rustix::io::fcntl_dupfd_cloexec(&memory, 10)?);
    // Not `io::copy`: that lets the kernel move pages, which may hold on to one for a while, and a file whose pages
    // somebody holds cannot be sealed.
    let mut program = File::open("/proc/self/exe")?;
    let mut piece = vec![0; 1 << 20];
    loop {
        match program.read(&mut piece)? {
            0 => break,
            length => copy.write_all(&piece[..length])?,
        }
    }
    copy.rewind()?;
    rustix::fs::fchmod(&copy, rustix::fs::Mode::from_raw_mode(0o555))?;
    seal(&copy)?;
    Ok(copy.into())
}

/// The kernel may hold a page all the same, while it compacts memory; it lets go soon.
fn seal(file: &File) -> io::Result<()> {
    let mut tries = SEALING_TRIES;
    loop {
        tries -= 1;
        match fcntl_add_seals(file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE) {
            Err(rustix::io::Errno::BUSY) if tries > 0 => thread::sleep(SEAL_AGAIN),
            other => return Ok(other?),
        }
    }
}

struct Zygote {
    shared: Shared,
    /// Kept mounted until the end: then subvolumes that were made ahead are removed.
    pool: Option<Root>,
    control: OwnedFd,
    /// Those that wait for an order.
    idle: Vec<Starter>,
    /// Those that have one; they end when it is done.
    busy: Vec<Starter>,
    /// When the last order came or, if that is later, was done.
    last_start: Option<Instant>,
}

/// A starter as the zygote knows it.
struct Starter {
    /// Orders go there. Nothing comes back but the end.
    socket: OwnedFd,
    pid: Pid,
    /// Always means this process, whatever becomes of its number. Ready when it has ended.
    process: OwnedFd,
    /// When it got its order.
    since: Instant,
}

/// How long a start usually takes at most. One that takes longer, because its image hangs, say, is not waited for.
const USUAL: Duration = Duration::from_secs(1);
/// How long a new sandbox has the processors to itself, for its first commands and perhaps its end, before starters are made again, as long
/// as there are [`ENOUGH`] of them. On version 1 of cgroups a starter that enters its own makes whoever removes one wait for 10 ms.
const CALM: Duration = Duration::from_millis(30);
/// With fewer idle starters than this, new ones are made as soon as nothing is being started, so that whoever makes one sandbox after another
/// does not wait for one.
const ENOUGH: usize = 2;
/// How long starters may take to finish when the server is gone. The next server waits for that.
const FAREWELL: Duration = Duration::from_secs(8);
/// How long a starter may take to end after it was killed.
const DEATH: Duration = Duration::from_secs(1);

impl Zygote {
    fn run(mut self) -> Result<(), Failure> {
        loop {
            // Only when nothing is being started, so that getting ready does not slow down what somebody waits for.
            let quiet = self.busy.iter().map(|starter| USUAL.saturating_sub(starter.since.elapsed())).max();
            let mut quiet = quiet.unwrap_or_default();
            if let Some(last) = self.last_start.filter(|_| self.idle.len() >= ENOUGH) {
                quiet = quiet.max(CALM.saturating_sub(last.elapsed()));
            }
            while quiet.is_zero() && self.idle.len() < self.shared.hello.pool {
                match self.fork_starter() {
                    Ok(starter) => self.idle.push(starter),
                    // One will be tried again for the next order.
                    Err(_) => break,
                }
            }
            let missing = self.idle.len() < self.shared.hello.pool && !quiet.is_zero();
            let sockets = self.busy.iter().chain(&self.idle).map(|starter| &starter.socket);
            let sockets = [&self.control].into_iter().chain(sockets);
            let mut polled: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
            match poll(&mut polled, missing.then(|| span(quiet)).as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).step("wait for orders"),
            }
            let ready: Vec<_> = polled.iter().map(|socket| !socket.revents().is_empty()).collect();
            let (busy, idle) = (self.busy.len(), self.idle.len());
            // Starters say nothing: a socket that is ready is one whose starter has ended.
            let mut ended = ready.iter().skip(1).copied();
            let mut gone: Vec<_> = ended.by_ref().take(busy).collect();
            if gone.contains(&true) {
                self.last_start = Some(Instant::now());
            }
            keep(&mut self.busy, &gone);
            gone = ended.take(idle).collect();
            keep(&mut self.idle, &gone);
            if ready.first().copied().unwrap_or(false) && !self.take_order()? {
                return self.end();
            }
        }
    }

    /// The server is gone. Starters finish what was ordered; what others had made ahead goes, so that no cgroup is left
    /// even of a data directory that is never used again. The next server waits for it at the lock.
    fn end(self) -> Result<(), Failure> {
        for starter in &self.idle {
            let _ = rustix::net::shutdown(&starter.socket, rustix::net::Shutdown::Write);
        }
        let until = Instant::now() + FAREWELL;
        for starter in self.idle.iter().chain(&self.busy) {
            // Its process and not its socket: that closes earlier, while the process is still in its cgroup.
            if !starter.ends_by(until) {
                tracing::warn!(pid = starter.pid.as_raw_pid(), "a starter that does not end is killed");
                let _ = pidfd_send_signal(&starter.process, Signal::KILL);
                starter.ends_by(Instant::now() + DEATH);
            }
        }
        let unused: Vec<_> = self.idle.iter().map(|starter| starter.pid.as_raw_pid()).collect();
        let hello = &self.shared.hello;
        hello.cgroups.close(&unused);
        sweep(&self.shared.layout, &hello.skeleton, &hello.cgroups, self.pool.as_ref(), delete::tree)?;
        self.pool.as_ref().map_or(Ok(()), Root::clear_all).step("remove the files of sandboxes that have ended")
    }

    /// Passes an order on; `false` when the server is gone.
    fn take_order(&mut self) -> Result<bool, Failure> {
        let order = match packet::receive(self.control.as_fd()) {
            Ok(order) if order.bytes.is_empty() => return Ok(false),
            // Whoever sent it is told by the end of its reply pipe.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(true),
            other => other.step("read an order")?,
        };
        let descriptors: Vec<BorrowedFd<'_>> = order.descriptors.iter().map(AsFd::as_fd).collect();
        self.last_start = Some(Instant::now());
        // From here on an end without an answer is a starter's, and the order is not given again to another zygote.
        let waits = descriptors.first().is_some_and(|reply| Answer::Accepted.tell(reply).is_ok());
        if !waits {
            return Ok(true);
        }
        while let Some(starter) = self.idle.pop() {
            if self.pass_on(starter, &order.bytes, &descriptors) {
                return Ok(true);
            }
        }
        match self.fork_starter() {
            Ok(starter) => {
                self.pass_on(starter, &order.bytes, &descriptors);
            }
            Err(failure) => tracing::error!(error = %failure, "no process for a sandbox"),
        }
        Ok(true)
    }

    /// Gives a starter an order. `false` when it is gone. It takes one only, so it never blocks.
    fn pass_on(&mut self, starter: Starter, order: &[u8], descriptors: &[BorrowedFd<'_>]) -> bool {
        let given = packet::send(starter.socket.as_fd(), order, descriptors, SendFlags::DONTWAIT).is_ok();
        if given {
            self.busy.push(Starter { since: Instant::now(), ..starter });
        }
        given
    }

    fn fork_starter(&mut self) -> Result<Starter, Failure> {
        let (own, orders) = packet::pair().step("make a socket pair")?;
        if let Some(pid) = sys::fork().step("fork a starter")? {
            let process = pidfd_open(pid, PidfdFlags::empty()).step("hold a starter")?;
            return Ok(Starter { socket: own, pid, process, since: Instant::now() });
        }
        // A starter must not hold the zygote's sockets: nobody would notice any more that the zygote is gone.
        drop(own);
        self.idle.clear();
        self.busy.clear();
        self.control = orders;
        starter::run(&self.shared, &self.control)
    }
}

impl Starter {
    /// Waits until it has ended. `false` when it has not by then.
    fn ends_by(&self, until: Instant) -> bool {
        loop {
            let left = span(until.saturating_duration_since(Instant::now()));
            match poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                other => return matches!(other, Ok(1..)),
            }
        }
    }
}

fn span(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().cast_signed(), tv_nsec: i64::from(duration.subsec_nanos()) }
}

fn keep(starters: &mut Vec<Starter>, gone: &[bool]) {
    let mut gone = gone.iter();
    starters.retain(|_| !gone.next().copied().unwrap_or(false));
}
