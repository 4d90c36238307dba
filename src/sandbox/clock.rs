//! What time it is, so that tests can decide it.

use std::{fmt, sync::Arc, time::SystemTime};

/// Tells the time of day. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The host's.
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// One that goes as tokio's time does: it stands still and jumps where a test says so.
    #[cfg(test)]
    pub(crate) fn of_tokio() -> Self {
        let (base, start) = (SystemTime::now(), tokio::time::Instant::now());
        Self(Arc::new(move || base + start.elapsed()))
    }

    /// Now, in whole milliseconds, as the store keeps it.
    pub(super) fn now(&self) -> SystemTime {
        let since = (self.0)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(0))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
