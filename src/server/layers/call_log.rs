//! One line in the log for each call that is over: with the id that its answer carried, who made it, on what, and how it ended.

use crate::rpc::status::code_name;
use http::HeaderMap;
use std::sync::{Arc, OnceLock};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::{Level, Span};

/// A call under way. Its line is written when it is dropped: with the last of its answer, or when its client is gone.
#[derive(Debug)]
pub(super) struct CallRecord {
    /// Request id, method, tenant and id.
    span: Span,
    start: Instant,
    ended: OnceLock<(Code, String)>,
}

impl CallRecord {
    /// Begins with the call, if anybody will read of it.
    pub(super) fn begin(span: &Span) -> Option<Arc<Self>> {
        let record = || Arc::new(Self { span: span.clone(), start: Instant::now(), ended: OnceLock::new() });
        tracing::enabled!(Level::INFO).then(record)
    }

    /// Looks for the status in headers or trailers of the answer.
    pub(super) fn look_at(&self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.ended_with(&status);
        }
    }

    /// The answer ends with this status.
    pub(super) fn ended_with(&self, status: &Status) {
        let reason = || status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        // The first is the one that the client reads.
        let _ = self.ended.set((status.code(), if status.code() == Code::Ok { String::new() } else { reason() }));
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        let (code, reason) = self.ended.get().map_or((Code::Cancelled, ""), |(code, reason)| (*code, reason.as_str()));
        let seconds = self.start.elapsed().as_secs_f64();
        let _entered = self.span.enter();
        if reason.is_empty() {
            tracing::info!(code = code_name(code), seconds, "a call is over");
        } else {
            tracing::info!(code = code_name(code), reason, seconds, "a call is over");
        }
    }
}
