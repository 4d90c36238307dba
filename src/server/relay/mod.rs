//! What goes between a client and the agent of its sandbox through the server: the agent's answers ([`answers`], [`passing`]), what a client
//! sends in a stream ([`stdin`], [`upload`]), and the places that such calls take ([`streams`], [`session_place`]).

pub(super) mod answers;
pub(super) mod passing;
pub(super) mod session_place;
pub(super) mod stdin;
pub(super) mod streams;
pub(super) mod upload;
