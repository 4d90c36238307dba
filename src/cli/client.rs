//! The server that `run` and `shell` speak with: a named one, or a private one in this process.

use super::{
    credentials::{Bearer, Channel, Credentials},
    error::CliError,
    janitor::Janitor,
    launch::{self, RuntimeKind, RuntimeOption},
};
use crate::{
    api::v1::{
        CloseSessionRequest, DeleteSandboxRequest, code_service_client::CodeServiceClient,
        file_service_client::FileServiceClient, image_service_client::ImageServiceClient,
        sample_service_client::SampleServiceClient, sandbox_service_client::SandboxServiceClient,
        session_service_client::SessionServiceClient, verification_service_client::VerificationServiceClient,
        volume_service_client::VolumeServiceClient,
    },
    data_dir::DataDir,
    image::ImageNames,
    rpc::transport::{CONNECTION_WINDOW, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, STREAM_WINDOW},
    runtime::Runtime,
    sample::Samples,
    sandbox::{Lifetimes, Policy, Sandboxes},
    server::{AtStop, Server, ServerError},
    store::{Durability, Store},
    verification::{AtOnce, Verifications},
};
use hyper_util::rt::TokioIo;
use std::{env, error::Error, fs, io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status,
    transport::{self, Endpoint},
};
use tonic_types::StatusExt;
use tower::service_fn;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a deletion is tried again that the server had no time for, and how long that is waited for at most.
const MOST_DELETIONS: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Which server, which image.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Image: `host` (the default), the path of a root file system directory, or a name as debian:bookworm, as the runtime
    /// has it
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) image: String,
    /// What makes the sandbox, without a server [default: linux]
    #[arg(long, conflicts_with = "server")]
    runtime: Option<RuntimeKind>,
    /// Option of that runtime; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = launch::runtime_option, conflicts_with = "server")]
    runtime_option: Vec<RuntimeOption>,
    /// Whether the sandbox's files are to have a limit. A file system for it takes a tenth of a second to make.
    #[arg(skip)]
    pub(super) limits_disk: bool,
    /// Server to use, as http://HOST:PORT or https://HOST:PORT; without it a private one is started for the occasion
    #[arg(long, value_name = "URL", env = "SANDSHELL_SERVER")]
    pub(super) server: Option<String>,
    #[command(flatten)]
    credentials: Credentials,
}

/// A server whose sandboxes somebody else has made.
#[derive(Debug, clap::Args)]
pub(super) struct Remote {
    /// Server to use, as http://HOST:PORT or https://HOST:PORT
    #[arg(long, value_name = "URL", env = "SANDSHELL_SERVER")]
    server: String,
    #[command(flatten)]
    credentials: Credentials,
}

