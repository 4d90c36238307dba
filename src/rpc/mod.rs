//! What server and agent share of gRPC: the one error table, checks of messages, and transport settings.

pub mod codec;
pub mod lanes;
pub mod paging;
pub mod pieces;
pub mod refusing;
pub mod services;
pub mod serving;
pub mod status;
pub mod transport;
pub mod unread;
