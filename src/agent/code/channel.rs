//! The line to an interpreter that is kept: one JSON object each way is a line.

use super::super::output::{Budget, Charge};
use crate::api::v1::{CodeError, CodeResult};
use base64::Engine;
use bytes::{Buf, Bytes};
use serde::Deserialize;
use std::{collections::HashMap, io, os::fd::OwnedFd, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The longest line that is taken. The driver's own bounds are far below it, but code could write there too.
const LONGEST_LINE: usize = 24 << 20;

/// What an interpreter says.
#[derive(Debug)]
pub(super) enum Said {
    /// A value.
    Result(CodeResult),
    /// An exception.
    Error(CodeError),
    /// The code is over.
    Done,
}

/// The agent's end.
pub(super) struct Channel {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    /// Code on its way.
    pending: Bytes,
    line: Vec<u8>,
    /// So much of it has no end of line in it.
    searched: usize,
    /// For what is in `line`.
    charge: Charge,
    /// Whether the line was too long, or there was no room for it, so that the rest of it is dropped.
    dropping: bool,
}

impl Channel {
    /// Both ends. The other one is for the interpreter.
    pub(super) fn pair(budget: &Arc<Budget>) -> io::Result<(Self, OwnedFd)> {
        let (own, theirs) = std::os::unix::net::UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(own)?.into_split();
        let (pending, line, charge) = (Bytes::new(), Vec::new(), budget.nothing());
        Ok((Self { read, write, pending, line, searched: 0, charge, dropping: false }, theirs.into()))
    }

    /// Gives it code. The one before was taken. After the last one the interpreter ends by itself.
    pub(super) fn give(&mut self, code: &str, is_last: bool) {
        let mut line = serde_json::json!({ "code": code, "last": is_last }).to_string();
        line.push('\n');
        self.pending = line.into();
    }

    /// What it says next; `None` when it has closed its end. Code that is on its way goes on meanwhile. May be cancelled
    /// without loss.
    pub(super) async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some(said) = self.take_line() {
                return Some(said);
            }
            tokio::select! {
                read = self.read.read_buf(&mut self.line) => match read {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => self.bound(),
                },
                written = self.write.write(&self.pending), if !self.pending.is_empty() => match written {
                    Ok(written) => self.pending.advance(written),
                    Err(_) => self.pending.clear(),
                },
            }
        }
    }

    /// Keeps what is read of a line within bounds.
    fn bound(&mut self) {
        let more = self.line.len().saturating_sub(self.charge.bytes());
        if self.line.len() > LONGEST_LINE || !self.charge.try_grow(more) {
            self.dropping = true;
        }
        if self.dropping {
            let end = self.line.iter().position(|byte| *byte == b'\n').unwrap_or(self.line.len());
            self.line.drain(..end);
            self.searched = 0;
            self.line.shrink_to(1 << 16);
            self.charge.set(self.line.len());
        }
    }

    fn take_line(&mut self) -> Option<Said> {
        loop {
            let found = self.line[self.searched..].iter().position(|byte| *byte == b'\n');
            let Some(end) = found.map(|at| self.searched + at) else {
                self.searched = self.line.len();
                return None;
            };
            self.searched = 0;
            let line: Vec<u8> = self.line.drain(..=end).collect();
            self.line.shrink_to(1 << 16);
            self.charge.set(self.line.len());
            if std::mem::take(&mut self.dropping) {
                return Some(Said::Error(CodeError {
                    name: "ResultTooLarge".to_owned(),
                    message: "a result is larger than the sandbox's agent has room for".to_owned(),
                    traceback: String::new(),
                }));
            }
            // What is no message of the driver's was written there by the code itself, and means nothing.
            if let Ok(message) = serde_json::from_slice::<Message>(&line)
                && let Some(said) = message.said()
            {
                return Some(said);
            }
        }
    }
}

#[derive(Deserialize)]
struct Message {
    result: Option<Value>,
    error: Option<Mistake>,
    #[serde(default)]
    done: bool,
}

#[derive(Deserialize)]
struct Value {
    text: String,
    data: HashMap<String, String>,
    is_main: bool,
    left_out: Vec<String>,
}

#[derive(Deserialize)]
struct Mistake {
    name: String,
    message: String,
    traceback: String,
}

impl Message {
    fn said(self) -> Option<Said> {
        if let Some(Value { text, data, is_main, left_out }) = self.result {
            let bytes = |data: String| base64::engine::general_purpose::STANDARD.decode(data).ok().map(Bytes::from);
            let data = data.into_iter().filter_map(|(kind, data)| Some((kind, bytes(data)?))).collect();
            return Some(Said::Result(CodeResult { text, data, is_main, left_out }));
        }
        if let Some(Mistake { name, message, traceback }) = self.error {
            return Some(Said::Error(CodeError { name, message, traceback }));
        }
        self.done.then_some(Said::Done)
    }
}
