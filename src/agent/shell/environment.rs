//! The environment that a shell starts with.

use std::{collections::BTreeMap, ffi::OsString};

/// `TERM` of every session whose user has not set it. Commands have no terminal, and with this even those programs say so
/// that look at nothing else: git does not open an editor that nobody could use.
pub(crate) const TERM: &str = "dumb";

/// `TERM` of a command on a terminal, where the session has no other: what most terminals and all our clients speak.
pub(crate) const TERMINAL: &str = "xterm-256color";

/// What is read of the list of users, in bytes.
const MOST_USERS: u64 = 16 << 20;

/// Environment variables by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// What the agent itself was started with: what the image says.
pub(crate) fn inherited() -> Variables {
    let text = |text: OsString| text.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// A plain environment of the agent's user with `sets` on top, later ones first.
pub(crate) fn compose(shell: &str, sets: &[&Variables]) -> Variables {
    let (user, home) = account();
    let plain = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", &home),
        ("LANG", "C.UTF-8"),
        ("USER", &user),
        ("LOGNAME", &user),
        ("TERM", TERM),
        ("SHELL", shell),
    ];
    let mut all: Variables = plain.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for set in sets {
        all.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    all
}

/// Name and home of the user that the agent runs as. Read here: a static program has no libc in a foreign image to ask.
fn account() -> (String, String) {
    let uid = rustix::process::getuid();
    if uid.is_root() {
        return ("root".to_owned(), "/root".to_owned());
    }
    // Whoever may write there could have put a pipe in its place, which nobody ever writes to.
    let users = super::read_file("/etc/passwd", MOST_USERS).unwrap_or_default();
    named(&String::from_utf8_lossy(&users), uid.as_raw()).unwrap_or_else(|| (uid.to_string(), "/".to_owned()))
}

fn named(users: &str, uid: u32) -> Option<(String, String)> {
    users.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let found = fields.len() >= 6 && fields[2].parse() == Ok(uid);
        found.then(|| (fields[0].to_owned(), fields[5].to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_user_is_found_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1000::/home/app:/bin/sh\n";
        assert_eq!(named(users, 1000), Some(("app".to_owned(), "/home/app".to_owned())));
        assert_eq!(named(users, 1), None);
    }
}
