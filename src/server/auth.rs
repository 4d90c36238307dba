//! Who calls.

use crate::tenant::Caller;
use tonic::Request;

/// Who makes this call.
pub(super) fn caller<T>(request: &Request<T>) -> Caller {
    request.extensions().get().cloned().unwrap_or_else(Caller::anyone)
}
