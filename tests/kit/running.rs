//! A command whose stream is watched, and what is known of it in the end.

use super::{Clients, USUAL, show, v1, within, within::Limit, within_time};
use sandshell::api::v1::{
    AttachRequest, CloseStdin, ExecRequest, ExecResponse, ExecStart, Exited, Gap, RunResponse, TerminalSize,
    exec_request::Request, exec_response::Response, exited::Reason,
};
use std::{
    fmt,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// All that is known of a command that is over.
#[derive(Clone, Default)]
pub struct Finished {
    /// Its id.
    pub command_id: String,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained.
    pub stderr: Vec<u8>,
    /// What it wrote to its terminal.
    pub terminal: Vec<u8>,
    /// How it ended.
    pub exited: Exited,
    /// What was missing.
    pub gaps: Vec<Gap>,
    /// Where `Run` cut stdout and stderr.
    pub truncated: (Option<i64>, Option<i64>),
}

/// What takes output as it comes.
pub type Sink = Box<dyn FnMut(v1::Stream, &[u8]) + Send>;

/// A command whose stream is open.
pub struct Running {
    input: Option<mpsc::Sender<ExecRequest>>,
    responses: Streaming<ExecResponse>,
    /// What came so far. `exited` counts only when `ended`.
    pub got: Finished,
    /// Whether `exited` came.
    pub ended: bool,
    /// When each piece of output came, and in which stream.
    pub pieces: Vec<(Instant, v1::Stream, Vec<u8>)>,
    /// Takes output instead of `got` and `pieces`, for output too long to keep.
    pub sink: Option<Sink>,
    /// How much input the command had when it was started, or started again.
    pub stdin_offset: i64,
    offsets: [i64; 4],
}

impl Finished {
    /// Stdout as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Stderr as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Terminal output as text.
    pub fn tty(&self) -> String {
        String::from_utf8_lossy(&self.terminal).into_owned()
    }

    /// `$?`.
    pub fn exit_code(&self) -> i32 {
        self.exited.exit_code
    }

    /// Why it ended.
    pub fn reason(&self) -> Reason {
        self.exited.reason()
    }

    /// Fails unless it printed exactly this and exited so, of itself, with the shell alive.
    #[track_caller]
    pub fn expect(&self, stdout: impl AsRef<[u8]>, stderr: impl AsRef<[u8]>, exit_code: i32) {
        let (stdout, stderr) = (stdout.as_ref(), stderr.as_ref());
        assert!(
            self.stdout == stdout
                && self.stderr == stderr
                && self.exit_code() == exit_code
                && self.reason() == Reason::Exited
                && self.exited.signal == 0
                && !self.exited.shell_exited,
            "wanted stdout {:?}, stderr {:?}, exit code {exit_code}, and got {self:?}",
            show(stdout),
            show(stderr)
        );
    }

    /// As [`Self::expect`], with some complaint on stderr and some exit code but 0. Nothing on stdout.
    #[track_caller]
    pub fn expect_complaint(&self) {
        assert!(
            self.stdout.is_empty()
                && !self.stderr.is_empty()
                && self.exit_code() != 0
                && self.reason() == Reason::Exited
                && !self.exited.shell_exited,
            "wanted only a message on stderr and a code that is not 0, with the shell alive, and got {self:?}"
        );
    }

    /// Fails unless the shell ended so.
    #[track_caller]
    pub fn expect_shell_exit(&self, exit_code: i32, signal: i32, generation: i64) {
        let e = &self.exited;
        assert!(
            e.exit_code == exit_code
                && e.signal == signal
                && e.shell_exited
                && e.generation == generation
                && self.reason() == Reason::ShellExited,
            "wanted the shell to end with code {exit_code}, signal {signal}, generation {generation}, and got {self:?}"
        );
    }
}

impl From<RunResponse> for Finished {
    fn from(r: RunResponse) -> Self {
        Self {
            command_id: r.command_id,
            stdout: r.stdout.to_vec(),
            stderr: r.stderr.to_vec(),
            terminal: r.terminal.to_vec(),
            exited: r.exited.expect("Run answers with `exited`"),
            truncated: (
                r.stdout_truncated.then_some(r.stdout_truncated_at),
                r.stderr_truncated.then_some(r.stderr_truncated_at),
            ),
            ..Default::default()
        }
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:?}, code {}, signal {}, shell_exited {}, generation {}, in {:?}, gaps {:?}, truncated {:?}",
            self.command_id,
            self.reason(),
            self.exited.exit_code,
            self.exited.signal,
            self.exited.shell_exited,
            self.exited.generation,
            self.exited.working_directory,
            self.gaps,
            self.truncated
        )?;
        for (name, bytes) in [("stdout", &self.stdout), ("stderr", &self.stderr), ("terminal", &self.terminal)] {
            if !bytes.is_empty() {
                write!(f, "\n  {name}: {}", show(bytes))?;
            }
        }
        Ok(())
    }
}

