//! Puts the services together and serves them until told to stop.

use super::{
    connections::{
        connection::Protocol,
        listening,
        places::{Most, Places},
        sys,
        tls::Tls,
        transport::Transport,
    },
    layers::{self, auth::Access, stopping::Stopping, strangers::Strangers},
    relay::streams::Streams,
    services::{code, file, image, sample, sandbox, session, verification, volume},
    web::Web,
};
use crate::{
    api::{
        FILE_DESCRIPTOR_SET,
        v1::{
            code_service_server::CodeServiceServer, file_service_server::FileServiceServer,
            image_service_server::ImageServiceServer, sample_service_server::SampleServiceServer,
            sandbox_service_server::SandboxServiceServer, session_service_server::SessionServiceServer,
            verification_service_server::VerificationServiceServer, volume_service_server::VolumeServiceServer,
        },
    },
    rpc::{
        lanes::Lanes,
        pieces::BYTEWISE,
        services::{Named, Services},
        transport::MAX_MESSAGE_BYTES,
        unread::Unreading,
    },
    sample::Samples,
    sandbox::Sandboxes,
    tenant::Tenants,
    verification::Verifications,
};
use futures_util::Stream;
use std::{future::Future, io, net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::task::TaskTracker;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// How long calls may take to end once their streams were told that the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long removing all sandboxes may take. What is left then is removed at the next start.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Names that `grpc.health.v1.Health` knows.
const HEALTH_NAMES: [&str; 9] = [
    "",
    "sandshell.v1.SandboxService",
    "sandshell.v1.SessionService",
    "sandshell.v1.FileService",
    "sandshell.v1.CodeService",
    "sandshell.v1.ImageService",
    "sandshell.v1.SampleService",
    "sandshell.v1.VerificationService",
    "sandshell.v1.VolumeService",
];

/// The gRPC server.
pub struct Server {
    sandboxes: Sandboxes,
    samples: Samples,
    verifications: Verifications,
    at_stop: AtStop,
    access: Access,
    tls: Option<Tls>,
    web: Option<Web>,
    most: Most,
    command_timeout: Option<Duration>,
    lanes: Lanes,
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
}

impl Server {
    /// A server of these sandboxes and verifications, for whoever can reach it.
    pub fn new(sandboxes: Sandboxes, verifications: Verifications, at_stop: AtStop) -> Self {
        Self {
            sandboxes,
            verifications,
            samples: Samples::default(),
            at_stop,
            access: Access::Anyone,
            tls: None,
            web: None,
            most: Most::default(),
            command_timeout: None,
            lanes: Lanes::default(),
        }
    }

    /// Lets in only whom a key of these tenants names, or anybody while there are no keys.
    pub fn with_tenants(self, tenants: Tenants) -> Self {
        Self { access: Access::Tenants(tenants, Strangers::default()), ..self }
    }

    /// Tells of these samples.
    pub fn with_samples(self, samples: Samples) -> Self {
        Self { samples, ..self }
    }

    /// Speaks TLS, and nothing else.
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Speaks gRPC-Web too, if this says for which pages.
    pub fn with_web(self, web: Option<Web>) -> Self {
        Self { web, ..self }
    }

    /// Takes at most so many connections.
    pub fn with_most_connections(self, most: Most) -> Self {
        Self { most, ..self }
    }

    /// Ends commands after this time whose clients say nothing of a time-out.
    pub fn with_command_timeout(self, command_timeout: Option<Duration>) -> Self {
        Self { command_timeout, ..self }
    }

    /// Has the work of connections in these lanes.
    pub fn with_lanes(self, lanes: Lanes) -> Self {
        Self { lanes, ..self }
    }

    /// Listens on an address. Port 0 picks one.
    pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
        TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })
    }

    /// Serves until `shutdown`, then lets calls end, and keeps or deletes the sandboxes.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        self.run_on(listening::tcp(listener), shutdown).await
    }

    /// The same with connections of any kind, until `shutdown` or until there are no more.
    pub async fn run_on<I, IO>(self, incoming: I, shutdown: impl Future<Output = ()>) -> Result<(), ServerError>
    where
        I: Stream<Item = io::Result<IO>>,
        IO: Transport,
    {
        sys::keep_memory();
        let health = HealthReporter::new();
        report(&health, ServingStatus::Serving).await;
        let stopping = Stopping::default();
        let service = layers::around(self.services(&health)?, self.access.clone(), stopping.clone());
        let tls = self.tls.as_ref().map(|tls| tls.acceptor(self.web.is_some()));
        let protocol =
            Protocol::new(service, tls, stopping.clone()).with_web(self.web.clone()).with_lanes(self.lanes.clone());
        let (places, connections) = (Places::new(self.most), TaskTracker::new());
        // Dropped when the server stops, and with it what listens: nobody new gets in.
        tokio::select! {
            () = listening::serve_all(incoming, protocol, places.clone(), &connections) => {}
            () = shutdown => {}
        }
        report(&health, ServingStatus::NotServing).await;
        stopping.begin();
        // Before their sandboxes go: what is under way begins anew with the next server.
        self.verifications.close().await;
        // What ends the streams is either: their watchers are told that the sandbox or the server stops.
        if self.at_stop == AtStop::Keep {
            self.sandboxes.close();
        } else if timeout(REMOVE_TIMEOUT, self.sandboxes.shut_down()).await.is_err() {
            tracing::error!("some sandboxes could not be removed in time; the next start removes them");
        }
        silence(health).await;
        stopping.have_told();
        connections.close();
        if timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
            tracing::warn!("some calls did not end in time and were cut");
            places.end_all();
        }
        self.sandboxes.finish().await;
        Ok(())
    }

    fn services(&self, health: &HealthReporter) -> Result<Services, ServerError> {
        let sandboxes = SandboxServiceServer::new(sandbox::Service(self.sandboxes.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let streams = Streams::default();
        let sessions =
            SessionServiceServer::new(session::Service(self.sandboxes.clone(), streams.clone(), self.command_timeout))
                .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let files = FileServiceServer::new(file::Service(self.sandboxes.clone(), streams.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let code = CodeServiceServer::new(code::Service(self.sandboxes.clone(), streams.clone(), self.command_timeout))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let images = ImageServiceServer::new(image::Service(self.sandboxes.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let samples = SampleServiceServer::new(sample::Service(self.samples.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let verifications = VerificationServiceServer::new(verification::Service(self.verifications.clone(), streams))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let volumes = VolumeServiceServer::new(volume::Service(self.sandboxes.volumes().clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // The details of errors, which grpcurl and its like print by what reflection knows.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        // First what is called most.
        Ok(Services::new([
            Named::new(sessions),
            Named::new(sandboxes),
            Named::new(Unreading::new(files, BYTEWISE)),
            Named::new(code),
            Named::new(verifications),
            Named::new(samples),
            Named::new(volumes),
            Named::new(images),
            Named::new(HealthServer::new(HealthService::from_health_reporter(health.clone()))),
            Named::new(reflection().build_v1()?),
            Named::new(reflection().build_v1alpha()?),
        ]))
    }
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
