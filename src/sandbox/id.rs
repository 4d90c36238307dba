//! Ids are paths, `<sandbox>/<session>/<number>`: any id alone says which sandbox it belongs to.

use uuid::Uuid;

const PREFIX: &str = "sbx-";
/// Digits in ASCII order, so that ids sort as the numbers they stand for.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
/// Characters of 128 bits in base 32. Short, because socket paths, which hold an id, end at 107 bytes.
const LENGTH: usize = 26;

/// A new id. Ids sort by their time of creation.
pub(super) fn new_sandbox_id() -> String {
    let number = Uuid::now_v7().as_u128();
    let digits = (0..LENGTH).rev().map(|place| DIGITS[(number >> (place * 5)) as usize & 31] as char);
    PREFIX.chars().chain(digits).collect()
}

/// The sandbox that an id of any kind lives in. Not checked: it is only ever looked up.
pub(super) fn sandbox_of(id: &str) -> &str {
    id.split('/').next().unwrap_or_default()
}

/// Whether a name has the form of a sandbox's id.
pub fn is_sandbox_id(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == LENGTH && rest.bytes().all(|b| DIGITS.contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_well_formed_different_and_sorted() {
        let ids: Vec<_> = (0..1000).map(|_| new_sandbox_id()).collect();
        assert!(ids.iter().all(|id| is_sandbox_id(id)), "{}", ids[0]);
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn any_id_names_its_sandbox() {
        assert_eq!(sandbox_of("sbx-1"), "sbx-1");
        assert_eq!(sandbox_of("sbx-1/main/3"), "sbx-1");
        assert_eq!(sandbox_of("/x"), "");
        assert!(!is_sandbox_id("sbx-../../../../../../etc/pass"));
    }
}
