//! A watcher of one command: turns its log into the messages of `Exec` and `Attach`.

use super::Command;
use crate::{
    agent::output::{Charge, Cursor, Next, Offsets},
    api::v1::{ExecResponse, Exited, Gap, KeepAlive, Output, Started, exec_response::Response},
    rpc::transport,
};
use std::{sync::Arc, time::Duration};

/// Silence after which a message is sent all the same.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a message may have in it, however little room there is.
const SMALL_MESSAGE: usize = 16 << 10;

/// The largest message for a watcher.
const WATCHER_MESSAGE: usize = 32 << 10;

/// What a watcher may hold, charged for as long as it is there: HTTP/2 asks for messages until its window is full, and has
/// them all in memory while many watchers share a connection. That is the window and one message more, in buffers that may be
/// twice as large as what is in them.
const RESERVE: usize = 2 * (transport::WATCHER_WINDOW as usize + WATCHER_MESSAGE);

/// Watches one command.
pub(in crate::agent) struct Follower {
    command: Arc<Command>,
    /// For a message that the client has not taken yet, and for a watcher's being there.
    charge: Charge,
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
    pub(in crate::agent) fn starter(command: Arc<Command>) -> Self {
        let charge = command.log.budget().nothing();
        Self::new(command, charge, [0; 3], true, false)
    }

    /// The stream of a start that was sent again: the same command from these offsets.
    pub(in crate::agent) fn returning(command: Arc<Command>, from: Offsets) -> Self {
        let charge = command.log.budget().nothing();
        let starter = command.log.starter_returned();
        Self::new(command, charge, from, starter, false)
    }

    /// Somebody else, from offsets. `None` when the agent has no room for another watcher.
    pub(in crate::agent) fn watcher(command: Arc<Command>, from: Offsets, follow_background: bool) -> Option<Self> {
        let charge = command.log.budget().hold(RESERVE)?;
        Some(Self::new(command, charge, from, false, follow_background))
    }

    fn new(command: Arc<Command>, charge: Charge, from: Offsets, starter: bool, follow_background: bool) -> Self {
        // Background output that is already there when the watcher comes is part of what it asked for.
        let end = command.log.end();
        let before_exited = command.log.over_at().map(|at| [0, 1, 2].map(|index| at[index].max(end[index])));
        let (cursor, stage) = (Cursor::at(from), Stage::Starting);
        Self { command, charge, cursor, starter, follow_background, stage, before_exited }
    }

    /// The next message; `None` at the end.
    async fn next(&mut self, most: usize) -> Option<Response> {
        loop {
            let command = Arc::clone(&self.command);
            let changed = command.log.changed();
            tokio::pin!(changed);
            // Registered before the log is looked at, so that no change is missed in between.
            changed.as_mut().enable();
            if let Some(response) = self.look(most) {
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

    fn look(&mut self, most: usize) -> Option<Response> {
        if self.stage == Stage::Starting {
            self.stage = Stage::Following;
            let stdin_offset = i64::try_from(self.command.input_taken()).unwrap_or(i64::MAX);
            return Some(Response::Started(Started { command_id: self.command.id.clone(), stdin_offset }));
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
        match self.command.log.next(&mut self.cursor, self.starter, most) {
            Next::Output { stream, offset, data } => {
                Some(Response::Output(Output { stream: stream.into(), offset: offset as i64, data }))
            }
            Next::Gap { stream, from, to } => {
                Some(Response::Gap(Gap { stream: stream.into(), from: from as i64, to: to as i64 }))
            }
            Next::Pending => None,
            Next::Closed => {
                // Not all that was to come before the end has come, when a pipe could not be read.
                let exited = (self.stage == Stage::Following).then(|| self.command.exited()).flatten();
                self.stage = Stage::Done;
                exited.map(Response::Exited)
            }
        }
    }

    /// The next message, for somebody who takes it at once. May be cancelled without loss.
    pub(in crate::agent) async fn message(&mut self) -> Option<Response> {
        self.next(usize::MAX).await
    }

    /// Where each stream goes on.
    pub(in crate::agent) fn reached(&self) -> Offsets {
        self.cursor.want
    }

    /// Reads to the end, gives every piece of output to `take`, and returns how the command ended. May be cancelled without
    /// loss.
    pub(in crate::agent) async fn collect(&mut self, mut take: impl FnMut(Output)) -> Option<Exited> {
        while let Some(response) = self.next(usize::MAX).await {
            match response {
                Response::Output(output) => take(output),
                Response::Exited(exited) => return Some(exited),
                Response::Started(_) | Response::Gap(_) | Response::KeepAlive(_) => {}
            }
        }
        None
    }

    /// As a stream of messages. Each is asked for when the client has taken the one before; until then it is in memory, and
    /// charged for. Where there is little room messages are small.
    pub(in crate::agent) fn into_stream(self) -> impl futures_util::Stream<Item = ExecResponse> + Send {
        futures_util::stream::unfold(self, |mut follower| async move {
            let reserve = if follower.starter { 0 } else { RESERVE };
            follower.charge.set(reserve);
            let largest = if follower.starter { usize::MAX } else { WATCHER_MESSAGE };
            let most = (follower.command.log.budget().free() / 64).max(SMALL_MESSAGE).min(largest);
            let response = follower.next(most).await?;
            if let Response::Output(output) = &response {
                follower.charge.set(reserve.max(output.data.len()));
            }
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
