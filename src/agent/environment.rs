//! The environment that a shell starts with.

use std::collections::BTreeMap;

/// `TERM` of every session: what most terminals and all our clients speak. Programs print colours only on a terminal.
pub(super) const TERM: &str = "xterm-256color";

/// Environment variables by name.
pub(super) type Variables = BTreeMap<String, String>;

/// A plain environment with `sets` on top, later ones first.
pub(super) fn compose(shell: &str, sets: &[&Variables]) -> Variables {
    let plain = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LANG", "C.UTF-8"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("TERM", TERM),
        ("SHELL", shell),
    ];
    let mut all: Variables = plain.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for set in sets {
        all.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    all
}
