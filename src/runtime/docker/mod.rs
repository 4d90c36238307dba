//! Sandboxes that are containers of a Docker daemon, from any image.
//!
//! ```text
//! server ── Docker's API ──▶ daemon ──▶ container: the agent is its first process
//!    └────────── agent.sock ──────────────────▶┘
//! ```
//!
//! The image stays as it is: the agent's program is shown to the container by a mount, or copied into it where the daemon
//! is on another host. On this host the server makes the agent's socket in its own directory and hands it over, listening,
//! as the container starts ([`server::handover`]); it has no name inside, so nothing there can speak in the server's place.
//! Elsewhere a small program of ours, started inside for each connection, carries the bytes ([`inside::relay`]).
//!
//! A container is ours if its name and its labels say so, with a word that only this data directory has. Nobody else's is
//! ever touched.
//!
//! `server` and `inside` (the container's first process, and those that carry bytes there) say in which process their code runs; `daemon` is the
//! server's way to the daemon.

mod daemon;
mod inside;
mod paths;
mod server;
mod work;

pub use inside::{Received, receive, relay::main as relay_main, unpack};
pub use server::{DockerConfig, DockerRuntime};
