//! Tenants and keys over a real database, with the clock standing still unless a test moves it.

use super::{DEFAULT, Limits, Tenants};
use crate::{
    error::{Error, Kind},
    store::{Durability, Store},
};
use std::{collections::BTreeSet, sync::mpsc, time::Duration};
use tokio::time::advance;

/// A database, and two who use it as a server and a command line do.
struct Kit {
    server: Tenants,
    command_line: Tenants,
    // A clock without work to wait for jumps ahead. This work lasts as long as the test.
    _frozen: mpsc::Sender<()>,
    _dir: tempfile::TempDir,
}

impl Kit {
    async fn new() -> Self {
        let (_frozen, over) = mpsc::channel();
        tokio::task::spawn_blocking(move || over.recv());
        let _dir = tempfile::tempdir().unwrap();
        let open = async |durability| Store::in_directory(_dir.path(), durability).await.unwrap();
        let server = Tenants::new(open(Durability::Kill).await);
        let command_line = Tenants::new(open(Durability::PowerCut).await);
        Self { server, command_line, _frozen, _dir }
    }

    async fn tenant_of(&self, bearer: Option<&str>) -> Option<String> {
        match self.server.identify(bearer).await {
            Ok(caller) => Some(caller.tenant().to_owned()),
            Err(Error::Unauthenticated { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_opens_for_its_tenant_until_the_call_after_it_is_revoked() {
    let kit = Kit::new().await;
    let key = kit.command_line.make_key("blue", "laptop").await.unwrap();
    let other = kit.command_line.make_key("red", "").await.unwrap();
    assert_eq!(kit.tenant_of(Some(&key)).await.unwrap(), "blue");
    assert_eq!(kit.tenant_of(Some(&other)).await.unwrap(), "red");
    let id = kit.command_line.keys(Some("blue")).await.unwrap()[0].id.clone();
    kit.command_line.revoke_key(&id).await.unwrap();
    assert_eq!(kit.tenant_of(Some(&key)).await, None);
    assert_eq!(kit.tenant_of(Some(&other)).await.unwrap(), "red");
}

#[tokio::test(start_paused = true)]
async fn the_door_closes_within_a_second_of_the_first_key_and_for_good() {
    let kit = Kit::new().await;
    assert_eq!(kit.tenant_of(None).await.unwrap(), DEFAULT);
    let key = kit.command_line.make_key("blue", "").await.unwrap();
    // No call asks the database by itself.
    assert_eq!(kit.tenant_of(None).await.unwrap(), DEFAULT);
    advance(Duration::from_secs(1)).await;
    assert_eq!(kit.tenant_of(None).await, None);
    kit.command_line.revoke_key(&key).await.unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(kit.tenant_of(None).await, None);
    // Nor does a server let anybody in that was started later.
    assert!(kit.command_line.identify(None).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_sent_must_be_right_even_where_none_is_needed() {
    let kit = Kit::new().await;
    let never_made = format!("ssk_{}_{}", "0".repeat(12), "0".repeat(64));
    for wrong in ["", "nonsense", "ssk_", &never_made] {
        assert_eq!(kit.tenant_of(Some(wrong)).await, None, "{wrong:?}");
    }
    assert_eq!(kit.tenant_of(None).await.unwrap(), DEFAULT);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_and_a_revoked_one_are_refused_with_the_same_words() {
    let kit = Kit::new().await;
    let key = kit.command_line.make_key("blue", "").await.unwrap();
    kit.command_line.revoke_key(&key).await.unwrap();
    let never_made = format!("ssk_{}_{}", "0".repeat(12), "0".repeat(64));
    let said = async |key: &str| kit.server.identify(Some(key)).await.unwrap_err().to_string();
    assert_eq!(said(&key).await, said(&never_made).await);
}

#[tokio::test(start_paused = true)]
async fn limits_change_one_by_one_and_travel_with_the_caller() {
    let kit = Kit::new().await;
    let key = kit.command_line.make_key("blue", "").await.unwrap();
    kit.command_line.change_limits("blue", |limits| limits.sandboxes = Some(3)).await.unwrap();
    let now = kit.command_line.change_limits("blue", |limits| limits.requests_per_second = Some(2)).await.unwrap();
    assert_eq!(now, Limits { sandboxes: Some(3), requests_per_second: Some(2), ..Limits::default() });
    let caller = kit.server.identify(Some(&key)).await.unwrap();
    assert_eq!(*caller.limits(), now);
    kit.server.admit(&caller).unwrap();
    kit.server.admit(&caller).unwrap();
    let Error::Exhausted { retry_after, .. } = kit.server.admit(&caller).unwrap_err() else { panic!("another error") };
    assert_eq!(retry_after, Some(Duration::from_millis(500)));
    let none = kit.command_line.change_limits("blue", |limits| *limits = Limits::default()).await.unwrap();
    assert_eq!(none, Limits::default());
    kit.server.admit(&kit.server.identify(Some(&key)).await.unwrap()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn callers_without_a_key_have_the_limits_of_the_default_tenant() {
    let kit = Kit::new().await;
    assert_eq!(*kit.server.identify(None).await.unwrap().limits(), Limits::default());
    kit.command_line.change_limits(DEFAULT, |limits| limits.sessions = Some(4)).await.unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(kit.server.identify(None).await.unwrap().limits().sessions, Some(4));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_not_a_name_is_told() {
    let kit = Kit::new().await;
    let tenants = &kit.command_line;
    let unknown = tenants.change_limits("nobody", |_| ()).await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { kind: Kind::Tenant, .. }), "{unknown}");
    let unknown = tenants.keys(Some("nobody")).await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { kind: Kind::Tenant, .. }), "{unknown}");
    let unknown = tenants.revoke_key("0123456789ab").await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { kind: Kind::Key, .. }), "{unknown}");
    let no_id = tenants.revoke_key("ssk_0123456789ab_half").await.unwrap_err();
    assert!(matches!(no_id, Error::Invalid(_)) && !no_id.to_string().contains("half"), "{no_id}");
    for wrong in ["", "Blue", "a b", "a_b", "é", &"x".repeat(64)] {
        assert!(matches!(tenants.make_key(wrong, "").await, Err(Error::Invalid(_))), "{wrong:?}");
    }
    tenants.make_key(&"x".repeat(63), "").await.unwrap();
    for wrong in ["a\nb", &"x".repeat(201)] {
        assert!(matches!(tenants.make_key("blue", wrong).await, Err(Error::Invalid(_))), "{wrong:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_listed_without_its_secret_and_revoked_once() {
    let kit = Kit::new().await;
    let first = kit.command_line.make_key("blue", "laptop").await.unwrap();
    kit.command_line.make_key("red", "").await.unwrap();
    let all = kit.command_line.keys(None).await.unwrap();
    let tenants: BTreeSet<_> = all.iter().map(|key| key.tenant.as_str()).collect();
    assert_eq!((all.len(), tenants), (2, BTreeSet::from(["blue", "red"])));
    let blue = kit.command_line.keys(Some("blue")).await.unwrap();
    assert_eq!((blue.len(), blue[0].name.as_str(), blue[0].revoke_time), (1, "laptop", None));
    assert!(first.starts_with(&format!("ssk_{}_", blue[0].id)));
    kit.command_line.revoke_key(&blue[0].id).await.unwrap();
    let revoked = kit.command_line.keys(Some("blue")).await.unwrap()[0].revoke_time.unwrap();
    kit.command_line.revoke_key(&blue[0].id).await.unwrap();
    assert_eq!(kit.command_line.keys(Some("blue")).await.unwrap()[0].revoke_time, Some(revoked));
}
