//! Lengths of time as people write them.

use serde::Deserialize;
use std::{str::FromStr, time::Duration};

/// `90s`, `30m`, `12h`, `7d`, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Option<Duration>);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let wrong = || format!("{text:?} is not a time: write 90s, 30m, 12h, 7d or none");
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(wrong()),
        };
        let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        let seconds = count.checked_mul(unit).filter(|seconds| (1..=365 * 86_400).contains(seconds));
        seconds
            .map(|seconds| Self(Some(Duration::from_secs(seconds))))
            .ok_or_else(|| format!("{text:?}: must be 1s to 365d, or none"))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = |text: &str| text.parse::<Span>().map(|span| span.0.map(|span| span.as_secs()));
        assert_eq!(seconds("90s"), Ok(Some(90)));
        assert_eq!(seconds("30m"), Ok(Some(1800)));
        assert_eq!(seconds("12h"), Ok(Some(43_200)));
        assert_eq!(seconds("7d"), Ok(Some(604_800)));
        assert_eq!(seconds("none"), Ok(None));
        for wrong in ["", "90", "s", "0s", "-1s", "1.5h", "366d", "99999999999999999999d", "1ü"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
