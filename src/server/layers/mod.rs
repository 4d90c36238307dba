//! What every call passes on its way to a service, in this order:
//!
//! 1. [`calls`] takes it from its connection, which counts it in [`traffic`], and makes a call of gRPC of one of gRPC-Web. First, because
//!    nothing behind it knows gRPC-Web, and all limits hold for such a call too.
//! 2. [`intake`] watches its body, by [`framing`]: how large a message is, how long it is on its way, how much is held. Before anything reads
//!    of that body.
//! 3. The layers that [`around`] puts around all services.
//!
//! The answer passes them in the reverse order.

pub(super) mod auth;
mod call_log;
pub(super) mod calls;
pub(super) mod deadline;
mod framing;
pub(super) mod intake;
mod request_id;
pub(super) mod stopping;
pub(super) mod strangers;
pub(super) mod traffic;

use crate::rpc::services::Services;
use auth::{Access, AuthLayer};
use calls::CallService;
use deadline::DeadlineLayer;
use request_id::RequestIdLayer;
use stopping::{Stopping, StoppingLayer};
use tower::ServiceBuilder;

/// All services with the layers around them, in the order in which a call passes these.
pub(super) fn around(services: Services, access: Access, stopping: Stopping) -> impl CallService {
    ServiceBuilder::new()
        // The request id is outside, so that a refusal has one too, and a line in the log (`call_log`).
        .layer(RequestIdLayer)
        // Outside what may take time, the question whose a key is included. Its answer has a request id.
        .layer(DeadlineLayer)
        // Outside that question too: a server that stops answers whoever still waits. If the deadline is sooner, that is told.
        .layer(StoppingLayer(stopping))
        // Next to the services, which take from here who calls. Its refusals pass all of the above.
        .layer(AuthLayer(access))
        .service(services)
}
