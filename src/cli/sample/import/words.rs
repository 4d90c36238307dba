//! TOML as it is written: the basic strings and arrays of TOML are those of JSON, but for one character.

/// A string.
pub(super) fn string(text: &str) -> String {
    // Serializing a string cannot fail.
    serde_json::to_string(text).unwrap_or_default().replace('\u{7f}', "\\u007f")
}

/// An array of strings.
pub(super) fn strings(all: &[String]) -> String {
    let all: Vec<_> = all.iter().map(|text| string(text)).collect();
    format!("[{}]", all.join(", "))
}

/// A word of a POSIX shell's command.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-+=:,@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(text in "\\PC*|[\\x00-\\x7f]*", more in "(?s).*") {
            let all = vec![text, more];
            let table: toml::Table = format!("all = {}", strings(&all)).parse().unwrap();
            proptest::prop_assert_eq!(table["all"].clone().try_into::<Vec<String>>().unwrap(), all);
        }
    }

    #[test]
    fn words_of_a_command_are_quoted_where_they_need_it() {
        assert_eq!(quoted("tests/test_a.py"), "tests/test_a.py");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
