//! Writing a file step by step, as its bytes come.

use super::{
    describe::Names,
    draft::{Draft, How},
    error::Result,
};
use crate::api::v1::File;
use bytes::Bytes;
use std::{os::fd::OwnedFd, path::PathBuf};

/// How far it is.
pub(super) enum Step {
    /// More has to come.
    Going(Draft, PathBuf),
    /// It is written.
    Done(File),
}

/// Where it is, and what was there before it, held open.
type Taken = Result<(Step, Option<OwnedFd>)>;

impl Step {
    /// Begins to write what a path names, with the bytes that are there.
    pub(super) fn begin(path: PathBuf, how: How, data: &[Bytes], is_all: bool) -> Taken {
        Self::go_on(Draft::begin(&path, how)?, path, data, is_all)
    }

    /// Adds bytes, and ends with the last.
    pub(super) fn go_on(mut draft: Draft, path: PathBuf, data: &[Bytes], is_all: bool) -> Taken {
        for piece in data {
            draft.write(piece)?;
        }
        if !is_all {
            return Ok((Self::Going(draft, path), None));
        }
        let (written, replaced) = draft.finish()?;
        Ok((Self::Done(Names::read().describe(&path, &written)), replaced))
    }
}
