//! What there is on a server: its sandboxes, and the sessions of each.

use super::{client::Client, credentials::Channel};
use crate::api::v1::{
    ListSandboxesRequest, ListSessionsRequest, Sandbox, Session, session_service_client::SessionServiceClient,
};
use std::collections::HashMap;
use tonic::Status;

/// How many are asked for at one time.
const PAGE: i32 = 1000;

/// Calls about single sandboxes that are under way at one time.
pub(super) const AT_ONCE: usize = 8;

/// All sandboxes that have these labels, oldest first.
pub(super) async fn sandboxes(client: &Client, labels: &[(String, String)]) -> Result<Vec<Sandbox>, Status> {
    let labels = HashMap::from_iter(labels.iter().cloned());
    let mut request = ListSandboxesRequest { labels, page_size: PAGE, page_token: String::new() };
    let mut service = client.sandboxes.clone();
    let mut all = Vec::new();
    loop {
        let page = service.list_sandboxes(request.clone()).await?.into_inner();
        all.extend(page.sandboxes);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// All sessions of a sandbox, oldest first.
pub(super) async fn sessions(
    mut service: SessionServiceClient<Channel>,
    sandbox_id: &str,
) -> Result<Vec<Session>, Status> {
    let mut request =
        ListSessionsRequest { sandbox_id: sandbox_id.to_owned(), page_size: PAGE, page_token: String::new() };
    let mut all = Vec::new();
    loop {
        let page = service.list_sessions(request.clone()).await?.into_inner();
        all.extend(page.sessions);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// What an id names, by its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// `SANDBOX`.
    Sandbox,
    /// `SANDBOX/NAME`.
    Session,
    /// `SANDBOX/NAME/NUMBER`.
    Command,
}

/// What an id names.
pub(super) fn named(id: &str) -> Named {
    match id.matches('/').count() {
        0 => Named::Sandbox,
        1 => Named::Session,
        _ => Named::Command,
    }
}

/// The sandbox that what an id names is in.
pub(super) fn sandbox_of(id: &str) -> &str {
    id.split('/').next().unwrap_or_default()
}
