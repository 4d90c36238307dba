//! How a container's files differ from its image, as the daemon tells. It tells all of it in one answer, whose length the sandbox
//! decides, so that is read piece by piece and only one page is kept.

use super::listed::{Listed, Splitter};
use crate::runtime::{
    ChangeKind, Changes, ChangesWanted, RuntimeError,
    common::Page,
    docker::{daemon::Daemon, work::failed},
};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use std::{future::poll_fn, io, pin::Pin, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// For how many containers the daemon looks at one time, how long to wait for one's turn, and how long for all of the answer.
pub(super) const LOOKS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(60);

/// Bytes of an error that are read.
const MOST_OF_AN_ERROR: usize = 4096;

/// Asks for one page of differences.
pub(super) async fn of(
    daemon: &Daemon,
    container: &str,
    wanted: ChangesWanted,
    turns: &Arc<Semaphore>,
) -> Result<Changes, RuntimeError> {
    let Ok(Ok(turn)) = timeout(PATIENCE, turns.clone().acquire_owned()).await else {
        let message = "the Docker daemon looks for the changes of as many sandboxes as it may; try again in a moment";
        return Err(RuntimeError::Unavailable(message.to_owned()));
    };
    let (asked, path) = (daemon.clone(), format!("/containers/{container}/changes"));
    // The daemon goes on looking when nobody waits for it any more, so the turn is over when it answers.
    let look = tokio::spawn(async move {
        let _turn = turn;
        timeout(ANSWER, read(&asked, &path, &wanted)).await
    });
    match look.await {
        Ok(Ok(page)) => page,
        Ok(Err(_)) => Err(daemon.broken(&io::Error::from(io::ErrorKind::TimedOut))),
        Err(error) => Err(failed("look for the container's changes", io::Error::other(error))),
    }
}

async fn read(daemon: &Daemon, path: &str, wanted: &ChangesWanted) -> Result<Changes, RuntimeError> {
    let answer = daemon.get(path).await?;
    let (status, mut body) = (answer.status(), answer.into_body());
    if !status.is_success() {
        let mut said = Vec::new();
        while said.len() < MOST_OF_AN_ERROR
            && let Some(piece) = next(&mut body).await.map_err(|error| daemon.broken(&error))?
        {
            said.extend_from_slice(&piece);
        }
        said.truncate(MOST_OF_AN_ERROR);
        let said = String::from_utf8_lossy(&said);
        return Err(match status.as_u16() {
            404 => RuntimeError::NotFound,
            _ => RuntimeError::Refused(format!("the Docker daemon did not tell the changes: {}", said.trim())),
        });
    }
    let (mut splitter, mut page) = (Splitter::default(), Page::new(wanted));
    let mut last: Option<Listed> = None;
    while let Some(piece) = next(&mut body).await.map_err(|error| daemon.broken(&error))? {
        let listed = splitter.take(&piece).map_err(|error| failed("read the container's changes", error))?;
        for next in listed {
            if let Some(before) = last.replace(next) {
                add(&mut page, &before, last.as_ref());
            }
        }
    }
    if let Some(before) = last {
        add(&mut page, &before, None);
    }
    Ok(page.finish())
}

/// Adds what the daemon tells. A directory that was removed and made again it tells as removed, with what is in it now behind that.
fn add(page: &mut Page, listed: &Listed, next: Option<&Listed>) {
    let is_there =
        next.is_some_and(|next| next.path.strip_prefix(listed.path.as_str()).is_some_and(|rest| rest.starts_with('/')));
    let kind = match listed.kind {
        0 => ChangeKind::Modified,
        1 => ChangeKind::Added,
        _ if is_there => ChangeKind::Modified,
        _ => ChangeKind::Removed,
    };
    page.add(listed.path.as_bytes(), kind);
}

/// The next bytes of an answer.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.transpose()? {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
