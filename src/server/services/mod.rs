//! A file for each service of the API, which says for each method what is checked, who is asked, and what is answered.

pub(super) mod code;
pub(super) mod file;
pub(super) mod image;
pub(super) mod sample;
pub(super) mod sandbox;
pub(super) mod session;
pub(super) mod verification;
pub(super) mod volume;
