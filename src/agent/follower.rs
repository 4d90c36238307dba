//! A watcher of one command: turns its log into the messages of `Exec` and `Attach`.

use super::{
    command::Command,
    log::{Cursor, Next, Offsets},
};
use crate::api::v1::{ExecResponse, Exited, Gap, KeepAlive, Output, Started, exec_response::Response};
use std::{sync::Arc, time::Duration};

/// Silence after which a message is sent all the same.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Watches one command.
pub(super) struct Follower {
    command: Arc<Command>,
    cursor: Cursor,
    /// Whether it is the stream that started the command.
    starter: bool,
    follow_background: bool,
    stage: Stage,
    /// Output up to here comes before `exited`.
    before_exited: Option<Offsets>,
}

#[derive(PartialEq)]
enum Stage {
    Starting,
    Following,
    Exited,
    Done,
}

impl Follower {
    /// The stream that started the command.
    pub(super) fn starter(command: Arc<Command>) -> Self {
        Self::new(command, [0; 3], true, false)
    }

    /// The stream of a start that was sent again: the same command from its beginning.
    pub(super) fn returning(command: Arc<Command>) -> Self {
        let starter = command.log.starter_returned();
        Self::new(command, [0; 3], starter, false)
    }

    /// Somebody else, from offsets.
    pub(super) fn watcher(command: Arc<Command>, from: Offsets, follow_background: bool) -> Self {
        Self::new(command, from, false, follow_background)
    }

    fn new(command: Arc<Command>, from: Offsets, starter: bool, follow_background: bool) -> Self {
        // Background output that is already there when the watcher comes is part of what it asked for.
        let before_exited = command.log.over_at().map(|_| command.log.end());
        Self { command, cursor: Cursor::at(from), starter, follow_background, stage: Stage::Starting, before_exited }
    }

    /// The next message; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Response> {
        loop {
            let command = Arc::clone(&self.command);
            let changed = command.log.changed();
            tokio::pin!(changed);
            // Registered before the log is looked at, so that no change is missed in between.
            changed.as_mut().enable();
            if let Some(response) = self.look() {
                return Some(response);
            }
            if self.stage == Stage::Done {
                return None;
            }
            if tokio::time::timeout(KEEP_ALIVE, changed).await.is_err() {
                return Some(Response::KeepAlive(KeepAlive {}));
            }
        }
    }

    fn look(&mut self) -> Option<Response> {
        if self.stage == Stage::Starting {
            self.stage = Stage::Following;
            return Some(Response::Started(Started { command_id: self.command.id.clone() }));
        }
        if self.stage == Stage::Following {
            let over_at = self.before_exited.or_else(|| self.command.log.over_at());
            if over_at.is_some_and(|at| at.iter().zip(self.cursor.want).all(|(at, want)| want >= *at)) {
                self.stage = if self.follow_background { Stage::Exited } else { Stage::Done };
                return self.command.exited().map(Response::Exited);
            }
        }
        if self.stage == Stage::Done {
            return None;
        }
        match self.command.log.next(&mut self.cursor, self.starter) {
            Next::Output { stream, offset, data } => {
                Some(Response::Output(Output { stream: stream.into(), offset: offset as i64, data }))
            }
            Next::Gap { stream, from, to } => {
                Some(Response::Gap(Gap { stream: stream.into(), from: from as i64, to: to as i64 }))
            }
            Next::Pending => None,
            Next::Closed => {
                self.stage = Stage::Done;
                None
            }
        }
    }

    /// Reads to the end, gives every piece of output to `take`, and returns how the command ended.
    pub(super) async fn collect(mut self, mut take: impl FnMut(Output)) -> Option<Exited> {
        while let Some(response) = self.next().await {
            match response {
                Response::Output(output) => take(output),
                Response::Exited(exited) => return Some(exited),
                Response::Started(_) | Response::Gap(_) | Response::KeepAlive(_) => {}
            }
        }
        None
    }

    /// As a stream of messages.
    pub(super) fn into_stream(self) -> impl futures_util::Stream<Item = ExecResponse> + Send {
        futures_util::stream::unfold(self, |mut follower| async move {
            let response = follower.next().await?;
            Some((ExecResponse { response: Some(response) }, follower))
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.starter {
            self.command.log.starter_left();
        }
    }
}
