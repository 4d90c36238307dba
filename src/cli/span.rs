//! Lengths of time as people write them, the same for every option.

pub(super) use crate::span::time;
use serde::Deserialize;
use std::{str::FromStr, time::Duration};

/// The longest time to live, and the shortest.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
const SHORTEST: Duration = Duration::from_secs(1);

/// A time from 1s to 365d, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Span(pub(super) Option<Duration>);

/// As a TOML file has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Seconds(f64),
    Text(String),
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let time = time(text).map_err(|wrong| format!("{wrong}, or none"))?;
        let fits = (SHORTEST..=LONGEST).contains(&time);
        if fits { Ok(Self(Some(time))) } else { Err(format!("{text:?} must be 1s to 365d, or none")) }
    }
}

impl TryFrom<Written> for Span {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Seconds(seconds) => seconds.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

/// What is wrong with a default of the operator's that is longer than what the operator lets anybody have.
pub(super) fn beyond(name: &str, default: Option<Span>, most: Option<Duration>) -> Option<String> {
    let (default, most) = (default?.0?, most?);
    let [shown, most_shown] = [default, most].map(|time| time.as_secs_f64());
    (default > most).then(|| format!("--default-{name}: is {shown} s, which is more than --max-{name}, {most_shown} s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_units() {
        let millis = |text: &str| time(text).map(|time| time.as_millis());
        for (text, meant) in [
            ("90", 90_000),
            ("0.5", 500),
            ("90s", 90_000),
            ("1.5h", 5_400_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("20ms", 20),
        ] {
            assert_eq!(millis(text), Ok(meant), "{text}");
        }
        for wrong in ["", "s", "0s", "0", "-1s", "1.2.3", "1x", "1M", "99999999999999999999999d", "1ü", "inf", "none"]
        {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lifetime_may_be_none() {
        let seconds = |text: &str| text.parse::<Span>().map(|span| span.0.map(|span| span.as_secs()));
        assert_eq!(seconds("12h"), Ok(Some(43_200)));
        assert_eq!(seconds("90"), Ok(Some(90)));
        assert_eq!(seconds("none"), Ok(None));
        for wrong in ["", "0.5", "366d", "forever"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
