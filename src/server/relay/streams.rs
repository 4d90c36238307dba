//! Streams of output that are open: each may hold some of it that its client does not take, so their number is bounded. How
//! much that may be depends on the connection to the agent that a stream takes, so the number of those that may hold much is
//! bounded further.

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

/// How many of them may have much under way (`STREAM_WINDOW`), as a single command with a lot of output needs it: those of
/// one tenant, 64 MiB together, and in all, 256 MiB.
const WIDE_OF_TENANT: usize = 16;
const WIDE_IN_ALL: usize = 64;

/// All streams that are open.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Streams(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    in_all: Count,
    of_tenant: HashMap<String, Count>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    streams: usize,
    wide: usize,
}

impl Count {
    fn add(&mut self, wide: bool) {
        self.streams += 1;
        self.wide += usize::from(wide);
    }

    fn remove(&mut self, wide: bool) {
        self.streams -= 1;
        self.wide -= usize::from(wide);
    }
}

/// One stream, counted until it is dropped.
#[derive(Debug)]
pub(in crate::server) struct OpenStream {
    streams: Streams,
    tenant: String,
    wide: bool,
}

impl OpenStream {
    /// Whether it may have much under way.
    pub(in crate::server) fn is_wide(&self) -> bool {
        self.wide
    }
}

impl Streams {
    /// Counts one more that has little under way, or refuses it.
    pub(in crate::server) fn open(&self, caller: &Caller) -> Result<OpenStream> {
        self.count(caller, false)
    }

    /// Counts one more, which may have much under way as long as few others have, or refuses it.
    pub(in crate::server) fn open_wide(&self, caller: &Caller) -> Result<OpenStream> {
        self.count(caller, true)
    }

    fn count(&self, caller: &Caller, wide: bool) -> Result<OpenStream> {
        let mut open = lock(&self.0);
        let of_tenant = open.of_tenant.get(caller.tenant()).copied().unwrap_or_default();
        let streams = of_tenant.streams;
        if streams >= OF_TENANT || open.in_all.streams >= IN_ALL {
            let message = if streams >= OF_TENANT {
                format!("tenant \"{}\" has {streams} streams of output open; close some", caller.tenant())
            } else {
                "the server has as many streams of output open as it may; try again later".to_owned()
            };
            return Err(Error::quota(Reason::TooManyStreams, message));
        }
        let wide = wide && of_tenant.wide < WIDE_OF_TENANT && open.in_all.wide < WIDE_IN_ALL;
        open.in_all.add(wide);
        open.of_tenant.entry(caller.tenant().to_owned()).or_default().add(wide);
        Ok(OpenStream { streams: self.clone(), tenant: caller.tenant().to_owned(), wide })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = lock(&self.streams.0);
        open.in_all.remove(self.wide);
        if let Some(count) = open.of_tenant.get_mut(&self.tenant) {
            count.remove(self.wide);
            if count.streams == 0 {
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
        assert_eq!((left.in_all, left.of_tenant.len()), (Count::default(), 0));
    }

    #[test]
    fn few_streams_have_much_under_way() {
        let streams = Streams::default();
        let mut open = Vec::new();
        let mut wide = |tenant: usize| {
            let stream = streams.open_wide(&caller(&tenant.to_string())).unwrap();
            let wide = stream.is_wide();
            open.push(stream);
            wide
        };
        let tenants = WIDE_IN_ALL / WIDE_OF_TENANT;
        for tenant in 0..tenants {
            assert!((0..WIDE_OF_TENANT).all(|_| wide(tenant)));
            assert!(!wide(tenant), "one too many of tenant {tenant}");
        }
        assert!(!wide(tenants), "one too many in all");
        open.remove(0);
        assert!(streams.open_wide(&caller("0")).unwrap().is_wide(), "a place that was given back");
        assert!(!streams.open(&caller("0")).unwrap().is_wide());
    }
}