impl Remote {
    /// Connects.
    pub(super) async fn connect(&self) -> Result<Client, CliError> {
        connect(&with_scheme(&self.server), &self.credentials).await
    }
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// What a [`Place`] needs before there are threads.
pub(super) enum Prepared {
    /// A server elsewhere.
    Named(String, Box<Credentials>),
    /// A server in this process.
    Private(Box<Private>),
}

/// A runtime of our own, in a directory of our own.
pub(super) struct Private {
    runtime: Arc<dyn Runtime>,
    policy: Policy,
    samples: Samples,
    home: Home,
}

/// A directory, and who clears it up if this process cannot. Dropped in this order, so that nothing is left to do.
struct Home {
    dir: TemporaryDir,
    _janitor: Janitor,
}

/// A private server that runs: what stops it, and its end.
type PrivateServer = (oneshot::Sender<()>, JoinHandle<Result<(), ServerError>>);

/// A connection to a server.
pub(super) struct Client {
    pub(super) sandboxes: SandboxServiceClient<Channel>,
    pub(super) sessions: SessionServiceClient<Channel>,
    pub(super) files: FileServiceClient<Channel>,
    /// Code.
    pub(super) code: CodeServiceClient<Channel>,
    pub(super) images: ImageServiceClient<Channel>,
    pub(super) samples: SampleServiceClient<Channel>,
    /// Verifications.
    pub(super) verifications: VerificationServiceClient<Channel>,
    /// Volumes.
    pub(super) volumes: VolumeServiceClient<Channel>,
    private: Option<PrivateServer>,
}

impl Place {
    /// Starts the private runtime if one is needed, and makes a path absolute.
    pub(super) fn prepare(&mut self) -> Result<Prepared, CliError> {
        if let Some(url) = &self.server {
            return Ok(Prepared::Named(with_scheme(url), Box::new(self.credentials.clone())));
        }
        // It lives as long as this command.
        let mut policy = Policy { lifetimes: Lifetimes::unlimited(), ..Policy::default() };
        let kind = self.runtime.unwrap_or_default();
        if kind == RuntimeKind::Linux && !self.limits_disk {
            // An option of the user's comes later, and wins.
            self.runtime_option.insert(0, launch::without_pool());
        }
        let home = Home::new(kind, &self.runtime_option)?;
        let runtime = launch::start(kind, home.dir.path(), &self.runtime_option)?;
        if self.image.contains('/') && runtime.image_names() == ImageNames::Files {
            let found = fs::canonicalize(&self.image);
            let root = found.map_err(|error| {
                let image = &self.image;
                CliError::option(format!(
                    "--image {image}: {error}; it would be a directory with a root file system. For an image of a registry add \
                     --runtime docker"
                ))
            })?;
            self.image = root.display().to_string();
            policy.images.roots.push(root);
        }
        Ok(Prepared::Private(Box::new(Private { runtime, policy, samples: Samples::default(), home })))
    }
}

impl Home {
    fn new(kind: RuntimeKind, options: &[RuntimeOption]) -> Result<Self, CliError> {
        let dir = TemporaryDir::new()?;
        let _janitor = Janitor::start(dir.path(), kind, options)?;
        Ok(Self { dir, _janitor })
    }
}

impl Prepared {
    /// A private server that has the samples of these directories.
    pub(super) fn with_samples(
        kind: RuntimeKind,
        options: &[RuntimeOption],
        directories: Vec<PathBuf>,
    ) -> Result<Self, CliError> {
        let policy = Policy { lifetimes: Lifetimes::unlimited(), ..Policy::default() };
        let home = Home::new(kind, options)?;
        let runtime = launch::start(kind, home.dir.path(), options)?;
        // Only now may there be another thread, which watches the samples.
        let samples = Samples::open(directories);
        Ok(Self::Private(Box::new(Private { runtime, policy, samples, home })))
    }

    /// Connects. The private server is started by it.
    pub(super) async fn connect(&self) -> Result<Client, CliError> {
        match self {
            Self::Named(url, credentials) => connect(url, credentials).await,
            Self::Private(private) => serve(private).await,
        }
    }
}

/// After which time a call may be sent again, if its failure says so.
fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

impl Client {
    fn new(channel: transport::Channel, bearer: Bearer) -> Self {
        Self {
            sandboxes: SandboxServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            sessions: SessionServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            files: FileServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            code: CodeServiceClient::with_interceptor(channel.clone(), bearer.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            images: ImageServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            samples: SampleServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            volumes: VolumeServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            verifications: VerificationServiceClient::with_interceptor(channel, bearer)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            private: None,
        }
    }

    /// Deletes a sandbox. A failure is told and no more: the commands have run, and their exit code is what counts.
    pub(super) async fn delete(&mut self, sandbox_id: String) {
        let request = DeleteSandboxRequest { sandbox_id: sandbox_id.clone() };
        let mut answer = self.sandboxes.delete_sandbox(request.clone()).await;
        for _ in 0..MOST_DELETIONS {
            // Left there, it would take room from the sandboxes that its tenant may have.
            let Some(wait) = answer.as_ref().err().and_then(retry_after) else { break };
            tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
            answer = self.sandboxes.delete_sandbox(request.clone()).await;
        }
        match answer {
            Ok(_) => {}
            Err(status) if status.code() == Code::NotFound => {}
            // The server is gone; one that stops takes its sandboxes along.
            Err(status) if status.source().is_some() => {}
            Err(status) => eprintln!("sandshell: {sandbox_id} was not deleted: {}", CliError::from(status)),
        }
    }

    /// Closes a session. As with [`Self::delete`], a failure is only told.
    pub(super) async fn close_session(&self, session_id: String) {
        let request = CloseSessionRequest { session_id: session_id.clone() };
        match self.sessions.clone().close_session(request).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::NotFound || status.source().is_some() => {}
            Err(status) => eprintln!("sandshell: {session_id} was not closed: {}", CliError::from(status)),
        }
    }

