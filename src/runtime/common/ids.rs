//! Ids that become names of directories, containers and volumes.

/// Whether an id can be such a name. What cannot is unknown, not an error of its own.
pub(in crate::runtime) fn is_safe_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 128
        && !id.starts_with('.')
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::is_safe_id;

    #[test]
    fn ids_that_are_not_file_names_are_refused() {
        assert!(is_safe_id("sbx-0192f"));
        for id in ["", ".", "..", "a/b", "../x", "a\0b", ".hidden", "ü"] {
            assert!(!is_safe_id(id), "{id:?}");
        }
    }
}
