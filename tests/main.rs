//! The behaviour of Sandshell through its public interfaces, against real sandboxes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod limits_and_isolation_hold_on_cgroup_v2;
