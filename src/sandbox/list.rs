//! Pages of a tenant's sandboxes.

use super::{Sandbox, Sandboxes, is_sandbox_id, row};
use crate::error::{Error, Result};
use crate::tenant::Caller;
use std::collections::BTreeMap;

/// A page of sandboxes.
pub struct Listing {
    /// Oldest first.
    pub sandboxes: Vec<Sandbox>,
    /// `None` on the last page.
    pub next_page_token: Option<String>,
    /// How many match in all.
    pub total: u64,
}

impl Sandboxes {
    /// A page of the caller's active sandboxes that have all these labels, after the one that the token names, whether
    /// or not that one still exists.
    pub async fn list(
        &self,
        caller: &Caller,
        labels: &BTreeMap<String, String>,
        page_size: usize,
        page_token: &str,
    ) -> Result<Listing> {
        let after = if page_token.is_empty() { String::new() } else { decode_token(page_token)? };
        let page = self.store().sandboxes_of_tenant(caller.tenant(), labels, &after, page_size).await?;
        let last = page.rows.last().map(|row| token_of(&row.id));
        let next_page_token = last.filter(|_| page.more);
        let clock = self.clock();
        let sandboxes: Result<Vec<_>> = page
            .rows
            .into_iter()
            .map(|row| match self.registry().get(&row.id) {
                Some(entry) => Ok(entry.snapshot(clock)),
                // Another server runs it.
                None => row::read(row).map(|(about, status)| Sandbox {
                    expire_time: status.settings.expire_time,
                    about: about.into(),
                    status,
                }),
            })
            .collect();
        Ok(Listing { sandboxes: sandboxes?, next_page_token, total: page.total })
    }
}

/// The token of the page that begins behind a sandbox: the id in hexadecimal, so that nobody is tempted to build tokens.
pub fn token_of(id: &str) -> String {
    id.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a token is empty or one that we give.
pub fn is_page_token(token: &str) -> bool {
    token.is_empty() || decode_token(token).is_ok()
}

fn decode_token(token: &str) -> Result<String> {
    let digits: Option<Vec<u8>> = token.bytes().map(|b| (b as char).to_digit(16).map(|d| d as u8)).collect();
    digits
        .filter(|digits| digits.len().is_multiple_of(2))
        .and_then(|digits| String::from_utf8(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()).ok())
        .filter(|id| is_sandbox_id(id))
        .ok_or_else(|| Error::invalid("page_token", "is not a token of this list; pass next_page_token unchanged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_only_what_was_given() {
        let id = super::super::id::new_sandbox_id();
        assert_eq!(decode_token(&token_of(&id)).unwrap(), id);
        for token in ["x", "abc", "00", "ff", "73"] {
            assert!(!is_page_token(token), "{token}");
        }
    }

    proptest::proptest! {
        /// A token stands for one id, and whatever else a client sends is refused or is exactly that.
        #[test]
        fn a_token_that_is_taken_is_one_that_is_given(token in "([0-9a-fA-F]{0,64}|.{0,64})", number in 0u128..) {
            let digits: String = (0..26).map(|place| char::from(b"0123456789abcdefghijklmnopqrstuv"[(number >> (place * 4)) as usize & 31])).collect();
            let id = format!("sbx-{digits}");
            proptest::prop_assert_eq!(decode_token(&token_of(&id)).unwrap(), id);
            if let Ok(id) = decode_token(&token) {
                proptest::prop_assert!(is_sandbox_id(&id));
                proptest::prop_assert_eq!(token_of(&id), token);
            }
        }

        /// Nor one that was changed in one place, but for what makes it another id. (Hexadecimal digits may be of either case.)
        #[test]
        fn a_changed_token_is_refused_or_another_id(at in 0usize..60, to in "\\PC") {
            let id = super::super::id::new_sandbox_id();
            let token = token_of(&id);
            let mut changed: Vec<String> = token.chars().map(String::from).collect();
            changed[at] = to;
            let changed = changed.concat();
            if !changed.eq_ignore_ascii_case(&token) {
                proptest::prop_assert!(decode_token(&changed).map_or(true, |other| other != id));
            }
        }
    }
}
