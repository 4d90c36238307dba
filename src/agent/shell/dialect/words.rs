//! The words of a statement that a shell has listed.

/// The word of this number, from zero; empty if there are not so many.
pub(super) fn word(text: &[u8], number: usize) -> &[u8] {
    text.split(|byte| *byte == b' ').nth(number).unwrap_or_default()
}

/// The last word.
pub(super) fn last_word(text: &[u8]) -> &[u8] {
    text.rsplit(|byte| *byte == b' ' || *byte == b'\n').next().unwrap_or_default()
}

/// What comes before an equals sign, or all of it.
pub(super) fn before_equals(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'=').next().unwrap_or_default()
}