    /// Stops the private server, which removes its sandboxes.
    pub(super) async fn close(self) -> Result<(), CliError> {
        let Some((stop, server)) = self.private else { return Ok(()) };
        drop((stop, self.sandboxes, self.sessions));
        server.await.map_err(|error| CliError::io("stop the private server", io::Error::other(error)))??;
        Ok(())
    }
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
}

async fn connect(url: &str, credentials: &Credentials) -> Result<Client, CliError> {
    let mut endpoint = tuned(Endpoint::from_shared(url.to_owned()).map_err(|_| {
        CliError::option(format!("--server {url}: is not a URL; use http://HOST:PORT or https://HOST:PORT"))
    })?);
    let bearer = credentials.bearer()?;
    if url.starts_with("https://") {
        let tls = endpoint.tls_config(credentials.tls()?);
        endpoint = tls.map_err(|error| CliError::connect(url, &error))?;
    }
    let channel = endpoint.connect().await.map_err(|error| CliError::connect(url, &error))?;
    Ok(Client::new(channel, bearer))
}

/// Connections are socket pairs within this process: nobody else can reach the server.
async fn serve(private: &Private) -> Result<Client, CliError> {
    let (connections, incoming) = mpsc::channel::<io::Result<UnixStream>>(8);
    let (stop, stopped) = oneshot::channel::<()>();
    // Nobody finds these sandboxes again, so nothing needs to be on disk.
    let store = Store::open("sqlite::memory:", Durability::Kill).await?;
    let samples = private.samples.clone();
    let sandboxes = Sandboxes::new(private.runtime.clone(), store.clone(), "private", private.policy.clone())
        .with_samples(samples.clone(), &private.home.dir.path().join("codebases"));
    let verifications = Verifications::new(sandboxes.clone(), samples.clone(), store, "private", AtOnce::default());
    let server = Server::new(sandboxes, verifications, AtStop::Delete).with_samples(samples);
    let shutdown = async move { drop(stopped.await) };
    let server = tokio::spawn(server.run_on(ReceiverStream::new(incoming), shutdown));
    let connector = service_fn(move |_| {
        let connections = connections.clone();
        async move {
            let (ours, theirs) = UnixStream::pair()?;
            connections.send(Ok(theirs)).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    let channel = tuned(Endpoint::from_static("http://private.sandshell")).connect_with_connector_lazy(connector);
    Ok(Client { private: Some((stop, server)), ..Client::new(channel, Bearer::default()) })
}

/// A data directory that is removed with the value.
pub(super) struct TemporaryDir {
    path: PathBuf,
    data: DataDir,
}

impl TemporaryDir {
    pub(super) fn new() -> Result<Self, CliError> {
        // Short: socket paths, which start with it, end at 107 bytes.
        let name = format!("sandshell-{:08x}", uuid::Uuid::new_v4().as_fields().0);
        let path = env::temp_dir().join(name);
        // Not made by others before us, so it is ours alone.
        fs::create_dir(&path).map_err(|source| CliError::io("make a temporary directory", source))?;
        let data = DataDir::open(&path)?;
        Ok(Self { path, data })
    }

    pub(super) fn path(&self) -> &std::path::Path {
        self.data.path()
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("sandshell: {} could not be removed: {error}", self.path.display());
        }
    }
}
