//! A server of its own, and a client that speaks to it over TCP as any other would.

use sandshell::api::v1::{
    CreateSandboxRequest, CreateSessionRequest, DeleteSandboxRequest, ExecStart, RunRequest, RunResponse, Session,
    VolumeMount, code_service_client::CodeServiceClient, exec_start::Target, file_service_client::FileServiceClient,
    sandbox_service_client::SandboxServiceClient, session_service_client::SessionServiceClient,
    verification_service_client::VerificationServiceClient, volume_service_client::VolumeServiceClient,
};
use sandshell::rpc::transport;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};
use tokio::runtime::Handle;
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

/// A running server. Its log goes to this program's stderr.
pub(crate) struct Server {
    child: Child,
    access: Access,
    pub(crate) client: Client,
    data: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One that wants an API key and speaks TLS, as for a team.
    pub(crate) async fn start_for_a_team() -> Self {
        let data = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (data.path().join("server.pem"), data.path().join("server.key"));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let printed = Command::new(env!("CARGO_BIN_EXE_sandshell"))
            .args(["key", "create", "--tenant", "bench", "--data-dir"])
            .arg(data.path())
            .output()
            .unwrap();
        let api_key = String::from_utf8(printed.stdout).unwrap();
        let options = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        let access = |address: &str| Access {
            url: format!("https://localhost:{}", address.rsplit(':').next().unwrap()),
            tls: Some(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(made.cert.pem()))),
            key: Key(Some(format!("Bearer {}", api_key.trim()).parse().unwrap())),
        };
        Self::start_in(data, &options, access).await
    }

    /// With more options of `serve`.
    pub(crate) async fn start_with(options: &[&str]) -> Self {
        let access = |address: &str| Access { url: format!("http://{address}"), tls: None, key: Key(None) };
        Self::start_in(tempfile::tempdir().unwrap(), options, access).await
    }

    async fn start_in(data: tempfile::TempDir, options: &[&str], access: impl FnOnce(&str) -> Access) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sandshell"))
            .args(["serve", "--ephemeral", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = log.by_ref().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        let address = address.expect("the server ended before it listened");
        std::thread::spawn(move || log.for_each(|line| eprintln!("server: {line}")));
        let access = access(&address);
        let client = Client::connect(&access).await;
        Self { child, access, client, data }
    }

    /// Where it keeps its data.
    pub(crate) fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// A client with a connection of its own.
    pub(crate) async fn another_client(&self) -> Client {
        Client::connect(&self.access).await
    }

    /// As [`Self::another_client`], with all that it does on other threads than the caller's.
    pub(crate) async fn another_client_on(&self, threads: &Handle) -> Client {
        let access = self.access.clone();
        threads.spawn(async move { Client::connect(&access).await }).await.unwrap()
    }

    pub(crate) fn url(&self) -> &str {
        &self.access.url
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator would, and waits until it is gone.
    pub(crate) fn stop(mut self) {
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let _ = self.child.wait();
    }
}

/// How a server is reached.
#[derive(Clone)]
struct Access {
    url: String,
    tls: Option<ClientTlsConfig>,
    key: Key,
}

/// The key that goes with every call, if there is one.
#[derive(Clone)]
pub(crate) struct Key(Option<AsciiMetadataValue>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

/// One connection to the server.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) sandboxes: SandboxServiceClient<InterceptedService<Channel, Key>>,
    pub(crate) sessions: SessionServiceClient<InterceptedService<Channel, Key>>,
    pub(crate) files: FileServiceClient<InterceptedService<Channel, Key>>,
    pub(crate) code: CodeServiceClient<InterceptedService<Channel, Key>>,
    pub(crate) volumes: VolumeServiceClient<InterceptedService<Channel, Key>>,
    pub(crate) verifications: VerificationServiceClient<InterceptedService<Channel, Key>>,
    /// The image of new sandboxes; empty for the default.
    pub(crate) image: String,
}

impl Client {
    async fn connect(access: &Access) -> Self {
        let mut endpoint = Endpoint::from_shared(access.url.clone()).unwrap();
        if let Some(tls) = &access.tls {
            endpoint = endpoint.tls_config(tls.clone()).unwrap();
        }
        let channel = endpoint
            .initial_stream_window_size(transport::STREAM_WINDOW)
            .initial_connection_window_size(transport::CONNECTION_WINDOW)
            .max_frame_size(transport::MAX_FRAME_BYTES)
            .tcp_nodelay(true)
            .connect()
            .await
            .unwrap();
        Self {
            sandboxes: SandboxServiceClient::with_interceptor(channel.clone(), access.key.clone()),
            sessions: SessionServiceClient::with_interceptor(channel.clone(), access.key.clone())
                .max_decoding_message_size(transport::MAX_MESSAGE_BYTES),
            files: FileServiceClient::with_interceptor(channel.clone(), access.key.clone()),
            code: CodeServiceClient::with_interceptor(channel.clone(), access.key.clone()),
            volumes: VolumeServiceClient::with_interceptor(channel.clone(), access.key.clone()),
            verifications: VerificationServiceClient::with_interceptor(channel, access.key.clone()),
            image: String::new(),
        }
    }

    pub(crate) async fn create_sandbox(&mut self) -> String {
        let request = CreateSandboxRequest { image: self.image.clone(), ..Default::default() };
        self.sandboxes.create_sandbox(request).await.unwrap().into_inner().sandbox_id
    }

    /// One that has a volume at `/data`.
    pub(crate) async fn create_sandbox_with(&mut self, volume: &str) -> String {
        let mount = VolumeMount { volume: volume.to_owned(), path: "/data".to_owned(), ..Default::default() };
        let request = CreateSandboxRequest { image: self.image.clone(), volumes: vec![mount], ..Default::default() };
        self.sandboxes.create_sandbox(request).await.unwrap().into_inner().sandbox_id
    }

    pub(crate) async fn delete_sandbox(&mut self, sandbox_id: String) {
        self.sandboxes.delete_sandbox(DeleteSandboxRequest { sandbox_id }).await.unwrap();
    }

    pub(crate) async fn create_session(&mut self, sandbox_id: &str) -> Session {
        let request = CreateSessionRequest { sandbox_id: sandbox_id.to_owned(), ..Default::default() };
        self.sessions.create_session(request).await.unwrap().into_inner()
    }

    pub(crate) async fn run(&mut self, target: Target, command: &str) -> RunResponse {
        let start = ExecStart { target: Some(target), command: command.to_owned(), ..Default::default() };
        let response =
            self.sessions.run(RunRequest { start: Some(start), ..Default::default() }).await.unwrap().into_inner();
        let exited = response.exited.as_ref().unwrap();
        assert_eq!(exited.exit_code, 0, "{command}: {response:?}");
        response
    }

    /// A program without a shell.
    pub(crate) async fn execute(&mut self, sandbox_id: &str, argv: &[&str]) {
        let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
        let target = Some(Target::SandboxId(sandbox_id.to_owned()));
        let start = ExecStart { target, argv, ..Default::default() };
        let request = RunRequest { start: Some(start), ..Default::default() };
        let exited = self.sessions.run(request).await.unwrap().into_inner().exited.unwrap();
        assert_eq!(exited.exit_code, 0);
    }

    /// In a session.
    pub(crate) async fn run_in(&mut self, session_id: &str, command: &str) -> RunResponse {
        self.run(Target::SessionId(session_id.to_owned()), command).await
    }
}
