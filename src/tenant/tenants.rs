//! The service over all tenants and their keys.

use super::{
    Caller, DEFAULT, Limits, Tenant,
    door::Door,
    key::{self, Key},
    rate::Rates,
    seen::{Asked, Seen},
};
use crate::{
    error::{Error, Kind, Reason, Result},
    store::{ApiKey, Store, TenantRow},
};
use std::{num::NonZeroU64, sync::Arc, time::SystemTime};

/// Longest name of a tenant.
const MAX_NAME: usize = 63;
/// Longest text that says what a key is for.
const MAX_KEY_NAME: usize = 200;

/// All tenants of a database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tenants(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    door: Door,
    rates: Rates<String>,
    seen: Seen,
}

impl Tenants {
    /// The tenants in this database.
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Shared { store, door: Door::default(), rates: Rates::default(), seen: Seen::default() }))
    }

    /// Who makes a call, by the key they sent, if any.
    pub async fn identify(&self, bearer: Option<&str>) -> Result<Caller> {
        self.identify_if(bearer, || Ok(())).await
    }

    /// The same, if the store may be asked about a key that is not known.
    pub async fn identify_if(&self, bearer: Option<&str>, may_ask: impl FnOnce() -> Result<()>) -> Result<Caller> {
        let Some(bearer) = bearer else {
            let entered = self.0.door.enter(&self.0.store).await?;
            return entered.ok_or_else(|| unauthenticated("an API key is needed: send `authorization: Bearer KEY`"));
        };
        let malformed = "the API key is malformed: it is ssk_ID_SECRET, exactly as `sandshell key create` printed it";
        let key = Key::parse(bearer).ok_or_else(|| unauthenticated(malformed))?;
        let caller = self.owner(key.hash(), may_ask).await?;
        // Which of the two is nobody's business who does not have the key.
        caller.ok_or_else(|| unauthenticated("the API key is unknown or was revoked"))
    }

    /// Whose key this is the hash of.
    async fn owner(&self, hash: String, may_ask: impl FnOnce() -> Result<()>) -> Result<Option<Caller>> {
        // Before the question, so that the answer is never older than it seems.
        let asked = Asked::now(self.0.store.stamp());
        if let Some(known) = self.0.seen.get(&hash, &asked) {
            return Ok(known);
        }
        may_ask()?;
        let row = self.0.store.tenant_of_key(&hash).await?;
        let caller = row.map(|row| Caller::new(Tenant { id: row.id, limits: row.limits }));
        self.0.seen.remember(hash, caller.clone(), asked);
        Ok(caller)
    }

    /// Counts one call, or refuses it when the tenant makes too many.
    pub fn admit(&self, caller: &Caller) -> Result<()> {
        let Some(limit) = caller.limits().requests_per_second else { return Ok(()) };
        let refuse = |retry_after| Error::Exhausted {
            reason: Reason::TooManyRequests,
            message: format!("tenant \"{}\" may make {limit} calls a second; slow down", caller.tenant()),
            retry_after,
        };
        let per_second = NonZeroU64::new(limit).ok_or_else(|| refuse(None))?;
        self.0.rates.take(caller.tenant(), per_second).map_err(|wait| refuse(Some(wait)))
    }

    /// Whether any key was ever made.
    pub async fn has_keys(&self) -> Result<bool> {
        Ok(self.0.store.has_api_keys().await?)
    }

    /// Makes a tenant if it is not there.
    pub async fn ensure(&self, tenant: &str) -> Result<()> {
        check_name(tenant)?;
        Ok(self.0.store.ensure_tenant(tenant, SystemTime::now()).await?)
    }

    /// All tenants, by name.
    pub async fn list(&self) -> Result<Vec<TenantRow>> {
        Ok(self.0.store.tenants().await?)
    }

    /// Changes what a tenant may have in all, and says what that is now.
    pub async fn change_limits(
        &self,
        tenant: &str,
        change: impl FnOnce(&mut Limits) + Send + 'static,
    ) -> Result<Limits> {
        check_name(tenant)?;
        // It is there for every server, whether or not one has ever run.
        if tenant == DEFAULT {
            self.ensure(tenant).await?;
        }
        let changed = self.0.store.change_limits(tenant, change).await?;
        changed.ok_or_else(|| unknown_tenant(tenant))
    }

    /// Makes a key, and its tenant if that is not there. The key's text is told here and never again.
    pub async fn make_key(&self, tenant: &str, name: &str) -> Result<String> {
        check_name(tenant)?;
        if name.chars().count() > MAX_KEY_NAME || name.chars().any(char::is_control) {
            let rule = format!("must be at most {MAX_KEY_NAME} characters, none of them a control character");
            return Err(Error::invalid("name", rule));
        }
        let key = Key::new();
        let row = ApiKey {
            id: key.id().to_owned(),
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            create_time: SystemTime::now(),
            revoke_time: None,
        };
        self.0.store.insert_api_key(&row, &key.hash()).await?;
        Ok(key.into_text())
    }

    /// Keys, revoked ones included, oldest first; only those of `tenant` if it is given.
    pub async fn keys(&self, tenant: Option<&str>) -> Result<Vec<ApiKey>> {
        if let Some(tenant) = tenant {
            check_name(tenant)?;
            self.0.store.tenant(tenant).await?.ok_or_else(|| unknown_tenant(tenant))?;
        }
        Ok(self.0.store.api_keys(tenant).await?)
    }

    /// Revokes a key for good: no call that comes after this is let in by it. A whole key may stand for its id.
    pub async fn revoke_key(&self, id: &str) -> Result<()> {
        let key = Key::parse(id);
        let id = key.as_ref().map_or(id, Key::id);
        if !key::is_id(id) {
            // Not repeated: it may be most of a key.
            return Err(Error::invalid("key id", "must be 12 of the characters 0-9 and a-f, as `key list` shows it"));
        }
        let known = self.0.store.revoke_api_key(id, SystemTime::now()).await?;
        if known { Ok(()) } else { Err(Error::not_found(Kind::Key, id)) }
    }
}

fn check_name(tenant: &str) -> Result<()> {
    let fits = (1..=MAX_NAME).contains(&tenant.len());
    if fits && tenant.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Ok(());
    }
    Err(Error::invalid("tenant", format!("must be 1 to {MAX_NAME} of the characters a-z, 0-9 and -")))
}

fn unknown_tenant(tenant: &str) -> Error {
    Error::not_found(Kind::Tenant, tenant)
}

fn unauthenticated(message: &str) -> Error {
    Error::Unauthenticated { message: message.to_owned() }
}
