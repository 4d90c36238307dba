//! Labels, by which what the daemon keeps of ours is found and known. None of them proves anything by itself: whatever is made from
//! something of ours has its labels too.

use super::Shared;
use crate::runtime::common::is_safe_id;
use std::collections::HashMap;

/// The data directory's word.
const INSTANCE: &str = "sandshell.instance";

/// The sandbox's id.
pub(super) const SANDBOX: &str = "sandshell.sandbox";
/// The volume's id.
pub(super) const VOLUME: &str = "sandshell.volume";
/// The layer's name.
pub(super) const LAYER: &str = "sandshell.layer";

/// What something of this data directory is given: its word, and an id under a label.
pub(super) fn of(shared: &Shared, label: &str, id: &str) -> HashMap<String, String> {
    [(INSTANCE, shared.home.instance()), (label, id)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// What the daemon is asked for: all that is this data directory's, and has these labels besides.
pub(super) fn filter(shared: &Shared, besides: &[&str]) -> HashMap<&'static str, Vec<String>> {
    let ours = format!("{INSTANCE}={}", shared.home.instance());
    let besides = besides.iter().map(|label| (*label).to_owned());
    HashMap::from([("label", std::iter::once(ours).chain(besides).collect())])
}

/// The id under a label, of what is this data directory's.
pub(super) fn id<'a>(shared: &Shared, labels: &'a HashMap<String, String>, label: &str) -> Option<&'a str> {
    let ours = labels.get(INSTANCE).is_some_and(|instance| instance == shared.home.instance());
    labels.get(label).map(String::as_str).filter(|id| ours && is_safe_id(id))
}
