//! Amounts as people write them: bytes, processors, and pairs of a name and a value.

use serde::{Deserialize, Deserializer, de};
use std::str::FromStr;

/// Units of bytes, by powers of 1024.
const UNITS: [(&str, u32); 5] = [("", 0), ("k", 1), ("m", 2), ("g", 3), ("t", 4)];

/// Reads a number of bytes, or a number with a unit: `1048576`, `512M`, `1.5G`, `2GiB`.
pub(super) fn bytes(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a size: write a number of bytes, or 512M or 2G (powers of 1024)");
    if let Ok(bytes @ 0..) = text.parse::<i64>() {
        return Ok(bytes);
    }
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let (_, power) = UNITS.iter().find(|(known, _)| *known == unit).ok_or_else(wrong)?;
    let bytes = (number * 1024_f64.powi(power.cast_signed())).round();
    // As a floating point number, i64::MAX is one more than it.
    if bytes < i64::MAX as f64 { Ok(bytes as i64) } else { Err(wrong()) }
}

/// A number of bytes as an option, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Option<u64>);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let bytes = bytes(text).map_err(|wrong| format!("{wrong}, or none"))?;
        Ok(Self(u64::try_from(bytes).ok()))
    }
}

/// In a file it may be a number or a text.
impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(Some(bytes))),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

/// Shows a number of bytes in a few characters: `12.3M`.
pub(super) fn short(bytes: i64) -> String {
    let mut amount = bytes as f64;
    for (unit, power) in UNITS {
        if amount < 1024.0 || power == 4 {
            let unit = unit.to_ascii_uppercase();
            return if power == 0 { bytes.to_string() } else { format!("{amount:.1}{unit}") };
        }
        amount /= 1024.0;
    }
    bytes.to_string()
}

/// Reads processors, as thousandths of one: `1.5` is 1500.
pub(super) fn cpus(text: &str) -> Result<i64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.01..=1024.0).contains(number));
    number
        .map(|number| (number * 1000.0).round() as i64)
        .ok_or_else(|| format!("{text:?} is not a number of processors from 0.01 to 1024, such as 1.5"))
}

/// Reads `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    if name.is_empty() { Err("the name is empty".to_owned()) } else { Ok((name.to_owned(), value.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_may_have_units() {
        for (text, meant) in [
            ("0", 0),
            ("16777216", 16 << 20),
            ("512M", 512 << 20),
            ("512m", 512 << 20),
            ("2G", 2 << 30),
            ("2GiB", 2 << 30),
            ("2GB", 2 << 30),
            ("1.5k", 1536),
            ("100b", 100),
            ("1T", 1 << 40),
        ] {
            assert_eq!(bytes(text), Ok(meant), "{text}");
        }
        for wrong in ["", "M", "-1", "1X", "1.2.3M", "99999999999T", "2 G", "ib"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_shown_shortly() {
        for (size, shown) in [(0, "0"), (1023, "1023"), (1024, "1.0K"), (13 << 20, "13.0M"), (3 << 50, "3072.0T")] {
            assert_eq!(short(size), shown);
        }
    }

    #[test]
    fn processors_are_counted_in_thousandths() {
        assert_eq!((cpus("1.5"), cpus("2"), cpus("0.01")), (Ok(1500), Ok(2000), Ok(10)));
        for wrong in ["", "0", "-1", "x", "NaN", "1025"] {
            assert!(cpus(wrong).is_err(), "{wrong}");
        }
    }
}
