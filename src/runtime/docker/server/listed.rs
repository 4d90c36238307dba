//! A list of objects in JSON that comes in pieces. Nothing is held but the object under way.

use serde::Deserialize;
use std::io;

/// Bytes of one object: a path of which each byte may be written in six.
const MOST: usize = 64 << 10;

/// One difference, as the daemon tells it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) kind: u8,
}

/// Takes a list apart.
#[derive(Default)]
pub(super) struct Splitter {
    /// The object under way.
    object: Vec<u8>,
    depth: usize,
    is_text: bool,
    is_escaped: bool,
}

impl Splitter {
    /// The objects that are complete with these bytes.
    pub(super) fn take(&mut self, piece: &[u8]) -> io::Result<Vec<Listed>> {
        let mut complete = Vec::new();
        for byte in piece {
            if self.depth > 0 || *byte == b'{' {
                self.object.push(*byte);
            }
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_text => self.is_escaped = true,
                b'"' => self.is_text = !self.is_text,
                b'{' if !self.is_text => self.depth += 1,
                b'}' if !self.is_text => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        complete.push(serde_json::from_slice(&self.object)?);
                        self.object.clear();
                    }
                }
                _ => {}
            }
            if self.object.len() > MOST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an entry is longer than any path"));
            }
        }
        Ok(complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_list_is_null() {
        assert_eq!(Splitter::default().take(b"null\n").unwrap(), []);
        assert_eq!(Splitter::default().take(b"[]").unwrap(), []);
    }

    #[test]
    fn what_never_ends_is_refused() {
        let mut splitter = Splitter::default();
        splitter.take(b"[{\"Path\":\"").unwrap();
        assert!((0..100).any(|_| splitter.take(&[b'x'; 1 << 10]).is_err()));
    }

    proptest! {
        #[test]
        fn any_list_comes_out_whole_however_it_is_cut(
            paths in proptest::collection::vec(any::<String>(), 0..8),
            size in 1_usize..40,
        ) {
            let objects: Vec<_> = paths.iter().map(|path| serde_json::json!({ "Path": path, "Kind": 1 })).collect();
            let text = serde_json::to_vec_pretty(&objects).unwrap();
            let mut splitter = Splitter::default();
            let found: Vec<_> = text.chunks(size).flat_map(|piece| splitter.take(piece).unwrap()).collect();
            let found: Vec<_> = found.into_iter().map(|listed| listed.path).collect();
            prop_assert_eq!(found, paths);
        }
    }
}
