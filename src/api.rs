//! The generated messages and services, and their descriptors for reflection.
#![allow(unreachable_pub, missing_docs, clippy::all, clippy::pedantic)]

/// What clients speak.
pub mod v1 {
    tonic::include_proto!("sandshell.v1");
}

/// What the server speaks with agents.
pub mod agent {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("sandshell.agent.v1");
    }
}

/// The encoded `FileDescriptorSet` of the public API.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sandshell.v1.bin"));
