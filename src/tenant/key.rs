//! What a key looks like: `ssk_ID_SECRET`. The store has its id and its hash; the key itself is nowhere.

use sha2::{Digest, Sha256};
use std::fmt;
use uuid::Uuid;

const PREFIX: &str = "ssk_";
const ID_LENGTH: usize = 12;
const SECRET_LENGTH: usize = 64;

/// A key that looks right. Whether it is one, the store knows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// A key that nobody can guess: 244 random bits beside its id.
    pub(super) fn new() -> Self {
        // The version of a UUID comes after these digits, so they are all random.
        let id = &Uuid::new_v4().simple().to_string()[..ID_LENGTH];
        Self(format!("{PREFIX}{id}_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }

    /// The key that a caller sent, if it looks like one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        (is_id(id) && is_hexadecimal(secret, SECRET_LENGTH)).then(|| Self(text.to_owned()))
    }

    /// The public part: what operators name it by.
    pub(super) fn id(&self) -> &str {
        &self.0[PREFIX.len()..PREFIX.len() + ID_LENGTH]
    }

    /// What it is found by. The key has more entropy than anybody can try out, so no salt and no slow hash are needed,
    /// and the time that a look-up by hash takes says nothing about it.
    pub(super) fn hash(&self) -> String {
        Sha256::digest(&self.0).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// All of it, to be shown once.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Whether this can be the public part of a key.
pub(super) fn is_id(text: &str) -> bool {
    is_hexadecimal(text, ID_LENGTH)
}

fn is_hexadecimal(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Without the secret, so that no log can have it.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_…", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_read_again_and_is_like_no_other() {
        let key = Key::new();
        let text = key.clone().into_text();
        assert_eq!(Key::parse(&text).unwrap(), key);
        assert!(text.starts_with(&format!("ssk_{}_", key.id())), "{text}");
        assert_ne!(Key::new(), Key::new());
        assert_ne!(key.hash(), Key::new().hash());
    }

    #[test]
    fn only_what_looks_like_a_key_is_one() {
        let right = Key::new().into_text();
        let upper = right.to_uppercase();
        let (short, long) = (&right[..right.len() - 1], format!("{right}0"));
        let other = right.replace("ssk_", "sk_");
        for wrong in ["", "ssk_", "ssk__", &right[4..], short, &long, &upper, &other, &format!(" {right}"), "ssk_é_é"]
        {
            assert!(Key::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_shown_for_debugging_has_no_secret() {
        let key = Key::new();
        let shown = format!("{key:?}");
        assert!(shown.contains(key.id()) && !shown.contains(&key.into_text()[20..]), "{shown}");
    }
}
