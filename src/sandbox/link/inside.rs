//! What the server itself does in a sandbox, on nobody's behalf: it brings files in and runs programs.

use super::Link;
use crate::{
    api::v1::{
        CreateSessionRequest, ExecStart, ImportOpen, ImportRequest, RunRequest, exec_start::Target,
        exited::Reason as End, import_request,
    },
    error::{Error, Reason, Result},
};
use std::{error::Error as _, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// What is kept of what a program prints, and what is told of it.
const MOST_OUTPUT: i64 = 64 << 10;
const TOLD: usize = 2000;

/// More than its own time, for a program that must be killed, and for an agent that is slow.
const GRACE: Duration = Duration::from_secs(30);

/// What became of a program.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Ran {
    pub(in crate::sandbox) exit_code: i32,
    pub(in crate::sandbox) is_timed_out: bool,
    /// The end of what it printed.
    pub(in crate::sandbox) output: String,
}

impl Ran {
    pub(in crate::sandbox) fn is_success(&self) -> bool {
        self.exit_code == 0 && !self.is_timed_out
    }
}

impl Link {
    /// Runs a program to its end, without input.
    pub(in crate::sandbox) async fn run(
        &self,
        argv: Vec<String>,
        directory: &str,
        user: &str,
        limit: Duration,
    ) -> Result<Ran> {
        let start = ExecStart {
            target: Some(Target::SandboxId(self.sandbox_id.clone())),
            argv,
            working_directory: directory.to_owned(),
            user: user.to_owned(),
            timeout: limit.max(Duration::from_millis(1)).try_into().ok(),
            merge_stderr: true,
            ..ExecStart::default()
        };
        let request = RunRequest { start: Some(start), max_output_bytes: MOST_OUTPUT, ..RunRequest::default() };
        let mut client = self.client().await?;
        let answer = tokio::time::timeout(limit + GRACE, client.run(request)).await;
        let answer = answer.map_err(|error| self.unreachable(error))?;
        let answer = answer.map_err(|status| self.unreachable(status))?.into_inner();
        let exited = answer.exited.unwrap_or_default();
        let output = String::from_utf8_lossy(&answer.stdout);
        let begin = output.char_indices().rev().nth(TOLD).map_or(0, |(at, _)| at);
        let exit_code = if exited.signal == 0 { exited.exit_code } else { 128 + exited.signal };
        let exit_code = if exit_code == 0 && exited.reason() != End::Exited { 1 } else { exit_code };
        Ok(Ran { exit_code, is_timed_out: exited.reason() == End::TimedOut, output: output[begin..].trim().to_owned() })
    }

    /// Unpacks an archive. The second error is what the sandbox, or whoever gives the archive, has against it.
    pub(in crate::sandbox) async fn import(
        &self,
        path: &str,
        mut pieces: mpsc::Receiver<std::result::Result<Vec<u8>, String>>,
    ) -> Result<std::result::Result<(), String>> {
        self.client().await?;
        let mut files = self.files()?;
        let (give, requests) = mpsc::channel(2);
        let open = ImportOpen {
            sandbox_id: self.sandbox_id.clone(),
            path: path.to_owned(),
            outside_links: true,
            max_bytes: i64::MAX,
            max_entries: i64::MAX,
            ..ImportOpen::default()
        };
        let feed = async move {
            let mut request = import_request::Request::Open(open);
            while give.send(ImportRequest { request: Some(request) }).await.is_ok() {
                match pieces.recv().await {
                    Some(Ok(piece)) => request = import_request::Request::Data(piece.into()),
                    // An archive that cannot be finished must not end in order.
                    Some(Err(why)) => return Some((why, give)),
                    None => {
                        // One empty message says that this was all.
                        let _ = give.send(ImportRequest::default()).await;
                        break;
                    }
                }
            }
            None
        };
        let call = files.import(ReceiverStream::new(requests));
        tokio::pin!(call, feed);
        let answer = tokio::select! {
            answer = &mut call => answer,
            cut_off = &mut feed => match cut_off {
                Some((why, _give)) => return Ok(Err(why)),
                None => call.await,
            },
        };
        match answer {
            Ok(_) => Ok(Ok(())),
            Err(status) if status.source().is_some() => Err(self.unreachable(status)),
            Err(status) => Ok(Err(status.message().to_owned())),
        }
    }

    /// Opens a session. Returns its id.
    pub(in crate::sandbox) async fn open_session(&self) -> Result<String> {
        let request = CreateSessionRequest { sandbox_id: self.sandbox_id.clone(), ..CreateSessionRequest::default() };
        match self.client().await?.create_session(request).await {
            Ok(session) => Ok(session.into_inner().session_id),
            Err(status) if status.source().is_some() => Err(self.unreachable(status)),
            Err(status) => {
                let message = format!("the sandbox's first session could not be opened: {}", status.message());
                Err(Error::WrongState { reason: Reason::ShellNotStarted, message })
            }
        }
    }
}
