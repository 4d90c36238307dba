//! Pages of lists. A token names the last item of a page, so it survives what is added and removed in between.

use crate::error::{Error, Result};

/// Items of a page unless the client says otherwise.
const DEFAULT_SIZE: usize = 100;

/// Most items of a page.
const MOST: usize = 1000;

/// One page.
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Token of the next page; empty on the last.
    pub next_token: String,
    /// Items of all pages.
    pub total: i32,
}

/// Cuts a page out of items in the order of their keys.
///
/// `page_size` 0 is the default; a token that we have not given is INVALID_ARGUMENT.
pub fn page<T>(items: Vec<(u64, T)>, page_size: i32, page_token: &str) -> Result<Page<T>> {
    let size = match usize::try_from(page_size) {
        Ok(0) => DEFAULT_SIZE,
        Ok(size) => size.min(MOST),
        Err(_) => return Err(Error::invalid("page_size", "must be from 1 to 1000, or 0 for the default of 100")),
    };
    let after = parse_token(page_token).ok_or_else(|| Error::invalid("page_token", BAD_TOKEN))?;
    let total = items.len() as i32;
    let mut rest = items.into_iter().filter(|(key, _)| *key > after).peekable();
    let mut page = Vec::new();
    let mut last = 0;
    while page.len() < size {
        let Some((key, item)) = rest.next() else { break };
        last = key;
        page.push(item);
    }
    let next_token = if rest.peek().is_some() { format!("p{}", base36(last)) } else { String::new() };
    Ok(Page { items: page, next_token, total })
}

/// What is wrong with a token that we have not given.
pub const BAD_TOKEN: &str = "is not a token of this list; pass next_page_token unchanged";

/// Whether a token is empty or one that we give.
pub fn is_token(page_token: &str) -> bool {
    parse_token(page_token).is_some()
}

/// The key of the last item of the page before.
fn parse_token(page_token: &str) -> Option<u64> {
    match page_token.strip_prefix('p') {
        Some(key) => u64::from_str_radix(key, 36).ok(),
        None => page_token.is_empty().then_some(0),
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
        number /= 36;
        if number == 0 {
            break;
        }
    }
    digits.reverse();
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn pages_follow_each_other_through_inserts_and_deletes() {
        let items = |keys: &[u64]| keys.iter().map(|key| (*key, *key)).collect::<Vec<_>>();
        let first = page(items(&[1, 2, 40, 50]), 2, "").unwrap();
        assert_eq!((first.items, first.total), (vec![1, 2], 4));
        let second = page(items(&[1, 40, 45, 50]), 2, &first.next_token).unwrap();
        assert_eq!(second.items, [40, 45]);
        let third = page(items(&[1, 40, 45, 50]), 2, &second.next_token).unwrap();
        assert_eq!((third.items, third.next_token), (vec![50], String::new()));
    }

    #[test]
    fn a_token_that_was_never_given_is_refused() {
        assert!(page(vec![(1, ())], 0, "x").is_err());
        assert!(page(vec![(1, ())], -1, "").is_err());
    }
}
