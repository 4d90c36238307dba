//! What zsh has listed, as zsh takes it back.

use super::{quoting::quoted, words::word};
use crate::agent::shell::saved::{Item, Kind};

/// Options that decide how a function's text is understood, and which of them are on in a new shell.
const OF_SYNTAX: &[(&str, bool)] = &[
    ("kshglob", false),
    ("shglob", false),
    ("ignorebraces", false),
    ("ignoreclosebraces", false),
    ("cshjunkieloops", false),
    ("cshjunkiequotes", false),
    ("shortloops", true),
    ("shortrepeat", false),
    ("multifuncdef", true),
    ("posixidentifiers", false),
    ("extendedglob", false),
];

/// Whether an option was listed as on: `set -o x` or `set +o nox`, according to what the emulation begins with.
pub(super) fn is_on(items: &[Item], option: &str) -> bool {
    let is_it = |item: &Item| {
        item.text.strip_prefix(b"set -o ").is_some_and(|name| name == option.as_bytes())
            || item.text.strip_prefix(b"set +o no").is_some_and(|name| name == option.as_bytes())
    };
    items.iter().any(|item| item.kind == Kind::Option && is_it(item))
}

/// Settings under which a function's text means what it meant to the zsh that listed it.
pub(super) fn syntax(items: &[Item]) -> Vec<u8> {
    if !items.iter().any(|item| item.kind == Kind::Option) {
        return Vec::new();
    }
    let changed = OF_SYNTAX.iter().filter(|(option, usual)| is_on(items, option) != *usual);
    let setting = |(option, usual): &(&str, bool)| {
        format!("\\builtin set {}o {option}; ", if *usual { '+' } else { '-' }).into_bytes()
    };
    changed.flat_map(setting).collect()
}

/// Name and body are words. Not by an assignment to `functions`, which spoils characters with certain bytes.
pub(super) fn function(text: &[u8], syntax: &[u8]) -> Option<Vec<u8>> {
    let at = text.iter().position(|byte| *byte == b'\n')?;
    let (name, body) = (&text[..at], &text[at + 1..]);
    let define = b"\\builtin eval \"function ${(qqqq)1} {\n$2\n}\" } ".as_slice();
    Some([b"() { \\builtin setopt localoptions norcquotes; ".as_slice(), syntax, define, name, b" ", body].concat())
}

/// Aliases of the time when the user set the trap are no longer in what zsh lists, and others must not get into it.
pub(super) fn trap(text: &[u8], syntax: &[u8]) -> Vec<u8> {
    let set = b"\\builtin eval \"\\builtin $1\" } ".as_slice();
    let options = b"() { \\builtin setopt localoptions noaliases nolocaltraps; ".as_slice();
    [options, syntax, set, &quoted(text)].concat()
}

/// zsh lists a floating point number with as many digits as it shows, and without saying how many these are.
pub(super) fn with_precision(text: &[u8]) -> Vec<u8> {
    let flags = word(text, 1);
    let shown = text
        .iter()
        .position(|byte| *byte == b'.')
        .map_or(0, |point| text[point + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count());
    let kind = flags.iter().find(|flag| matches!(flag, b'E' | b'F'));
    match kind {
        Some(kind) if flags.starts_with(b"-") => {
            let digits = if *kind == b'E' { shown + 1 } else { shown };
            let flags: Vec<u8> = flags[1..].iter().filter(|flag| *flag != kind).copied().collect();
            let more = format!("-{}{digits}", char::from(*kind));
            let flags = if flags.is_empty() {
                more.into_bytes()
            } else {
                [b"-", flags.as_slice(), b" ", more.as_bytes()].concat()
            };
            let rest = &text[word(text, 0).len() + 1 + word(text, 1).len()..];
            [word(text, 0), b" ", &flags, rest].concat()
        }
        _ => text.to_vec(),
    }
}
