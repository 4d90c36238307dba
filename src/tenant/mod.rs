//! Who may: tenants, their keys, and what each may have.
//!
//! Whose key it is, is asked of the store, and remembered for at most a second: a key that was revoked, in the database of this
//! data directory, is refused by the next call, and elsewhere within that second.

mod door;
mod key;
pub(crate) mod rate;
mod seen;
mod tenants;
#[cfg(test)]
mod tests;

pub use crate::limits::Limits;
pub use tenants::Tenants;

use std::sync::Arc;

/// The tenant of callers without a key, on a server that is open.
pub const DEFAULT: &str = "default";

/// Who makes a call. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(Arc<Tenant>);

/// Who owns sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub id: String,
    /// What it may have in all.
    pub limits: Limits,
}

impl Caller {
    /// Somebody of this tenant.
    pub fn new(tenant: Tenant) -> Self {
        Self(Arc::new(tenant))
    }

    /// Whoever can reach an open server.
    pub fn anyone() -> Self {
        Self::new(Tenant { id: DEFAULT.to_owned(), limits: Limits::default() })
    }

    /// Somebody who owns nothing and may make nothing: no tenant has an empty name.
    pub fn nobody() -> Self {
        let nothing = Some(0);
        let limits = Limits {
            sandboxes: nothing,
            sessions: nothing,
            memory_bytes: nothing,
            requests_per_second: nothing,
            volumes: nothing,
        };
        Self::new(Tenant { id: String::new(), limits })
    }

    /// The tenant's name.
    pub fn tenant(&self) -> &str {
        &self.0.id
    }

    /// What the tenant may have in all.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }
}
