//! Writes values as shells read them.

/// A value as one word of any shell.
///
/// No quotation is empty unless the value is: zsh may take `''` within others for a quotation mark (`setopt rcquotes`).
pub(super) fn quoted(value: &[u8]) -> Vec<u8> {
    if value.is_empty() {
        return b"''".to_vec();
    }
    let mut word = Vec::with_capacity(value.len() + 2);
    let mut open = false;
    for &byte in value {
        if (byte == b'\'') == open {
            word.push(b'\'');
            open = !open;
        }
        word.extend_from_slice(if byte == b'\'' { br"\'" } else { std::slice::from_ref(&byte) });
    }
    if open {
        word.push(b'\'');
    }
    word
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_quoted_value_is_one_word() {
        assert_eq!(quoted(b"it's $1"), br"'it'\''s $1'");
        assert_eq!(quoted(b"''a"), br"\'\''a'");
        assert_eq!(quoted(b""), b"''");
    }
}
