//! A command's own variables and directory: the driver has the shell take them on before the command, and put back what
//! was there after it, whatever became of the command. A shell that ended meanwhile is followed by one that is told the same.

use super::Driver;
use crate::agent::{
    command::running::ShellEnd,
    shell::{self, Asked, Before, Event, Loan, MOST_KEPT, Report},
};
use std::{io, path::PathBuf, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a shell may take for a few lines of ours. One that is not through by then will never be.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How often the shell and its holder are looked after meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long the holder of a shell that was killed may take to say so.
const HOLDER_GRACE: Duration = Duration::from_millis(500);

/// What came of the attempt to give a command what it asked for.
pub(in crate::agent) enum Lent {
    /// The shell has it, and this is to be put back.
    Yes(Before),
    /// It cannot be had, and why. Nothing of it is left.
    No(String),
    /// The shell ended over it.
    ShellEnded,
}

/// What a shell answered to a script.
struct Answer {
    /// Whether all of it was done.
    done: bool,
    /// Where the shell was after it.
    directory: PathBuf,
    printed: Vec<u8>,
}

impl Driver {
    /// Gives the shell what a command asks for.
    pub(in crate::agent) async fn lend(&mut self, loan: &Loan) -> Lent {
        if let Some(name) = self.shell.refuses(loan) {
            return Lent::No(format!("in this shell the variable {name} says whose process it is"));
        }
        match self.try_to_lend(loan).await {
            Ok(lent) => lent,
            Err(error) => Lent::No(error.to_string()),
        }
    }

    async fn try_to_lend(&mut self, loan: &Loan) -> io::Result<Lent> {
        self.shell.repair()?;
        // One that is stopped would not answer.
        self.holder.wake();
        self.shell.resume();
        let asked = self.shell.look(loan)?;
        let Some(looked) = self.answer(asked).await else { return Ok(Lent::ShellEnded) };
        let Some(before) = self.shell.before(loan, &looked.printed, &looked.directory) else {
            return Ok(Lent::No("the shell does not say what its variables are".to_owned()));
        };
        let asked = self.shell.lend(loan, &before)?;
        let Some(lent) = self.answer(asked).await else { return Ok(Lent::ShellEnded) };
        if lent.done {
            return Ok(Lent::Yes(before));
        }
        if self.reclaim(&before).await.is_none() {
            return Ok(Lent::ShellEnded);
        }
        let why = match &loan.directory {
            // Tried by the agent itself, which may go where another user may not.
            Some(directory) => match std::fs::metadata(directory) {
                Err(error) => format!("its working directory {directory:?} cannot be entered: {error}"),
                Ok(_) => {
                    format!("a variable of it is readonly, or its working directory {directory:?} cannot be entered")
                }
            },
            None => "one of its variables is readonly in this session".to_owned(),
        };
        Ok(Lent::No(why))
    }

    /// Has the shell put back what it had. Returns where it is then; `None` when it ended.
    pub(in crate::agent) async fn reclaim(&mut self, before: &Before) -> Option<PathBuf> {
        let asked = match self.shell.repair().and_then(|()| self.shell.reclaim(before)) {
            Ok(asked) => asked,
            Err(error) => {
                tracing::warn!(%error, "a shell could not be told what to put back; it is replaced");
                shell::kill(self.shell.pid, libc::SIGKILL);
                self.wait_for_end().await;
                return None;
            }
        };
        self.answer(asked).await.map(|answer| answer.directory)
    }

    /// Has the shell save its state now. False when it ended.
    pub(in crate::agent) async fn save_now(&mut self) -> io::Result<bool> {
        self.shell.repair()?;
        let over = self.shell.save()?.saved;
        let answered = self.answer(Asked { done: over, over, printed: None }).await.is_some();
        if let Some(saved) = self.shell.keeper.take() {
            self.saved = Some(saved);
        }
        Ok(answered)
    }

    /// Waits until the shell is through with a script. `None` when it ended.
    async fn answer(&mut self, asked: Asked) -> Option<Answer> {
        let Asked { done: done_tag, over, printed } = asked;
        let until = Instant::now() + ANSWERS_WITHIN;
        let (mut done, mut text) = (false, Vec::new());
        let directory = loop {
            let step = async {
                tokio::select! {
                    // What it prints before what it reports, so that nothing is missing when that comes.
                    biased;
                    event = self.holder.event() => match event {
                        Ok(Event::Started(_) | Event::Unprepared(_) | Event::Failed(_)) => Step::Nothing,
                        Ok(Event::Ended(_) | Event::Gone) | Err(_) => Step::Ended,
                    },
                    data = next(&printed), if printed.is_some() => match data {
                        Ok(Some(data)) => Step::Printed(data),
                        Ok(None) | Err(_) => Step::Nothing,
                    },
                    report = self.shell.reports.next() => match report {
                        Ok(Report::Done { tag, directory, .. }) if tag == over => Step::Over(directory),
                        Ok(Report::Done { tag, .. }) if tag == done_tag => Step::Done,
                        Ok(_) => Step::Nothing,
                        Err(_) => Step::Deaf,
                    },
                    saved = self.shell.keeper.next() => {
                        if let Ok(Some(saved)) = saved {
                            self.saved = Some(saved);
                        }
                        Step::Nothing
                    }
                    _ = self.shell.own_output.data() => Step::Nothing,
                    _ = self.shell.own_error.data() => Step::Nothing,
                }
            };
            match timeout_at(until.min(Instant::now() + LOOK_EVERY), step).await {
                Ok(Step::Nothing) => {}
                Ok(Step::Printed(data)) if text.len() + data.len() <= MOST_KEPT => text.extend_from_slice(&data),
                // It is not whole then, and not taken.
                Ok(Step::Printed(_)) => {}
                Ok(Step::Done) => done = true,
                Ok(Step::Over(directory)) => break directory,
                Ok(Step::Ended) => return None,
                // A program of another session may have stopped them.
                Err(_) if Instant::now() < until => {
                    self.holder.wake();
                    self.shell.resume();
                }
                // It reads no lines, or cannot be heard.
                Ok(Step::Deaf) | Err(_) => {
                    shell::kill(self.shell.pid, libc::SIGKILL);
                    self.wait_for_end().await;
                    return None;
                }
            }
        };
        if let Some(pipe) = printed {
            pipe.reader.take_what_is_there(|data| text.extend_from_slice(&data));
        }
        self.shell.errand_over();
        Some(Answer { done, directory, printed: text })
    }

    /// Waits until the holder says that a shell that was killed has ended; it is abandoned when it does not.
    async fn wait_for_end(&mut self) -> ShellEnd {
        self.holder.wake();
        let ended = async {
            while let Ok(Event::Started(_) | Event::Unprepared(_) | Event::Failed(_)) = self.holder.event().await {}
        };
        if timeout(HOLDER_GRACE, ended).await.is_err() {
            self.holder.abandon();
        }
        ShellEnd::killed()
    }
}

/// What happens while a shell runs a script.
enum Step {
    Nothing,
    Printed(bytes::Bytes),
    Done,
    Over(PathBuf),
    Ended,
    Deaf,
}

async fn next(printed: &Option<shell::Fifo>) -> io::Result<Option<bytes::Bytes>> {
    match printed {
        Some(pipe) => pipe.reader.data().await,
        None => std::future::pending().await,
    }
}