impl Running {
    /// Starts a command and waits for `started`.
    pub async fn start(clients: &Clients, start: ExecStart) -> Self {
        let shown = start.command.chars().take(200).collect::<String>();
        Self::try_start(clients, start).await.unwrap_or_else(|e| panic!("`{shown}` was refused: {e:?}"))
    }

    /// Starts a command and waits for `started`, or the refusal.
    pub async fn try_start(clients: &Clients, start: ExecStart) -> Result<Self, Status> {
        let (input, requests) = mpsc::channel(16);
        let from = start.resume_from.unwrap_or_default();
        let offsets = [0, from.stdout_offset, from.stderr_offset, from.terminal_offset];
        let first = ExecRequest { request: Some(Request::Start(start)) };
        input.send(first).await.expect("the channel is open");
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut sessions = clients.sessions.clone();
        let responses = within("an answer of Exec", sessions.exec(requests)).await?.into_inner();
        let mut running = Self::over(Some(input), responses, offsets);
        match within("`started`", running.responses.message()).await? {
            Some(ExecResponse { response: Some(Response::Started(started)) }) => {
                running.got.command_id = started.command_id;
                running.stdin_offset = started.stdin_offset;
            }
            other => panic!("the first message of Exec should be `started`, and is {other:?}"),
        }
        Ok(running)
    }

    /// Watches a command from the offsets asked for.
    pub async fn attach(clients: &Clients, request: AttachRequest) -> Self {
        Self::try_attach(clients, request.clone()).await.unwrap_or_else(|e| panic!("{request:?} was refused: {e:?}"))
    }

    /// Watches a command, or is refused.
    pub async fn try_attach(clients: &Clients, request: AttachRequest) -> Result<Self, Status> {
        let offsets = [0, request.stdout_offset, request.stderr_offset, request.terminal_offset];
        let responses = within("an answer of Attach", clients.sessions.clone().attach(request)).await?.into_inner();
        Ok(Self::over(None, responses, offsets))
    }

    fn over(input: Option<mpsc::Sender<ExecRequest>>, responses: Streaming<ExecResponse>, offsets: [i64; 4]) -> Self {
        let (pieces, sink, stdin_offset) = (Vec::new(), None, 0);
        Self { input, responses, got: Finished::default(), ended: false, pieces, sink, stdin_offset, offsets }
    }

    /// Sends one message.
    pub async fn send(&self, request: Request) {
        let message = ExecRequest { request: Some(request) };
        // An error means that the call is over; the answer says why.
        let _ = self.input.as_ref().expect("a stream with input").send(message).await;
    }

    /// Types.
    pub async fn stdin(&self, bytes: impl AsRef<[u8]>) {
        self.send(Request::Stdin(bytes.as_ref().to_vec().into())).await;
    }

    /// Ends the input.
    pub async fn close_stdin(&self) {
        self.send(Request::CloseStdin(CloseStdin {})).await;
    }

    /// Sends a signal to what runs in the foreground.
    pub async fn signal(&self, number: i32) {
        self.send(Request::Signal(number)).await;
    }

    /// Changes the terminal's size.
    pub async fn resize(&self, rows: u32, columns: u32) {
        self.send(Request::Resize(TerminalSize { rows, columns })).await;
    }

