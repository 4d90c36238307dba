//! The server's line to one agent: gRPC over whatever byte stream the runtime gives.

mod inside;

pub(in crate::sandbox) use inside::Ran;

use crate::{
    api::{
        agent::v1::{
            ActivityRequest, ActivityResponse, HelloRequest, PrepareRequest, PrepareResponse, StopRequest,
            agent_service_client::AgentServiceClient,
        },
        v1::{ListSessionsRequest, code_service_client::CodeServiceClient, file_service_client::FileServiceClient},
    },
    error::{Error, Reason, Result},
    rpc::{
        lanes::{Carried, Lanes, Socket},
        transport::{
            CONNECTION_WINDOW, FOR_FILES, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, PROTOCOL_VERSION, STREAM_WINDOW,
            WATCHER_WINDOW,
        },
        unread::Sending,
    },
    runtime::{BoxedStream, Connection, Runtime},
};
use hyper_util::rt::TokioIo;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::io::AsyncWriteExt;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// What speaks with an agent. Cheap to clone.
pub type AgentClient = AgentServiceClient<Channel>;

/// What speaks with the program that works on a sandbox's files. Cheap to clone.
pub type FileClient = FileServiceClient<Sending<Channel>>;

/// What runs code in a sandbox. Cheap to clone.
pub type CodeClient = CodeServiceClient<Channel>;

/// A `RunResponse` may hold 16 MiB of each stream and a little more.
const MAX_RESPONSE_BYTES: usize = MAX_MESSAGE_BYTES + (1 << 20);

/// Headers and trailers that an agent may send; it is not trusted.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An agent that is frozen from outside is noticed after both together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The first protocol with connections for files.
const FILES_SINCE: u32 = 2;

/// The first protocol in which a start may have `argv`. An agent of an earlier one would take such a start for an empty text.
const PROGRAMS_SINCE: u32 = 3;

/// The first protocol in which a start may go on with an earlier one, and input may have a place.
const RESUMED_SINCE: u32 = 4;

/// When a client should try again what could not reach the agent.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A line to one agent: connects when it is first used, and again when the connection was lost.
pub struct Link {
    client: AgentClient,
    /// A connection of its own for those who only watch, and for the output of commands beyond the first ones; made when the
    /// first of them comes. How much a stream may have under way is the same for all of a connection.
    watchers: AgentClient,
    /// For code, on the watchers' connection.
    code: CodeClient,
    /// A connection to the program that works on files, made when it is first needed.
    files: FileClient,
    /// Another one for those who only watch files.
    file_watchers: FileClient,
    sandbox_id: String,
    /// Counts connections made, so that each is greeted once.
    connections: Arc<AtomicU64>,
    /// The connection that was greeted last; 0 before the first.
    greeted: AtomicU64,
    /// The protocol that the agent speaks.
    protocol: AtomicU32,
    /// One greets, others wait for it.
    greeting: tokio::sync::Mutex<()>,
}

impl Link {
    /// A line to the agent of a sandbox, not yet connected.
    pub fn new(runtime: Arc<dyn Runtime>, sandbox_id: &str, lanes: &Lanes) -> Self {
        let connections = Arc::new(AtomicU64::new(0));
        let agent = |channel| AgentClient::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
        let channel = |window, purpose, counted| channel(&runtime, sandbox_id, lanes, window, purpose, counted);
        let client = agent(channel(STREAM_WINDOW, None, connections.clone()));
        let watching = channel(WATCHER_WINDOW, None, Arc::default());
        let code = CodeClient::new(watching.clone()).max_decoding_message_size(MAX_RESPONSE_BYTES);
        let watchers = agent(watching);
        let files = |window| {
            FileClient::new(Sending(channel(window, Some(FOR_FILES), Arc::default())))
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
        };
        let (files, file_watchers) = (files(STREAM_WINDOW), files(WATCHER_WINDOW));
        let (greeted, greeting) = (AtomicU64::new(0), tokio::sync::Mutex::new(()));
        let (sandbox_id, protocol) = (sandbox_id.to_owned(), AtomicU32::new(0));
        Self { client, watchers, code, files, file_watchers, sandbox_id, connections, greeted, protocol, greeting }
    }

    /// A client whose connection has been greeted.
    pub async fn client(&self) -> Result<AgentClient> {
        if !self.is_greeted() {
            let _one = self.greeting.lock().await;
            if !self.is_greeted() {
                self.hello().await?;
            }
        }
        Ok(self.client.clone())
    }

    /// A client for streams that only watch, once the agent is known to be the right one.
    pub async fn watcher(&self) -> Result<AgentClient> {
        self.client().await?;
        Ok(self.watchers.clone())
    }

    /// A client for files, once the agent is known to be the right one.
    pub fn files(&self) -> Result<FileClient> {
        self.since(FILES_SINCE, "cannot work on its files")?;
        Ok(self.files.clone())
    }

    /// What runs code, once the agent is known to be the right one.
    pub fn code(&self) -> Result<CodeClient> {
        self.since(PROGRAMS_SINCE, "runs no code")?;
        Ok(self.code.clone())
    }

    /// A client for streams that only watch files, once the agent is known to be the right one.
    pub fn file_watcher(&self) -> Result<FileClient> {
        self.since(FILES_SINCE, "cannot work on its files")?;
        Ok(self.file_watchers.clone())
    }

    /// Refuses a program without a shell to an agent that knows nothing of such, once it is known which agent it is.
    pub fn executes_programs(&self) -> Result<()> {
        self.since(PROGRAMS_SINCE, "cannot execute a program without a shell (argv)")
    }

