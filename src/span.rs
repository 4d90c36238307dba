//! Lengths of time as people write them, in options and in files.

use std::time::Duration;

const UNITS: [(&str, f64); 6] = [("", 1.0), ("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// Reads a number of seconds, or a number with a unit: `90`, `1.5`, `90s`, `5m`, `2h`, `1d`, `500ms`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: write a number of seconds, or 90s, 5m, 2h or 1d");
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let (_, factor) = UNITS.iter().find(|(known, _)| *known == unit).ok_or_else(wrong)?;
    let time = Duration::try_from_secs_f64(number * factor).map_err(|_| wrong())?;
    if time < Duration::from_millis(1) { Err(format!("{text:?} must be 1ms or more")) } else { Ok(time) }
}
