//! Streams of output that are open: each may hold some of it that its client does not take, so their number is bounded.

use crate::{
    error::{Error, Reason, Result},
    sync::lock,
    tenant::Caller,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// Streams of one tenant, and in all.
const OF_TENANT: usize = 4096;
const IN_ALL: usize = 16_384;

/// All streams that are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    in_all: usize,
    of_tenant: HashMap<String, usize>,
}

/// One stream, counted until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    streams: Streams,
    tenant: String,
}

impl Streams {
    /// Counts one more, or refuses it.
    pub(super) fn open(&self, caller: &Caller) -> Result<OpenStream> {
        let mut open = lock(&self.0);
        let of_tenant = open.of_tenant.get(caller.tenant()).copied().unwrap_or_default();
        if of_tenant >= OF_TENANT || open.in_all >= IN_ALL {
            let message = if of_tenant >= OF_TENANT {
                format!("tenant \"{}\" has {of_tenant} streams of output open; close some", caller.tenant())
            } else {
                "the server has as many streams of output open as it may; try again later".to_owned()
            };
            return Err(Error::quota(Reason::TooManyStreams, message));
        }
        open.in_all += 1;
        *open.of_tenant.entry(caller.tenant().to_owned()).or_default() += 1;
        Ok(OpenStream { streams: self.clone(), tenant: caller.tenant().to_owned() })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = lock(&self.streams.0);
        open.in_all -= 1;
        if let Some(count) = open.of_tenant.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                open.of_tenant.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::{Limits, Tenant};

    fn caller(id: &str) -> Caller {
        Caller::new(Tenant { id: id.to_owned(), limits: Limits::default() })
    }

    #[test]
    fn streams_are_bounded_for_each_tenant_and_in_all() {
        let streams = Streams::default();
        let mut open = Vec::new();
        for tenant in 0..IN_ALL / OF_TENANT {
            let caller = caller(&tenant.to_string());
            open.extend((0..OF_TENANT).map(|_| streams.open(&caller).unwrap()));
            let refused = streams.open(&caller).unwrap_err();
            assert!(matches!(refused, Error::Exhausted { reason: Reason::TooManyStreams, .. }), "{refused}");
        }
        streams.open(&caller("another")).unwrap_err();
        open.pop();
        open.push(streams.open(&caller("another")).unwrap());
        drop(open);
        let left = lock(&streams.0);
        assert_eq!((left.in_all, left.of_tenant.len()), (0, 0));
    }
}