    /// Refuses a start that goes on with an earlier one to an agent that would begin anew, once it is known which agent it is.
    pub fn resumes_starts(&self) -> Result<()> {
        self.since(RESUMED_SINCE, "cannot go on with a command's input after a lost connection")
    }

    /// Whether the agent knows input that has a place, once it is known which agent it is.
    pub fn knows_places_of_input(&self) -> bool {
        self.protocol.load(Ordering::Relaxed) >= RESUMED_SINCE
    }

    fn since(&self, protocol: u32, lacking: &str) -> Result<()> {
        if self.protocol.load(Ordering::Relaxed) >= protocol {
            return Ok(());
        }
        let message = format!(
            "sandbox \"{}\" was started by an earlier version of Sandshell, which {lacking}; create another",
            self.sandbox_id
        );
        Err(Error::WrongState { reason: Reason::SandboxTooOld, message })
    }

    /// Has the agent look for the sandbox's own user and make its working directory. Refuses what cannot be used.
    pub async fn prepare(&self) -> Result<()> {
        let answer = self.client().await?.prepare(PrepareRequest {}).await;
        let PrepareResponse { unknown_user, impossible_user, unusable_directory } =
            answer.map_err(|status| self.unreachable(status))?.into_inner();
        if !unknown_user.is_empty() {
            return Err(Error::invalid("user", unknown_user));
        }
        if !impossible_user.is_empty() {
            return Err(Error::WrongState {
                reason: Reason::NotSupportedByHost,
                message: format!("user: {impossible_user}"),
            });
        }
        if !unusable_directory.is_empty() {
            return Err(Error::invalid("working_directory", unusable_directory));
        }
        Ok(())
    }

    /// Ends all sessions; watchers are told.
    pub async fn stop(&self) -> Result<()> {
        self.client().await?.stop(StopRequest {}).await.map_err(|status| self.unreachable(status))?;
        Ok(())
    }

    /// Whether anything runs, as the agent says.
    pub async fn activity(&self) -> Result<ActivityResponse> {
        let answer = self.client().await?.get_activity(ActivityRequest {}).await;
        Ok(answer.map_err(|status| self.unreachable(status))?.into_inner())
    }

    /// Hears of it again and again. Returns when the agent says no more.
    pub async fn hear_activity(&self, mut tell: impl FnMut(&ActivityResponse)) -> Result<()> {
        let answer = self.client().await?.watch_activity(ActivityRequest {}).await;
        let mut changes = answer.map_err(|status| self.unreachable(status))?.into_inner();
        while let Ok(Some(activity)) = changes.message().await {
            tell(&activity);
        }
        Ok(())
    }

    /// How many sessions are open.
    pub async fn sessions(&self) -> Result<i64> {
        let request = ListSessionsRequest { sandbox_id: self.sandbox_id.clone(), page_size: 1, ..Default::default() };
        let answer = self.client().await?.list_sessions(request).await;
        Ok(answer.map_err(|status| self.unreachable(status))?.into_inner().total_size.into())
    }

    /// The error of a call that did not reach the agent or lost it.
    pub fn unreachable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let (sandbox_id, source) = (self.sandbox_id.clone(), source.into());
        Error::Unreachable { sandbox_id, cause: None, retry_after: RETRY_AFTER, source }
    }

    /// Whether the connection has been greeted, so that a client can be had at once.
    pub fn is_greeted(&self) -> bool {
        let greeted = self.greeted.load(Ordering::Relaxed);
        greeted > 0 && greeted == self.connections.load(Ordering::Relaxed)
    }

    async fn hello(&self) -> Result<()> {
        let request = HelloRequest { protocol_version: PROTOCOL_VERSION };
        let answer = self.client.clone().hello(request).await.map_err(|status| self.unreachable(status))?.into_inner();
        if !(1..=PROTOCOL_VERSION).contains(&answer.protocol_version) || answer.sandbox_id != self.sandbox_id {
            return Err(self.unreachable(format!(
                "an agent of another kind answered: protocol {}, {:?}",
                answer.protocol_version, answer.sandbox_id
            )));
        }
        self.protocol.store(answer.protocol_version, Ordering::Relaxed);
        self.greeted.store(self.connections.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(())
    }
}

/// A connection that is made when it is needed, and counted. What it is for goes before everything else.
fn channel(
    runtime: &Arc<dyn Runtime>,
    sandbox_id: &str,
    lanes: &Lanes,
    window: u32,
    purpose: Option<u8>,
    connections: Arc<AtomicU64>,
) -> Channel {
    let (runtime, id, flow) = (runtime.clone(), Arc::<str>::from(sandbox_id), lanes.flow());
    let executor = flow.executor();
    let connector = service_fn(move |_| {
        let (runtime, id, connections, flow) = (runtime.clone(), id.clone(), connections.clone(), flow.clone());
        async move {
            let mut stream: BoxedStream = match runtime.connect(&id).await? {
                Connection::Socket(stream) => Box::pin(Socket::from(stream)),
                Connection::Stream(stream) => stream,
            };
            if let Some(purpose) = purpose {
                stream.write_all(&[purpose]).await?;
            }
            connections.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(TokioIo::new(Carried::new(stream, flow)))
        }
    });
    Endpoint::from_static("http://agent.sandshell")
        .executor(executor)
        .initial_stream_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .connect_with_connector_lazy(connector)
}
