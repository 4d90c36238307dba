//! Differences from an image, from what a client asks to what it gets.

use crate::{
    api::v1::{ChangesRequest, ChangesResponse, FileChange, file_change::Kind},
    error::{Error, Result},
    rpc::paging,
    runtime::{self, ChangeKind, ChangesWanted},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;

/// Differences of a page unless the client says otherwise.
const USUAL: usize = 1000;

/// Comes before the path of the last one in a token.
const TOKEN: &str = "c";

/// The page that a request asks for.
pub(in crate::server) fn wanted(request: &ChangesRequest) -> Result<ChangesWanted> {
    let most = usize::try_from(request.page_size).ok().filter(|size| *size > 0).unwrap_or(USUAL);
    let after = match request.page_token.strip_prefix(TOKEN).map(|path| URL_SAFE_NO_PAD.decode(path)) {
        Some(Ok(path)) if path.starts_with(b"/") && !path.contains(&0) => path,
        None if request.page_token.is_empty() => Vec::new(),
        _ => return Err(Error::invalid("page_token", paging::BAD_TOKEN)),
    };
    Ok(ChangesWanted { after, most })
}

/// The page that a client gets.
pub(in crate::server) fn answer(found: runtime::Changes) -> ChangesResponse {
    let token = |path: Vec<u8>| format!("{TOKEN}{}", URL_SAFE_NO_PAD.encode(path));
    ChangesResponse {
        changes: found.changes.into_iter().map(change).collect(),
        next_page_token: found.next.map(token).unwrap_or_default(),
    }
}

fn change(found: runtime::FileChange) -> FileChange {
    let kind = match found.kind {
        ChangeKind::Added => Kind::Added,
        ChangeKind::Modified => Kind::Modified,
        ChangeKind::Removed => Kind::Removed,
    };
    let (path, raw_path) = match String::from_utf8(found.path) {
        Ok(path) => (path, Bytes::new()),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), error.into_bytes().into()),
    };
    FileChange { kind: kind.into(), path, raw_path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_the_next_page_and_no_other_is_taken() {
        let next = answer(runtime::Changes { changes: Vec::new(), next: Some(b"/a/\xff".to_vec()) }).next_page_token;
        let ask = |page_token: &str| wanted(&ChangesRequest { page_token: page_token.into(), ..Default::default() });
        assert_eq!(ask(&next).unwrap().after, b"/a/\xff");
        assert_eq!(ask("").unwrap().after, b"");
        for wrong in ["c", "x", "cnot base64", "cYQ"] {
            assert!(ask(wrong).is_err(), "{wrong}");
        }
    }
}
