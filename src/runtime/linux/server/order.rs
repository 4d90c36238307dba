//! One order: what comes of it, told by the zygote and by the starter that carries it out.

use super::client::{Client, Zygote};
use crate::runtime::linux::{
    failure::{Failure, Step},
    wire::{Answer, Made, Order, Reply},
};
use std::{
    fs::File,
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    time::{Instant, sleep, timeout_at},
};

/// The longest answers: paths and a sentence.
const MAX_BYTES: usize = 1 << 20;
/// How long to wait before a send that would have blocked is tried again.
const RETRY: Duration = Duration::from_millis(2);
/// After which silence it is looked whether the zygote was stopped, and how often then.
const LOOK: Duration = Duration::from_millis(300);
/// How long a zygote may take to accept an order. It does nothing that takes long, but it may have to wait for a processor.
const ACCEPTED: Duration = Duration::from_secs(10);

/// What came of an order.
pub(super) enum Outcome {
    /// A starter has carried it out, or says why not.
    Done(Reply),
    /// Whoever had it has ended without a last word, and has made this.
    Lost(Made),
    /// It has taken too long. What was made may still be in use by a starter that does not come back.
    TooLong(Made),
}

/// Gives an order and waits for what comes of it, at most until then. A zygote that is gone or stuck is replaced, and gets the
/// order again unless the old one had accepted it.
pub(super) async fn carry_out(
    client: &Client,
    order: &Order,
    config: &File,
    until: Instant,
) -> Result<Outcome, Failure> {
    let mut zygote = client.zygote().await?;
    loop {
        if let Some(mut answers) = give(&zygote, order, config).await? {
            if answers.accepted(&zygote, until).await? {
                return answers.last(until).await;
            }
            let replaced = client.replace(&zygote).await;
            // It was killed: whether it had accepted the order before is certain now.
            if answers.accepted(&zygote, Instant::now() + LOOK).await? {
                return answers.last(until).await;
            }
            zygote = replaced?;
        } else {
            zygote = client.replace(&zygote).await?;
        }
        if Instant::now() >= until {
            return Ok(Outcome::TooLong(Made::default()));
        }
    }
}

/// Gives a zygote an order. `None` when it does not take it: it is gone or stuck.
async fn give(zygote: &Arc<Zygote>, order: &Order, config: &File) -> Result<Option<Answers>, Failure> {
    let began = Instant::now();
    loop {
        match zygote.order(order, config) {
            Ok(pipe) => return Answers::on(pipe).map(Some),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if began.elapsed() > ACCEPTED || (began.elapsed() > LOOK && zygote.is_stopped()) {
                    return Ok(None);
                }
                sleep(RETRY).await;
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN)) => {
                return Ok(None);
            }
            Err(error) => return Err(error).step("give an order to the zygote"),
        }
    }
}

/// The answers to one order.
struct Answers {
    pipe: Receiver,
    bytes: Vec<u8>,
    is_accepted: bool,
    is_over: bool,
    made: Made,
    reply: Option<Reply>,
}

impl Answers {
    fn on(pipe: OwnedFd) -> Result<Self, Failure> {
        let pipe = Receiver::from_owned_fd(pipe).step("wait for the starter")?;
        Ok(Self { pipe, bytes: Vec::new(), is_accepted: false, is_over: false, made: Made::default(), reply: None })
    }

    /// Waits until the zygote has accepted the order. `false` when it does not: it is gone or stuck.
    async fn accepted(&mut self, zygote: &Zygote, until: Instant) -> Result<bool, Failure> {
        let until = until.min(Instant::now() + ACCEPTED);
        while !self.is_accepted && !self.is_over {
            match timeout_at(until.min(Instant::now() + LOOK), self.more()).await {
                Ok(more) => more?,
                Err(_) if Instant::now() >= until || zygote.is_stopped() => break,
                Err(_) => {}
            }
        }
        Ok(self.is_accepted)
    }

    /// Waits for the end.
    async fn last(mut self, until: Instant) -> Result<Outcome, Failure> {
        while !self.is_over && self.reply.is_none() {
            match timeout_at(until, self.more()).await {
                Ok(more) => more?,
                Err(_) => return Ok(Outcome::TooLong(self.made)),
            }
        }
        Ok(self.reply.map_or(Outcome::Lost(self.made), Outcome::Done))
    }

    /// Reads what has come, waiting for it. Nothing is lost if this is dropped.
    async fn more(&mut self) -> Result<(), Failure> {
        if self.bytes.len() > MAX_BYTES {
            return Err(io::Error::from(ErrorKind::InvalidData)).step("read the starter's answer");
        }
        if self.pipe.read_buf(&mut self.bytes).await.step("wait for the starter")? == 0 {
            self.is_over = true;
        }
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            match serde_json::from_slice(&line).map_err(io::Error::from).step("read the starter's answer")? {
                Answer::Accepted => self.is_accepted = true,
                Answer::Taken(made) => self.made = made,
                Answer::Done(reply) => self.reply = Some(*reply),
            }
        }
        Ok(())
    }
}
