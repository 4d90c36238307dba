//! Where a page of datasets or samples begins: behind a name, whether or not that is still there.

/// The last item of the page before: a dataset, or a sample of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken {
    /// A dataset.
    pub dataset: String,
    /// A sample of it; empty in a list of datasets.
    pub id: String,
}

impl PageToken {
    /// As clients get it: in hexadecimal, so that nobody is tempted to build tokens.
    pub fn encode(&self) -> String {
        let plain = format!("{}/{}", self.dataset, self.id);
        plain.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What a client sends back.
    pub fn decode(token: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> = token.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
        let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
        let bytes = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let plain = String::from_utf8(bytes).ok()?;
        let (dataset, id) = plain.split_once('/')?;
        let is_name = |name: &str| super::read::is_name(name).is_ok();
        let fits = is_name(dataset) && (id.is_empty() || is_name(id));
        fits.then(|| Self { dataset: dataset.to_owned(), id: id.to_owned() })
    }

    /// Whether a token is empty or one that we give.
    pub fn is_one(token: &str) -> bool {
        token.is_empty() || Self::decode(token).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// A token stands for one place, and whatever else a client sends is refused or is exactly that.
        #[test]
        fn a_token_that_is_taken_is_one_that_is_given(token in "([0-9a-fA-F]{0,64}|.{0,64})", dataset in "[a-z0-9][A-Za-z0-9._+-]{0,20}", id in "([a-z0-9][A-Za-z0-9._+-]{0,20})?") {
            let place = PageToken { dataset, id };
            proptest::prop_assert_eq!(PageToken::decode(&place.encode()), Some(place));
            if let Some(place) = PageToken::decode(&token) {
                proptest::prop_assert!(place.encode().eq_ignore_ascii_case(&token));
            }
        }
    }

    #[test]
    fn what_was_never_given_is_refused() {
        assert!(PageToken::is_one("") && PageToken::is_one(&hex("a/")) && PageToken::is_one(&hex("a/b")));
        for plain in ["", "/", "a", "/b", "a/b/c", "../b", "a/ b"] {
            assert!(PageToken::decode(&hex(plain)).is_none(), "{plain:?}");
        }
        assert!(PageToken::decode("abc").is_none() && PageToken::decode("é").is_none());
    }

    fn hex(plain: &str) -> String {
        plain.bytes().map(|byte| format!("{byte:02x}")).collect()
    }
}
