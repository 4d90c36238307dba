//! What the server asks of the agent beside a client's message, as metadata of the call. An agent of an earlier version
//! ignores it.

use crate::rpc::transport::{ANSWER_WITHIN, DEFAULT_TIMEOUT, ONLY_KNOWN};
use http::HeaderMap;
use std::time::Duration;

/// Whether only what an earlier call with the same `request_id` has made is wanted, and nothing new.
pub(super) fn only_known(metadata: &HeaderMap) -> bool {
    metadata.contains_key(ONLY_KNOWN)
}

/// How soon the caller must have an answer.
pub(super) fn answer_within(metadata: &HeaderMap) -> Option<Duration> {
    millis(metadata, ANSWER_WITHIN)
}

/// The longest run time of a command whose client says nothing of one.
pub(super) fn default_timeout(metadata: &HeaderMap) -> Option<Duration> {
    millis(metadata, DEFAULT_TIMEOUT)
}

fn millis(metadata: &HeaderMap, name: &str) -> Option<Duration> {
    metadata.get(name)?.to_str().ok()?.parse().ok().map(Duration::from_millis)
}
