//! Our own standard streams: raw bytes out, keys in, and a terminal that is given back as it was.

use super::error::CliError;
use crate::api::v1::{CloseStdin, ExecRequest, Output, Stream, TerminalSize, exec_request::Request};
use rustix::{
    event::{PollFd, PollFlags, poll},
    termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr},
};
use std::{io, thread};
use tokio::{
    io::{AsyncWriteExt, Stderr, Stdout},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Whether a person sits at both ends.
pub(super) fn is_interactive() -> bool {
    isatty(io::stdin()) && isatty(io::stdout())
}

/// The size of our terminal.
pub(super) fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| TerminalSize { rows: size.ws_row.into(), columns: size.ws_col.into() })
}

/// Our terminal in raw mode: every key goes to the sandbox. Dropping it, on whichever way out, restores the terminal.
pub(super) struct RawMode(Termios);

impl RawMode {
    pub(super) fn enter() -> io::Result<Self> {
        let original = tcgetattr(io::stdin())?;
        let mut raw = original.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self(original))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Reads our input until its end. On a thread of its own that nobody waits for, because a read of a terminal cannot be
/// called off.
pub(super) fn read_input(requests: mpsc::Sender<ExecRequest>) {
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        loop {
            // A read that has begun in one mode of the terminal would not notice ^D in another, so none is begun before there is something.
            let stdin = io::stdin();
            let _ = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
            let request = match rustix::io::read(io::stdin(), &mut buffer) {
                Ok(0) => Request::CloseStdin(CloseStdin {}),
                Ok(count) => Request::Stdin(bytes::Bytes::copy_from_slice(&buffer[..count])),
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => Request::CloseStdin(CloseStdin {}),
            };
            let last = matches!(request, Request::CloseStdin(_));
            if requests.blocking_send(ExecRequest { request: Some(request) }).is_err() || last {
                return;
            }
        }
    });
}

/// Bytes of each output that are collected.
const MOST_COLLECTED: usize = 16 << 20;

/// Where a command's output goes: to our standard output and error, or into memory.
pub(super) struct Outputs {
    stdout: Stdout,
    stderr: Stderr,
    collected: Option<Collected>,
}

/// What a command has printed, the first 16 MiB of each output.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// Its standard output.
    pub(super) stdout: Vec<u8>,
    /// Its standard error.
    pub(super) stderr: Vec<u8>,
    /// Whether there was more of its standard output.
    pub(super) stdout_truncated: bool,
    /// Whether there was more of its standard error.
    pub(super) stderr_truncated: bool,
}

impl Collected {
    fn add(&mut self, output: &Output) {
        let (kept, truncated) = match output.stream() {
            Stream::Stderr => (&mut self.stderr, &mut self.stderr_truncated),
            Stream::Stdout | Stream::Terminal | Stream::Unspecified => (&mut self.stdout, &mut self.stdout_truncated),
        };
        let room = MOST_COLLECTED.saturating_sub(kept.len());
        *truncated |= output.data.len() > room;
        kept.extend_from_slice(&output.data[..output.data.len().min(room)]);
    }
}

impl Outputs {
    pub(super) fn new() -> Self {
        Self { stdout: tokio::io::stdout(), stderr: tokio::io::stderr(), collected: None }
    }

    /// Keeps what is written for [`Self::take`].
    pub(super) fn collect() -> Self {
        Self { collected: Some(Collected::default()), ..Self::new() }
    }

    /// What was written since the last time, if it is collected.
    pub(super) fn take(&mut self) -> Option<Collected> {
        self.collected.as_mut().map(std::mem::take)
    }

    /// Writes bytes as they are. With `terminal`, what the command wrote to its terminal goes to our standard output, else to our
    /// standard error.
    pub(super) async fn write(&mut self, output: &Output, terminal: bool) -> io::Result<()> {
        if let Some(collected) = &mut self.collected {
            collected.add(output);
            Ok(())
        } else if output.stream() == Stream::Stdout || terminal && output.stream() == Stream::Terminal {
            self.stdout.write_all(&output.data).await?;
            self.stdout.flush().await
        } else {
            self.stderr.write_all(&output.data).await?;
            self.stderr.flush().await
        }
    }
}

/// Tells the sandbox each new size of our terminal. Only ends when that cannot be heard of.
pub(super) async fn resizes(requests: mpsc::Sender<ExecRequest>) -> CliError {
    let mut changes = match signal(SignalKind::window_change()) {
        Ok(changes) => changes,
        Err(source) => return CliError::io("listen to signals", source),
    };
    while changes.recv().await.is_some() {
        if let Some(size) = size()
            && is_interactive()
        {
            let _ = requests.send(ExecRequest { request: Some(Request::Resize(size)) }).await;
        }
    }
    std::future::pending().await
}
