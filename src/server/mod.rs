//! The edge: who may call, gRPC services, checks of requests, errors, request ids.
//!
//! A handler takes the message, checks it ([`validate`]), and calls the domain, or passes the very same message on to
//! the sandbox's agent.

mod auth;
mod convert;
mod data_dir;
mod deadline;
mod relay;
mod request_id;
mod sandbox_service;
mod session_service;
mod stdin;
mod sys;
#[cfg(test)]
mod tests;
mod tls;
mod validate;
mod wiring;

pub use data_dir::{DataDir, DataDirError};
pub use tls::Tls;
pub use wiring::{AtStop, Server, ServerError};
