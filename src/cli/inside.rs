//! A file of a sandbox, as people write it: `SANDBOX:PATH`.

/// A file of a sandbox.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    pub(super) sandbox_id: String,
    pub(super) path: String,
}

/// What such a text names.
pub(super) fn inside(text: &str) -> Result<Inside, String> {
    match text.split_once(':') {
        Some((sandbox_id, path)) if !sandbox_id.is_empty() && !path.is_empty() => {
            Ok(Inside { sandbox_id: sandbox_id.to_owned(), path: path.to_owned() })
        }
        _ => Err("must be SANDBOX:PATH, as sbx-…:/tmp/file".to_owned()),
    }
}
