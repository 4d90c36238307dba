//! The sample's own files for verification, laid over the workspace. They are packed here and unpacked there, so that no link of the agent's can
//! lead them elsewhere.

use super::{
    Carried, Failure, FailureReason,
    take::{WORKSPACE, not_taken},
};
use crate::{
    api::v1::ImportOpen,
    archive::{Compression, Packer, Packing, Patterns, Top, open_directory},
    sample::Sample,
    sandbox::Reached,
};
use bytes::Bytes;
use std::path::Path;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of a piece.
const PIECE: usize = 256 << 10;

/// Lays what a sample brings over the workspace, if it brings something.
pub(super) async fn lay(sample: &Sample, over: &Reached) -> Carried<()> {
    let Some(directory) = sample.verification.files.clone() else { return Ok(()) };
    let (give, take) = mpsc::channel(2);
    let packing = tokio::task::spawn_blocking(move || {
        let packed = pack(&directory, &give);
        // What did not come whole is given up.
        if packed.is_err() {
            let _ = give.blocking_send(None);
        }
        packed
    });
    let open = ImportOpen { path: WORKSPACE.to_owned(), outside_links: true, ..ImportOpen::default() };
    let laid = over.import(open, ReceiverStream::new(take)).await;
    let packed = packing.await.map_err(|error| Failure::new(FailureReason::Internal, error.to_string()))?;
    packed.map_err(|error| {
        let message = format!("the sample's files for verification cannot be read: {error}");
        Failure::new(FailureReason::SampleChanged, message)
    })?;
    laid.map_err(not_taken)?;
    // They are those that the result names only if nobody has changed them since they were read.
    let known = sample.clone();
    let is_as_it_was = tokio::task::spawn_blocking(move || known.is_as_it_was()).await;
    if is_as_it_was.map_err(|error| Failure::new(FailureReason::Internal, error.to_string()))? {
        return Ok(());
    }
    let message = format!("the files of sample {} have changed, or cannot be read any more", sample.name());
    Err(Failure::new(FailureReason::SampleChanged, message))
}

fn pack(directory: &Path, give: &mpsc::Sender<Option<Bytes>>) -> Result<(), crate::archive::Error> {
    let how = Packing {
        compression: Compression::None,
        excluded: Patterns::none(),
        honours_gitignore: false,
        changed_since: None,
    };
    let top = Top { name: Vec::new(), file: open_directory(directory)? };
    let mut packer = Packer::new(vec![top], how)?;
    while let Some(piece) = packer.next(PIECE, &|| !give.is_closed())? {
        if give.blocking_send(Some(piece.into())).is_err() {
            // Whoever unpacks it has ended, and says why.
            return Ok(());
        }
    }
    Ok(())
}