    /// The next message, taken into `got`; `None` at the end of the stream. Fails when an offset is not the one due.
    pub async fn next(&mut self) -> Result<Option<Response>, Status> {
        let Some(message) = self.responses.message().await? else { return Ok(None) };
        let response = message.response.expect("a response says something");
        match &response {
            Response::Started(started) => self.got.command_id.clone_from(&started.command_id),
            Response::Output(output) => {
                let due = &mut self.offsets[output.stream as usize];
                assert_eq!(output.offset, *due, "offset of the next piece of {:?}", output.stream());
                *due += output.data.len() as i64;
                if let Some(sink) = &mut self.sink {
                    sink(output.stream(), &output.data);
                    return Ok(Some(response));
                }
                let kept = match output.stream() {
                    v1::Stream::Stdout => &mut self.got.stdout,
                    v1::Stream::Stderr => &mut self.got.stderr,
                    v1::Stream::Terminal => &mut self.got.terminal,
                    v1::Stream::Unspecified => panic!("output of no stream: {output:?}"),
                };
                kept.extend_from_slice(&output.data);
                self.pieces.push((Instant::now(), output.stream(), output.data.to_vec()));
            }
            Response::Gap(gap) => {
                let due = &mut self.offsets[gap.stream as usize];
                assert_eq!(gap.from, *due, "a gap begins where the last piece ended");
                assert!(gap.to > gap.from, "a gap is not empty: {gap:?}");
                *due = gap.to;
                self.got.gaps.push(*gap);
            }
            Response::Exited(exited) => {
                assert!(!self.ended, "`exited` comes once");
                self.ended = true;
                self.got.exited = exited.clone();
            }
            Response::KeepAlive(_) => {}
        }
        Ok(Some(response))
    }

    /// Drops what comes back, as a client does that cancels its call. What it says ends when the returned half is dropped.
    pub fn lose(mut self) -> impl Sized {
        self.input.take()
    }

    /// Says that nothing more will be said, and goes on listening.
    pub fn say_no_more(&mut self) {
        self.input = None;
    }

    /// Reads on until what came is enough.
    pub async fn until(&mut self, what: &str, is_enough: impl FnMut(&Self) -> bool) {
        self.until_within(USUAL, what, is_enough).await;
    }

    /// Reads on until what came is enough.
    pub async fn until_within(&mut self, bound: Duration, what: &str, mut is_enough: impl FnMut(&Self) -> bool) {
        let mut limit = Limit::of(bound);
        while !is_enough(self) {
            match tokio::time::timeout_at(limit.at(), self.next()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => panic!("the stream ended before {what}; it had {:?}", self.got),
                Ok(Err(status)) => panic!("the stream broke before {what}: {status:?}; it had {:?}", self.got),
                Err(_) if limit.is_over() => panic!("waited {limit} for {what}; so far {:?}", self.got),
                Err(_) => {}
            }
        }
    }

    /// Reads on until stdout has this.
    pub async fn until_out(&mut self, needle: &str) {
        self.until(&format!("{needle:?} on stdout"), |r| contains(&r.got.stdout, needle)).await;
    }

    /// Reads on until the terminal shows this.
    pub async fn until_tty(&mut self, needle: &str) {
        self.until(&format!("{needle:?} on the terminal"), |r| contains(&r.got.terminal, needle)).await;
    }

    /// Reads to the end of the stream, which must have told how the command ended.
    pub async fn finish(self) -> Finished {
        self.finish_within(USUAL).await
    }

    /// As [`Self::finish`].
    pub async fn finish_within(mut self, bound: Duration) -> Finished {
        self.until_within(bound, "`exited`", |r| r.ended).await;
        let rest = async {
            loop {
                match self.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return,
                    Err(status) => panic!("after `exited` the stream broke: {status:?}"),
                }
            }
        };
        within_time(bound, "the end of the stream after `exited`", rest).await;
        self.got
    }

    /// Reads until the stream breaks, and says how.
    pub async fn broken(mut self) -> Status {
        within("the stream to break", async {
            loop {
                match self.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the stream should have been broken off, and ended well: {:?}", self.got),
                    Err(status) => return status,
                }
            }
        })
        .await
    }
}

/// Whether the bytes contain the text.
pub fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}
