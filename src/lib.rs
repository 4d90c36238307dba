//! Sandshell: sandboxes with shells that stay.
//!
//! Four rooms, one direction: [`server`] (the edge) calls [`sandbox`] (the domain), which calls a [`runtime`] and
//! reaches the [`agent`] inside each sandbox over a byte stream. See `ARCHITECTURE.md`.

pub mod cli;
pub mod data_dir;
mod descriptors;
mod docker_config;
pub mod image;
pub mod limits;
pub mod pem;
pub mod runtime;
pub mod sample;
pub mod sandbox;
pub mod server;
mod span;
pub mod store;
pub mod tenant;
pub mod verification;
pub mod volume;

// The rooms of the other crate (inside.rs), under the same names as there.
pub use sandshell_inside::{agent, api, error, rpc};
use sandshell_inside::{archive, packet, proc, seccomp, sync};
