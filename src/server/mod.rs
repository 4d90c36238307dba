//! The edge: who may call, gRPC services, checks of requests, errors, request ids.
//!
//! A call comes by a connection ([`connections`]) and passes the [`layers`] to a handler ([`services`]). That takes the message, checks it
//! ([`request`]), and calls the domain, or passes the very same message on to the sandbox's agent ([`relay`]).

mod connections;
mod layers;
mod relay;
mod request;
mod services;
#[cfg(test)]
mod tests;
mod web;
mod wiring;

pub use connections::{
    budget::{Budget, DoesNotFit},
    places::Most,
    tls::Tls,
    transport::Transport,
};
pub use web::{NotAnOrigin, Web};
pub use wiring::{AtStop, Server, ServerError};
