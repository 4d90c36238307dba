//! Writes values as shells read them, and reads what `alias` of dash and busybox ash prints.

/// A value as one word of any shell.
pub(super) fn quoted(value: &[u8]) -> Vec<u8> {
    let mut word = vec![b'\''];
    for &byte in value {
        if byte == b'\'' {
            word.extend_from_slice(br"'\''");
        } else {
            word.push(byte);
        }
    }
    word.push(b'\'');
    word
}

/// Turns lines `name='value'` into `alias name='value'` lines. A value may hold line ends; it is quoted with `'`, and a
/// `'` in it is written as `'"'"'` or `'\''`.
pub(super) fn alias_commands(listing: &[u8]) -> Vec<u8> {
    let mut script = Vec::new();
    let mut at_start = true;
    let mut quote: Option<u8> = None;
    let mut escaped = false;
    for &byte in listing {
        if at_start && byte != b'\n' {
            script.extend_from_slice(b"\\command alias ");
            at_start = false;
        }
        script.push(byte);
        match (quote, byte) {
            _ if escaped => escaped = false,
            (None, b'\\') => escaped = true,
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if byte == open => quote = None,
            (None, b'\n') => at_start = true,
            _ => {}
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::{alias_commands, quoted};

    #[test]
    fn a_quoted_value_is_one_word() {
        assert_eq!(quoted(b"it's $1"), br"'it'\''s $1'");
    }

    #[test]
    fn a_value_with_line_ends_and_quotes_stays_one_alias() {
        let listing = b"a='x\ny'\nb='it'\"'\"'s'\nc='it'\\''s'\n";
        let script = String::from_utf8(alias_commands(listing)).unwrap();
        assert_eq!(script, "\\command alias a='x\ny'\n\\command alias b='it'\"'\"'s'\n\\command alias c='it'\\''s'\n");
    }
}
