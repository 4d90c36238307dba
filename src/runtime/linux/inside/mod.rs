//! The first process of a sandbox, which builds what the sandbox sees, gives up what it may, and becomes the agent.

mod cgroup_view;
pub(super) mod first;
mod mounts;
pub(super) mod privileges;
pub(super) mod seccomp;
mod syscalls;
mod tmpfs;
