//! Puts the services together and serves them until told to stop.

use super::{
    auth::{Access, AuthLayer},
    deadline::DeadlineLayer,
    request_id::RequestIdLayer,
    sandbox_service, session_service, sys,
    tls::Tls,
};
use crate::{
    api::{
        FILE_DESCRIPTOR_SET,
        v1::{sandbox_service_server::SandboxServiceServer, session_service_server::SessionServiceServer},
    },
    rpc::transport::{CONNECTION_WINDOW, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES},
    sandbox::Sandboxes,
    tenant::Tenants,
};
use futures_util::Stream;
use std::{future::Future, io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::oneshot,
    time::timeout,
};
use tonic::{
    service::Routes,
    transport::{
        self,
        server::{Connected, TcpIncoming},
    },
};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::layer::util::{Identity, Stack};

/// Unread input that one call may have under way. Input is small; the output's window is the client's to choose.
const INPUT_WINDOW: u32 = 1 << 20;
/// Calls of one connection at one time. Each long-lived stream of a client counts, so there is room for many.
const MAX_STREAMS: u32 = 4096;
/// Headers of one request.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// A client that vanished without a word is noticed after both together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long calls may take to end once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long removing all sandboxes may take. What is left then is removed at the next start.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Names that `grpc.health.v1.Health` knows.
const HEALTH_NAMES: [&str; 3] = ["", "sandshell.v1.SandboxService", "sandshell.v1.SessionService"];

type Router = transport::server::Router<Stack<AuthLayer, Stack<DeadlineLayer, Stack<RequestIdLayer, Identity>>>>;

/// The gRPC server.
pub struct Server {
    sandboxes: Sandboxes,
    at_stop: AtStop,
    access: Access,
    tls: Option<Tls>,
}

/// What becomes of the sandboxes when the server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtStop {
    /// They go on, and the next server takes them over.
    Keep,
    /// They are deleted.
    Delete,
}

/// Why a server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened to.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The descriptors of the API cannot be read.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The certificate, the key or the authority cannot be used.
    #[error("TLS: {}", std::error::Error::source(.0).unwrap_or(.0))]
    Tls(#[source] transport::Error),
    /// Accepting connections failed.
    #[error("serve: {0}")]
    Serve(#[from] transport::Error),
}

impl Server {
    /// A server of these sandboxes, for whoever can reach it.
    pub fn new(sandboxes: Sandboxes, at_stop: AtStop) -> Self {
        Self { sandboxes, at_stop, access: Access::Anyone, tls: None }
    }

    /// Lets in only whom a key of these tenants names, or anybody while there are no keys.
    pub fn with_tenants(self, tenants: Tenants) -> Self {
        Self { access: Access::Tenants(tenants), ..self }
    }

    /// Speaks TLS, and nothing else.
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Listens on an address. Port 0 picks one.
    pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
        TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })
    }

    /// Serves until `shutdown`, then lets calls end, and keeps or deletes the sandboxes.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        self.run_on(TcpIncoming::from(listener).with_nodelay(Some(true)), shutdown).await
    }

    /// The same with connections of any kind, until `shutdown` or until there are no more.
    pub async fn run_on<I, IO>(self, incoming: I, shutdown: impl Future<Output = ()>) -> Result<(), ServerError>
    where
        I: Stream<Item = io::Result<IO>>,
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        sys::keep_memory();
        let health = HealthReporter::new();
        report(&health, ServingStatus::Serving).await;
        let (stop, stopped) = oneshot::channel::<()>();
        let stopping = async move { drop(stopped.await) };
        let router = self.router(&health)?;
        let mut serving = Box::pin(router.serve_with_incoming_shutdown(incoming, stopping));
        let served = tokio::select! {
            served = &mut serving => Some(served),
            () = shutdown => None,
        };
        report(&health, ServingStatus::NotServing).await;
        drop(stop);
        // What ends the streams is either: their watchers are told that the sandbox or the server stops.
        let delete = async {
            if self.at_stop == AtStop::Keep {
                self.sandboxes.close();
            } else if timeout(REMOVE_TIMEOUT, self.sandboxes.shut_down()).await.is_err() {
                tracing::error!("some sandboxes could not be removed in time; the next start removes them");
            }
            silence(health).await;
        };
        match served {
            Some(served) => {
                delete.await;
                Ok(served?)
            }
            None => {
                let (drained, ()) = tokio::join!(timeout(DRAIN_TIMEOUT, serving), delete);
                drained.unwrap_or_else(|_| {
                    tracing::warn!("some calls did not end in time and were cut");
                    Ok(())
                })?;
                Ok(())
            }
        }
    }

    /// The request id is outside, so that a refusal has one too.
    fn router(&self, health: &HealthReporter) -> Result<Router, ServerError> {
        let mut transport = transport();
        if let Some(Tls(config)) = &self.tls {
            transport = transport.tls_config(config.clone()).map_err(ServerError::Tls)?;
        }
        let routes = self.routes(health)?;
        Ok(transport
            .layer(RequestIdLayer)
            .layer(DeadlineLayer)
            .layer(AuthLayer(self.access.clone()))
            .add_routes(routes))
    }

    fn routes(&self, health: &HealthReporter) -> Result<Routes, ServerError> {
        let sandboxes = SandboxServiceServer::new(sandbox_service::Service(self.sandboxes.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let sessions = SessionServiceServer::new(session_service::Service(self.sandboxes.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        Ok(Routes::new(sandboxes)
            .add_service(sessions)
            .add_service(HealthServer::new(HealthService::from_health_reporter(health.clone())))
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?))
    }
}

/// HTTP/2 settings that suit many long streams.
fn transport() -> transport::Server {
    transport::Server::builder()
        .initial_stream_window_size(INPUT_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

async fn report(health: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}

/// Ends the streams of those who watch the health; they have heard the last word.
async fn silence(mut health: HealthReporter) {
    for name in HEALTH_NAMES {
        health.clear_service_status(name).await;
    }
}
