//! Carrying bytes between its standard streams and the agent's socket: a process that the daemon starts in the container for each connection,
//! where it is on another host.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// Bytes at a time.
const BLOCK: usize = 64 << 10;

/// How long an agent may take to make its socket.
const AGENT_STARTS: Duration = Duration::from_secs(5);

/// The hidden subcommand: carries bytes until the agent or the server is gone.
pub fn main(socket: &Path) -> ExitCode {
    // Nothing inside may look into what passes here, or slip something in.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    match carry(socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandshell: relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry(socket: &Path) -> io::Result<()> {
    let agent = reach(socket)?;
    let mut towards = agent.try_clone()?;
    thread::spawn(move || {
        let _ = copy(&mut io::stdin().lock(), &mut towards);
        // The server is gone: so are its requests.
        let _ = towards.shutdown(Shutdown::Both);
    });
    copy(&mut &agent, &mut io::stdout().lock())
}

/// Connects to the agent, which may only just be starting.
fn reach(socket: &Path) -> io::Result<UnixStream> {
    let began = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Err(_) if began.elapsed() < AGENT_STARTS => thread::sleep(Duration::from_millis(2)),
            other => return other,
        }
    }
}

/// Copies at once whatever is there.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                to.write_all(&block[..read])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
