//! Pages of lists. A token names the last item of a page, so it survives what is added and removed in between.

use crate::error::{Error, Result};

/// Items of a page unless the client says otherwise.
const DEFAULT_SIZE: usize = 100;

/// Most items of a page.
const MOST: usize = 1000;

/// What the messages of a page may take together. Clients of gRPC refuse answers of more than 4 MiB unless they are told
/// otherwise.
const MOST_BYTES: usize = 3 << 20 | 1 << 19;

/// One page.
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Token of the next page; empty on the last.
    pub next_token: String,
    /// Items of all pages.
    pub total: i32,
    /// The key of each item.
    keys: Vec<u64>,
}

impl<T> Page<T> {
    /// The same page of something else.
    pub fn map<U>(self, describe: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, next_token, total, keys } = self;
        Page { items: items.into_iter().map(describe).collect(), next_token, total, keys }
    }
}

impl<M: prost::Message> Page<M> {
    /// As much of it as fits into an answer, and one item at least; the next page begins behind that.
    pub fn fitting(mut self) -> Self {
        let fitting = fitting(&self.items);
        if fitting < self.items.len() {
            self.items.truncate(fitting);
            self.next_token = token(self.keys[fitting - 1]);
        }
        self
    }
}

/// How many of the items of a page fit into an answer: one at least.
pub fn fitting<M: prost::Message>(items: &[M]) -> usize {
    let mut bytes = 0;
    let fits = |item: &&M| {
        bytes += item.encoded_len() + MOST_OF_A_FIELD;
        bytes <= MOST_BYTES
    };
    items.iter().take_while(fits).count().max(1)
}

/// What the number and the length of a field take at the most.
const MOST_OF_A_FIELD: usize = 8;

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
    let (mut page, mut keys) = (Vec::new(), Vec::new());
    while page.len() < size {
        let Some((key, item)) = rest.next() else { break };
        keys.push(key);
        page.push(item);
    }
    let last = keys.last().filter(|_| rest.peek().is_some());
    let next_token = last.map_or_else(String::new, |last| token(*last));
    Ok(Page { items: page, next_token, total, keys })
}

fn token(last: u64) -> String {
    format!("p{}", base36(last))
}

/// Token of the page behind an item that has a name instead of a number.
pub fn name_token(last: &str) -> String {
    last.bytes().fold("n".to_owned(), |token, byte| format!("{token}{byte:02x}"))
}

/// The name of the last item of the page before; empty for the first page. `None` if it is no token of ours.
pub fn last_name(page_token: &str) -> Option<String> {
    let Some(digits) = page_token.strip_prefix('n') else { return page_token.is_empty().then(String::new) };
    let digits: Vec<u8> = digits.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    String::from_utf8(pairs.iter().map(|[high, low]| high << 4 | low).collect()).ok()
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
    fn a_name_is_a_token_too() {
        for name in ["", "host", "/srv/ä b", "python:3.12"] {
            assert_eq!(super::last_name(&super::name_token(name)).as_deref(), Some(name));
        }
        assert_eq!(super::last_name("").as_deref(), Some(""));
        for bad in ["x", "n1", "nzz", "nff", "p1"] {
            assert_eq!(super::last_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_page_fits_into_an_answer() {
        let items = (1..=1000_u64).map(|key| (key, "x".repeat(8000))).collect::<Vec<_>>();
        let (mut token, mut got) = (String::new(), 0);
        loop {
            let page = page(items.clone(), 1000, &token).unwrap().map(|item| item).fitting();
            let bytes: usize = page.items.iter().map(prost::Message::encoded_len).sum();
            assert!(bytes <= super::MOST_BYTES && page.total == 1000 && !page.items.is_empty());
            got += page.items.len();
            if page.next_token.is_empty() {
                break;
            }
            token = page.next_token;
        }
        assert_eq!(got, 1000);
        let huge = page(vec![(1, "x".repeat(5 << 20)), (2, String::new())], 0, "").unwrap().fitting();
        assert_eq!(huge.items.len(), 1);
        assert_eq!(page(vec![(1, String::new()), (2, String::new())], 0, &huge.next_token).unwrap().items, [""]);
    }

    #[test]
    fn a_token_that_was_never_given_is_refused() {
        assert!(page(vec![(1, ())], 0, "x").is_err());
        assert!(page(vec![(1, ())], -1, "").is_err());
    }
}
