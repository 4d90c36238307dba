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

/// A value as one word of zsh, without a line break in it: some of its options forbid one in a quotation.
pub(super) fn escaped(value: &[u8]) -> Vec<u8> {
    let mut word = Vec::with_capacity(value.len() + 3);
    word.extend_from_slice(b"$'");
    for &byte in value {
        match byte {
            b'\n' => word.extend_from_slice(br"\n"),
            b'\'' | b'\\' => word.extend_from_slice(&[b'\\', byte]),
            _ => word.push(byte),
        }
    }
    word.push(b'\'');
    word
}

#[cfg(test)]
mod tests {
    use super::{escaped, quoted};

    #[test]
    fn an_escaped_value_has_one_line() {
        assert_eq!(escaped(b"it's\n\\n $1"), br"$'it\'s\n\\n $1'");
        assert_eq!(escaped(b""), b"$''");
    }

    #[test]
    fn a_quoted_value_is_one_word() {
        assert_eq!(quoted(b"it's $1"), br"'it'\''s $1'");
        assert_eq!(quoted(b"''a"), br"\'\''a'");
        assert_eq!(quoted(b""), b"''");
    }
}
