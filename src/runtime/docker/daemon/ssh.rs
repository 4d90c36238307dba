//! SSH to a daemon, as Docker's own tools do it: for each connection `ssh` runs `docker system dial-stdio` over there, which
//! carries bytes between its standard streams and the daemon's socket. Keys, known hosts and everything else are what `ssh`
//! finds in its own configuration.

use super::place::SshAddress;
use crate::{descriptors, runtime::BoxedStream};
use std::{
    io,
    pin::Pin,
    process::Stdio,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{Semaphore, oneshot},
    time::timeout,
};

/// Logins under way at one time: sshd turns away every third of more than ten (`MaxStartups`).
const AT_ONCE: usize = 8;
/// How long a login may hold the others up.
const LOGIN: Duration = Duration::from_secs(10);
/// Seconds until `ssh` gives up a host that is silent.
const CONNECT_TIMEOUT: u32 = 15;
/// How long to wait for what `ssh` says about its end: something that it started may hold its error stream open.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of that.
const LAST_WORDS_BYTES: u64 = 2000;

/// The way to a daemon. Clones share the turns to log in.
#[derive(Clone)]
pub(super) struct Ssh {
    address: Arc<SshAddress>,
    turns: Arc<Semaphore>,
}

impl Ssh {
    pub(super) fn new(address: SshAddress) -> Self {
        Self { address: Arc::new(address), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Starts a connection. That nobody is let in is only known when it is read from.
    pub(super) async fn connect(&self) -> io::Result<BoxedStream> {
        let turn = self.turns.clone().acquire_owned().await.map_err(io::Error::other)?;
        let mut command = Command::new("ssh");
        descriptors::as_given(command.as_std_mut());
        let mut child = command
            .args(arguments(&self.address))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A key on the keyboard is for us alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("ssh: {error}; install OpenSSH's client")))?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // The turn is over with the daemon's first word, or after a while: a connection in reserve may get none.
        let (waits, first_word) = oneshot::channel();
        tokio::spawn(async move {
            let _ = timeout(LOGIN, first_word).await;
            drop(turn);
        });
        let errors = Some(errors);
        Ok(Box::pin(Connection { input: Some(input), output, errors, end: None, waits: Some(waits), _child: child }))
    }
}

fn arguments(address: &SshAddress) -> Vec<String> {
    // Nobody is there to be asked for a password.
    let mut arguments = ["-T", "-o", "BatchMode=yes", "-o"].map(str::to_owned).to_vec();
    arguments.push(format!("ConnectTimeout={CONNECT_TIMEOUT}"));
    if let Some(user) = &address.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = address.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--", &address.host, "docker"].map(str::to_owned));
    arguments.extend(address.socket.iter().map(|path| format!("--host=unix://{path}")));
    arguments.extend(["system", "dial-stdio"].map(str::to_owned));
    arguments
}

/// The standard streams of an `ssh`, which ends with this.
struct Connection {
    /// Gone once nothing more will be sent.
    input: Option<ChildStdin>,
    output: ChildStdout,
    errors: Option<ChildStderr>,
    /// Under way when it ended without a word of the daemon's.
    end: Option<Pin<Box<dyn Future<Output = String> + Send>>>,
    /// There until the daemon's first word.
    waits: Option<oneshot::Sender<()>>,
    _child: Child,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.end.is_none() {
            let before = into.filled().len();
            ready!(Pin::new(&mut this.output).poll_read(cx, into))?;
            if into.filled().len() > before {
                this.waits = None;
            }
            if this.waits.is_none() || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let Some(errors) = this.errors.take() else { return Poll::Ready(Ok(())) };
            this.end = Some(Box::pin(last_words(errors)));
        }
        let Some(end) = &mut this.end else { return Poll::Ready(Ok(())) };
        let said = ready!(end.as_mut().poll(cx));
        (this.end, this.waits) = (None, None);
        Poll::Ready(Err(io::Error::other(if said.is_empty() { "ssh ended without a word".to_owned() } else { said })))
    }
}

/// What an `ssh` that failed says, or the shell or `docker` over there.
async fn last_words(mut errors: ChildStderr) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(LAST_WORDS, (&mut errors).take(LAST_WORDS_BYTES).read_to_end(&mut bytes)).await;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().map_or(Poll::Ready(Ok(())), |input| Pin::new(input).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A pipe is shut by closing it.
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_told_what_the_address_says() {
        let address = SshAddress {
            user: Some("me".into()),
            host: "h".into(),
            port: Some(2222),
            socket: Some("/run/user/1000/docker.sock".into()),
        };
        assert_eq!(
            arguments(&address).join(" "),
            "-T -o BatchMode=yes -o ConnectTimeout=15 -l me -p 2222 -- h docker \
             --host=unix:///run/user/1000/docker.sock system dial-stdio"
        );
        let address = SshAddress { user: None, host: "h".into(), port: None, socket: None };
        assert!(arguments(&address).join(" ").ends_with("-o ConnectTimeout=15 -- h docker system dial-stdio"));
    }
}
