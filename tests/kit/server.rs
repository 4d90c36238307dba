//! A real server: the built binary, on a port of its own, with a data directory of its own.

use super::{
    host,
    slowness::scaled,
    v1,
    within::{USUAL, ask_until},
};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, Mutex, Once, mpsc},
    thread,
};
use tonic::transport::{Channel, Endpoint};
use v1::{
    file_service_client::FileServiceClient, sandbox_service_client::SandboxServiceClient,
    session_service_client::SessionServiceClient,
};

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_sandshell");

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where to listen; else a port of its own on loopback.
    pub listen: Option<String>,
    /// Run it as this user and group, without privileges.
    pub uid: Option<u32>,
    /// How many files it may have open.
    pub open_files: Option<u64>,
    /// More arguments of `serve`.
    pub args: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
    /// A data directory to use again; else a new one.
    pub data_dir: Option<PathBuf>,
    /// Whether its sandboxes stay when it stops; else it takes them along.
    pub keep: bool,
}

/// A running server. It is told to stop, and waited for, on drop.
pub struct Server {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
    data_dir: PathBuf,
    // Removed last, after the server has ended.
    _own: Option<tempfile::TempDir>,
}

/// One client of each service, on a connection of their own.
#[derive(Clone)]
pub struct Clients {
    /// Sandboxes.
    pub sandboxes: SandboxServiceClient<Channel>,
    /// Sessions and commands.
    pub sessions: SessionServiceClient<Channel>,
    /// Files.
    pub files: FileServiceClient<Channel>,
    /// The connection.
    pub channel: Channel,
}

/// The server that most tests share.
pub fn shared() -> &'static Server {
    static SHARED: LazyLock<Server> = LazyLock::new(|| Server::start(Options::default()).until_exit());
    &SHARED
}

/// What a static leaves, which is never dropped: directories that go when this process ends, some with the server in them.
static LEFT: Mutex<Vec<(Option<u32>, PathBuf)>> = Mutex::new(Vec::new());

/// Has a directory removed at the end of this process, after its server has been told to stop.
fn remove_at_exit(server: Option<u32>, directory: &Path) {
    static ONCE: Once = Once::new();
    // SAFETY: the function takes nothing, returns, and is there as long as this program.
    ONCE.call_once(|| assert_eq!(unsafe { libc::atexit(clean_up) }, 0));
    LEFT.lock().unwrap().push((server, directory.to_owned()));
}

