//! What a request asks for. It is checked first ([`validate`]), all of it at once. Then what the domain wants to know is made of it, and of the
//! domain's answer what a client gets: for sandboxes in [`convert`], where nothing can be wrong any more; what is little is made by the service
//! itself. What goes on to an agent is checked only: the message stays as it is.
//!
//! One step does both for the token of a page of differences: its length is checked with the request, but [`changes`] reads it, and refuses what
//! it cannot read.

pub(super) mod changes;
pub(super) mod convert;
pub(super) mod validate;
