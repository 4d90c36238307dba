//! The program inside a sandbox that owns its sessions and commands.

pub mod config;