extern "C" fn clean_up() {
    let Ok(left) = LEFT.lock() else { return };
    left.iter().filter_map(|(server, _)| *server).for_each(|server| host::signal(server, libc::SIGTERM));
    for (server, directory) in &*left {
        let has_ended = server.is_none_or(|server| {
            let server = rustix::process::Pid::from_raw(server as i32);
            ask_until(USUAL, || match rustix::process::waitpid(server, rustix::process::WaitOptions::NOHANG) {
                Ok(None) => None,
                _ => Some(()),
            })
            .is_some()
        });
        if has_ended {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

impl Server {
    /// For a static: ends with this process, and its data too.
    pub fn until_exit(self) -> Self {
        if let Some(own) = &self._own {
            remove_at_exit(Some(self.pid()), own.path());
        }
        self
    }

    /// Starts one and waits until it says that it listens.
    pub fn start(options: Options) -> Self {
        match Self::try_start(options) {
            Ok(server) => server,
            Err((status, log)) => panic!("`sandshell serve` ended ({status}) instead of listening; it said:\n{log}"),
        }
    }

    /// Starts one; how it ended and what it said when it does not listen.
    pub fn try_start(options: Options) -> Result<Self, (ExitStatus, String)> {
        let own = options.data_dir.is_none().then(|| tempfile::tempdir().expect("a directory for data"));
        let data_dir = options.data_dir.clone().unwrap_or_else(|| own.as_ref().unwrap().path().join("data"));
        if let (Some(uid), Some(own)) = (options.uid, &own) {
            std::os::unix::fs::chown(own.path(), Some(uid), Some(uid)).expect("a data directory of that user's");
        }
        let program = if options.uid.is_some() { binary_for_everyone() } else { PathBuf::from(BINARY) };
        let mut command = Command::new(program);
        let listen = options.listen.as_deref().unwrap_or("127.0.0.1:0");
        command.args(["serve", "--listen", listen, "--data-dir"]).arg(&data_dir).args(&options.args);
        if !options.keep {
            command.arg("--ephemeral");
        }
        command.envs(options.env.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(most) = options.open_files {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            // SAFETY: between fork and exec only one system call is made, and nothing is allocated.
            unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, limit)?)) };
        }
        let mut child = spawn_bound_to_us(command, options.uid);

        let log = Arc::new(Mutex::new(String::new()));
        let (said, listening) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if let Some(address) = line.strip_prefix("listening on ") {
                    let _ = said.send(address.trim().to_owned());
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        match listening.recv_timeout(scaled(USUAL)) {
            Ok(address) => Ok(Self { child, address, log, data_dir, _own: own }),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = child.wait().expect("the server's end");
                let log = log.lock().unwrap().clone();
                Err((status, log))
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                panic!("`sandshell serve` did not say `listening on` in time, only:\n{}", log.lock().unwrap());
            }
        }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it keeps its data.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What it said on stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Clients on a new connection.
    pub async fn connect(&self) -> Clients {
        let endpoint = Endpoint::from_shared(self.url()).expect("an address");
        Clients::new(endpoint.connect().await.unwrap_or_else(|e| panic!("no connection to {}: {e}", self.address)))
    }

    /// Kills it at once, as a crash would, and waits for its end.
    pub fn crash(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(mut self) -> ExitStatus {
        self.end()
    }

    fn end(&mut self) -> ExitStatus {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status;
        }
        host::signal(self.pid(), libc::SIGTERM);
        if let Some(status) = ask_until(USUAL, || self.child.try_wait().ok().flatten()) {
            return status;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("and the server did not stop after SIGTERM");
            return ExitStatus::default();
        }
        panic!("the server did not stop after SIGTERM; it said:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

impl Clients {
    /// Clients on a connection.
    pub fn new(channel: Channel) -> Self {
        const LARGEST: usize = 64 << 20;
        Self {
            sandboxes: SandboxServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST),
            sessions: SessionServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST),
            files: FileServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST),
            channel,
        }
    }
}

/// Starts a program that is told to stop (SIGTERM) when this process ends, in whichever way.
///
/// The death signal is bound to the *thread* that forks, and a test's thread ends with the test, so one thread that
/// lives as long as the process does all the forking.
pub fn spawn_bound_to_us(command: Command, uid: Option<u32>) -> Child {
    type Job = (Command, Option<u32>, mpsc::Sender<std::io::Result<Child>>);
    static FORKER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
        let (jobs, work) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, uid, answer) in work {
                // SAFETY: between fork and exec only async-signal-safe system calls are made.
                unsafe {
                    command.pre_exec(move || {
                        if let Some(id) = uid {
                            // Raw calls: libc's would talk to threads that the child does not have.
                            for (call, arguments) in [
                                (libc::SYS_setgroups, [0, 0, 0]),
                                (libc::SYS_setresgid, [id; 3]),
                                (libc::SYS_setresuid, [id; 3]),
                            ] {
                                if libc::syscall(call, arguments[0], arguments[1], arguments[2]) != 0 {
                                    return Err(std::io::Error::last_os_error());
                                }
                            }
                            // A change of user makes the process undumpable; exec makes it dumpable again.
                        }
                        // After the change of user, which clears it.
                        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
                            return Err(std::io::Error::last_os_error());
                        }
                        Ok(())
                    });
                }
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let shown = format!("{command:?}");
    let (answer, child) = mpsc::channel();
    FORKER.lock().unwrap().send((command, uid, answer)).expect("the forking thread lives");
    child.recv().expect("the forking thread answers").unwrap_or_else(|e| panic!("cannot start {shown}: {e}"))
}

/// A copy of the program where an ordinary user may run it: the build directory may be in a home that only root reads.
fn binary_for_everyone() -> PathBuf {
    static COPY: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        remove_at_exit(None, dir.path());
        std::fs::copy(BINARY, dir.path().join("sandshell")).expect("a copy of the program");
        dir
    });
    COPY.path().join("sandshell")
}
