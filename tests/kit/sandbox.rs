//! Sandboxes and sessions as a test sees them.

use super::{Clients, Finished, LONG, Running, Server, token, v1, within, within_time};
use sandshell::api::v1::{ExecStart, RunRequest, exec_start::Target};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use tonic::{Code, Status};

/// A sandbox for one test. Its removal is begun when the last handle is dropped.
#[derive(Clone)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// What the server answered.
    pub described: v1::Sandbox,
    /// Clients of its server.
    pub clients: Clients,
    _removal: Arc<Removal>,
}

/// One session.
#[derive(Clone)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// What the server answered.
    pub described: v1::Session,
    /// The sandbox that it is in.
    pub sandbox: Sandbox,
}

/// Creates a sandbox on a server.
pub async fn create_sandbox(server: &Server, request: v1::CreateSandboxRequest) -> Sandbox {
    try_create_sandbox(server, request.clone())
        .await
        .unwrap_or_else(|e| panic!("no sandbox for {request:?}: {e:?}\n--- the server's log ---\n{}", server.log()))
}

/// As [`create_sandbox`], by a client that tries again for as long as the server says that it is only busy.
pub async fn create_sandbox_patiently(server: &Server, request: v1::CreateSandboxRequest) -> Sandbox {
    let request = v1::CreateSandboxRequest { request_id: token(), ..request };
    within_time(LONG, "a sandbox of a busy server", async {
        loop {
            match try_create_sandbox(server, request.clone()).await {
                Ok(sandbox) => return sandbox,
                Err(status) if status.code() == Code::Unavailable => {}
                Err(status) => panic!("no sandbox for {request:?}: {status:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    })
    .await
}

async fn try_create_sandbox(server: &Server, request: v1::CreateSandboxRequest) -> Result<Sandbox, Status> {
    let mut clients = server.connect().await;
    let described = within("a sandbox", clients.sandboxes.create_sandbox(request)).await?.into_inner();
    let id = described.sandbox_id.clone();
    let _removal = Arc::new(Removal { url: server.url(), sandbox_id: id.clone() });
    Ok(Sandbox { id, described, clients, _removal })
}

impl Sandbox {
    /// The same sandbox through another server.
    pub async fn through(&self, server: &Server) -> Self {
        Self { clients: server.connect().await, ..self.clone() }
    }

    /// Opens a session; an empty shell is the default one.
    pub async fn session(&self, shell: &str) -> Session {
        self.open(v1::CreateSessionRequest { shell: shell.into(), ..self.ask_session() }).await
    }

    /// The plainest request for a session here.
    pub fn ask_session(&self) -> v1::CreateSessionRequest {
        v1::CreateSessionRequest { sandbox_id: self.id.clone(), ..Default::default() }
    }

    /// Opens a session.
    pub async fn open(&self, request: v1::CreateSessionRequest) -> Session {
        let asked = format!("{request:?}");
        let described = within("a session", self.clients.sessions.clone().create_session(request))
            .await
            .unwrap_or_else(|e| panic!("no session for {asked}: {e:?}"))
            .into_inner();
        Session { id: described.session_id.clone(), described, sandbox: self.clone() }
    }

    /// The one session of a sandbox that nobody else needs.
    pub async fn into_session(self, shell: &str) -> Session {
        self.session(shell).await
    }

    /// The session that was opened when it was made from a sample.
    pub async fn default_session(&self) -> Session {
        let id = self.described.default_session_id.clone();
        assert!(id.starts_with(&format!("{}/", self.id)), "{:?}", self.described);
        let described = v1::Session { session_id: id.clone(), ..Default::default() };
        let mut session = Session { id, described, sandbox: self.clone() };
        session.described = session.get().await;
        session
    }

    /// A direct execution, without a session.
    pub fn start(&self, command: impl Into<String>) -> ExecStart {
        ExecStart { target: Some(Target::SandboxId(self.id.clone())), command: command.into(), ..Default::default() }
    }

    /// Runs something in a fresh shell.
    pub async fn run(&self, command: &str) -> Finished {
        run(&self.clients, self.start(command), b"").await
    }

    /// Runs a command that is expected to be refused.
    pub async fn refused(&self, start: ExecStart) -> Status {
        refused(&self.clients, start).await
    }

    /// Starts a command with a stream.
    pub async fn exec(&self, start: ExecStart) -> Running {
        Running::start(&self.clients, start).await
    }

    /// Deletes it and waits until it is gone.
    pub async fn delete(&self) {
        let request = v1::DeleteSandboxRequest { sandbox_id: self.id.clone() };
        within("the end of a sandbox", self.clients.sandboxes.clone().delete_sandbox(request))
            .await
            .unwrap_or_else(|e| panic!("{} was not deleted: {e:?}", self.id));
    }
}

impl Session {
    /// The same session through another server.
    pub async fn through(&self, server: &Server) -> Self {
        Self { sandbox: self.sandbox.through(server).await, ..self.clone() }
    }

    /// A command for this session, to be changed with `ExecStart { stdin: true, ..session.start("cat") }`.
    pub fn start(&self, command: impl Into<String>) -> ExecStart {
        ExecStart { target: Some(Target::SessionId(self.id.clone())), command: command.into(), ..Default::default() }
    }

    /// Runs a command to its end.
    pub async fn run(&self, command: impl Into<String>) -> Finished {
        run(&self.sandbox.clients, self.start(command), b"").await
    }

    /// Runs a command with more said about it, and all of its input.
    pub async fn run_start(&self, start: ExecStart, stdin: &[u8]) -> Finished {
        run(&self.sandbox.clients, start, stdin).await
    }

    /// Runs a command that is expected to be refused.
    pub async fn refused(&self, start: ExecStart) -> Status {
        refused(&self.sandbox.clients, start).await
    }

    /// Starts a command with a stream.
    pub async fn exec(&self, start: ExecStart) -> Running {
        Running::start(&self.sandbox.clients, start).await
    }

    /// Starts a plain command with a stream.
    pub async fn exec_text(&self, command: impl Into<String>) -> Running {
        self.exec(self.start(command)).await
    }

    /// Runs steps one after another; each must print exactly this on stdout, nothing on stderr, and exit with 0.
    #[track_caller]
    pub fn steps(&self, steps: &[(&str, &str)]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            for (command, stdout) in steps {
                let got = self.run(*command).await;
                assert!(
                    got.stdout == stdout.as_bytes() && got.stderr.is_empty() && got.exit_code() == 0,
                    "{caller}: `{command}` should print {stdout:?}, and did: {got:?}"
                );
            }
        }
    }

    /// Fails unless the next command runs.
    #[track_caller]
    pub fn alive(&self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let got = self.run("echo alive").await;
            // Where the shell announces what became of a background job, it does so on stderr.
            let quiet = got.err().lines().all(|line| line.starts_with('[') && line.contains(']'));
            assert!(
                got.stdout == b"alive\n" && quiet && got.exit_code() == 0,
                "{caller}: the session is not alive: {got:?}"
            );
        }
    }

    /// Waits until the idle shell has saved its state. It prints much more then than the end of a command takes.
    pub async fn settled(&self) {
        const MORE_THAN_A_REPORT: u64 = 500;
        let pid = self.get().await.shell_pid;
        let watcher = self.sandbox.session("").await;
        let written = |got: Finished| -> u64 {
            let of_line = |line: &str| line.strip_prefix("wchar: ").and_then(|n| n.parse().ok());
            got.out().lines().find_map(of_line).unwrap_or_else(|| panic!("/proc/{pid}/io: {got:?}"))
        };
        let before = written(self.run(format!("/bin/cat /proc/{pid}/io")).await);
        let mut last = before;
        within::until("an idle shell to save its state", async || {
            let now = written(watcher.run(format!("/bin/cat /proc/{pid}/io")).await);
            let is_over = now > before + MORE_THAN_A_REPORT && now == last;
            last = now;
            is_over
        })
        .await;
        watcher.close().await;
    }

    /// What the server says of it now.
    pub async fn get(&self) -> v1::Session {
        let request = v1::GetSessionRequest { session_id: self.id.clone() };
        within("a session's description", self.sandbox.clients.sessions.clone().get_session(request))
            .await
            .unwrap_or_else(|e| panic!("{}: {e:?}", self.id))
            .into_inner()
    }

    /// Closes it and waits until nothing of it is left.
    pub async fn close(&self) {
        let request = v1::CloseSessionRequest { session_id: self.id.clone() };
        within("the end of a session", self.sandbox.clients.sessions.clone().close_session(request))
            .await
            .unwrap_or_else(|e| panic!("{} was not closed: {e:?}", self.id));
    }
}

async fn refused(clients: &Clients, start: ExecStart) -> Status {
    let shown: String = format!("{start:?}").chars().take(500).collect();
    let request = RunRequest { start: Some(start), ..Default::default() };
    match within("a refusal", clients.sessions.clone().run(request)).await {
        Err(status) => status,
        Ok(answer) => panic!("{shown} should have been refused, and ran: {answer:?}"),
    }
}

async fn run(clients: &Clients, start: ExecStart, stdin: &[u8]) -> Finished {
    let shown = start.command.chars().take(200).collect::<String>();
    let request = RunRequest { start: Some(start), stdin: stdin.to_vec().into(), ..Default::default() };
    within_time(LONG.min(super::USUAL * 2), &format!("the end of `{shown}`"), clients.sessions.clone().run(request))
        .await
        .unwrap_or_else(|e| panic!("`{shown}` was refused: {e:?}"))
        .into_inner()
        .into()
}

/// Does something with a connection of its own, which then breaks off without a word, as when a machine loses power:
/// no stream on it is ended or reset. (A stream that is only dropped ends its input first.)
pub async fn with_a_connection_that_breaks<T: Send + 'static, F: Future<Output = T>>(
    url: String,
    work: impl FnOnce(Clients) -> F + Send + 'static,
) -> T {
    let done = tokio::task::spawn_blocking(move || {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let value = tokio.block_on(async {
            let endpoint = tonic::transport::Endpoint::from_shared(url).expect("an address");
            work(Clients::new(endpoint.connect().await.expect("a connection"))).await
        });
        // All of its tasks are dropped where they are, the one that speaks HTTP/2 too.
        drop(tokio);
        value
    });
    done.await.expect("the client's thread")
}

struct Removal {
    url: String,
    sandbox_id: String,
}

impl Drop for Removal {
    /// A drop cannot wait and the test's own tokio may be gone, so a thread of its own does it, soon.
    fn drop(&mut self) {
        static REMOVER: LazyLock<Mutex<mpsc::Sender<(String, String)>>> = LazyLock::new(|| {
            let (ask, asked) = mpsc::channel::<(String, String)>();
            std::thread::spawn(move || {
                let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                for (url, sandbox_id) in asked {
                    let _ = tokio.block_on(async {
                        let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap();
                        let mut clients = Clients::new(endpoint.connect().await?);
                        let _ = clients.sandboxes.delete_sandbox(v1::DeleteSandboxRequest { sandbox_id }).await;
                        Ok::<_, tonic::transport::Error>(())
                    });
                }
            });
            Mutex::new(ask)
        });
        let _ = REMOVER.lock().unwrap().send((self.url.clone(), self.sandbox_id.clone()));
    }
}
