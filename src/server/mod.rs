//! The edge: who may call, gRPC services, checks of requests, errors, request ids.
//!
//! A handler takes the message, checks it ([`validate`]), and calls the domain, or passes the very same message on to
//! the sandbox's agent.

mod auth;
mod budget;
mod call_log;
mod calls;
mod changes;
mod code_service;
mod connection;
mod convert;
mod deadline;
mod file_service;
mod first_bytes;
mod framing;
mod image_service;
mod intake;
mod listening;
mod memory;
mod passing;
mod place;
mod places;
mod refusal;
mod relay;
mod request_id;
mod sample_service;
mod sandbox_service;
mod scheme;
mod session_service;
mod stdin;
mod stopping;
mod strangers;
mod streams;
mod sys;
#[cfg(test)]
mod tests;
mod tls;
mod traffic;
mod transport;
mod upload;
mod validate;
mod verification_service;
mod volume_service;
mod web;
mod wiring;

pub use budget::{Budget, DoesNotFit};
pub use places::Most;
pub use tls::Tls;
pub use transport::Transport;
pub use web::{NotAnOrigin, Web};
pub use wiring::{AtStop, Server, ServerError};
