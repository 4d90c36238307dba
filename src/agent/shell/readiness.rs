//! How a new shell gets ready: it is set up, and reads the user's start-up files if that was asked for.
//!
//! It reports after each of these steps, so that a start-up file that ends, stops, replaces or holds up the shell is known
//! by its name.

use super::{
    Event, Halt, Holder, Image, Launch, Report, Saved, Shell,
    dialect::{NOTHING, RESTRICTED, StartUpFile},
    launch::LaunchError,
    processes,
};
use std::{io, path::PathBuf, time::Duration};
use tokio::time::Instant;

/// How long each step may take.
const STEP_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked whether the shell still is what it was.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What is kept of the shell's own words, for whoever asks why it did not start.
const MOST_WORDS: usize = 400;

/// What the shell does until it reports a tag.
struct Step {
    tag: u64,
    /// The start-up file that it reads, if it does.
    file: Option<String>,
}

/// What is known of a shell that gets ready.
#[derive(Default)]
struct Progress {
    steps: Vec<Step>,
    done: usize,
    /// What the shell was when it began with the start-up files.
    image: Option<Image>,
    words: Vec<u8>,
}

impl Launch {
    /// Waits until the shell runs, sets it up, and waits until it says so.
    pub(super) async fn ready(
        &self,
        shell: &mut Shell,
        holder: &mut Holder,
        saved: Option<&Saved>,
    ) -> Result<(), LaunchError> {
        let system = |what| move |error| LaunchError::System(what, error);
        match first_event(holder).await? {
            Event::Started(pid) => {
                shell.pid = pid;
                shell.reports.come_from(pid);
            }
            Event::Unprepared(error) => return Err(self.not_prepared(error)),
            Event::Failed(error) => return Err(LaunchError::not_executed(&self.program, error)),
            Event::Ended(_) | Event::Gone => return Err(LaunchError::killed()),
        }
        // bash takes functions from its environment.
        if self.login || self.environment.keys().any(|name| name.starts_with("BASH_FUNC_")) {
            shell.seen.note_other_code();
        }
        let setup = self.dialect.setup(shell.directory.path());
        say(shell, &setup)?;
        // Last, so that what the user has set is not set anew.
        let labels = match saved {
            Some(saved) => unless_ended(shell.restore(saved)).map_err(system("restore the state"))?,
            None => Vec::new(),
        };
        let mut progress = Progress::default();
        let mut lines = progress.step(shell, None, String::new());
        if self.login {
            shell.directory.write(NOTHING, b"").map_err(system("set the shell up"))?;
            for StartUpFile { names, line } in self.dialect.login(shell.directory.path()) {
                lines += &progress.step(shell, Some(self.first_of(names)), line);
            }
        }
        say(shell, &lines)?;
        match progress.wait(self, shell, holder).await {
            Err(LaunchError::Restricted(_)) => Err(self.restricted()),
            Ok(()) => {
                if let Some(saved) = saved {
                    shell.restored(saved, &labels);
                }
                Ok(())
            }
            other => other,
        }
    }

    /// The name of the first of these that is there, as a person would say it.
    fn first_of(&self, names: &[&str]) -> String {
        let variable = |name: &str| self.environment.get(name).filter(|value| !value.is_empty()).cloned();
        let home = variable("HOME").unwrap_or_default();
        let found = names.iter().find(|name| {
            let path = match name.strip_prefix("~/") {
                Some(rest) => PathBuf::from(&home).join(rest),
                None => PathBuf::from(name),
            };
            path.exists()
        });
        let name = found.or(names.first()).copied().unwrap_or_default();
        let zsh_home = variable("ZDOTDIR").unwrap_or_else(|| "~".to_owned());
        name.replace("${ZDOTDIR:-$HOME}", &zsh_home)
    }
}

fn say(shell: &mut Shell, lines: &str) -> Result<(), LaunchError> {
    unless_ended(shell.say(lines)).map_err(|error| LaunchError::System("set the shell up", error))
}

/// A shell that reads no lines any more has ended, or was never executed. Its holder says which, and why.
fn unless_ended<T: Default>(said: io::Result<T>) -> io::Result<T> {
    match said {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(T::default()),
        other => other,
    }
}

/// Waits for a holder's first event. Programs of other sessions may stop the holder before it has said anything.
async fn first_event(holder: &mut Holder) -> Result<Event, LaunchError> {
    let until = Instant::now() + STEP_WITHIN;
    while Instant::now() < until {
        match tokio::time::timeout(LOOK_EVERY, holder.event()).await {
            Ok(event) => return event.map_err(|error| LaunchError::System("watch the shell", error)),
            Err(_) => holder.wake(),
        }
    }
    Err(LaunchError::Slow(STEP_WITHIN, String::new()))
}

impl Progress {
    /// Adds a step that these lines are for. Returns them with the report at their end.
    fn step(&mut self, shell: &mut Shell, file: Option<String>, mut lines: String) -> String {
        let tag = shell.next_tag();
        lines += &shell.dialect.report(tag, shell.directory.path());
        self.steps.push(Step { tag, file });
        lines
    }

    async fn wait(mut self, launch: &Launch, shell: &mut Shell, holder: &mut Holder) -> Result<(), LaunchError> {
        let system = |what| move |error| LaunchError::System(what, error);
        let mut until = Instant::now() + STEP_WITHIN;
        let mut look_at = Instant::now() + LOOK_EVERY;
        while self.done < self.steps.len() {
            tokio::select! {
                biased;
                event = holder.event() => match event.map_err(system("watch the shell"))? {
                    Event::Unprepared(error) => return Err(launch.not_prepared(error)),
                    Event::Failed(error) => return Err(LaunchError::not_executed(&launch.program, error)),
                    Event::Started(_) => {}
                    Event::Ended(status) => return Err(self.ended(status, shell)),
                    Event::Gone => return Err(LaunchError::killed()),
                },
                report = shell.reports.next() => {
                    if self.take(&report.map_err(system("read the shell's report"))?) {
                        until = Instant::now() + STEP_WITHIN;
                        self.look(shell)?;
                    }
                }
                // It says which pieces of a state have failed, and there may be many.
                more = shell.keeper.next() => drop(more.map_err(system("read what the shell says of its state"))?),
                data = shell.own_error.data() => if let Ok(Some(data)) = data { self.note(&data) },
                data = shell.own_output.data() => if let Ok(Some(data)) = data { self.note(&data) },
                () = tokio::time::sleep_until(until) => return Err(match self.file() {
                    Some(file) => LaunchError::StartUp(format!("{file} did not end within {STEP_WITHIN:?}")),
                    None => LaunchError::Slow(STEP_WITHIN, self.words()),
                }),
                () = tokio::time::sleep_until(look_at) => {
                    look_at = Instant::now() + LOOK_EVERY;
                    holder.wake();
                    self.look(shell)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a report says that a step is done.
    fn take(&mut self, report: &Report) -> bool {
        let due = self.steps.get(self.done).map(|step| step.tag);
        let done = matches!(report, Report::Done { tag, .. } if Some(*tag) == due);
        self.done += usize::from(done);
        done
    }

    /// Takes what the shell reported before it came to what was just seen of it.
    fn take_all(&mut self, shell: &mut Shell) {
        for report in shell.reports.there() {
            self.take(&report);
        }
    }

    /// The start-up file that the shell reads now.
    fn file(&self) -> Option<&str> {
        self.steps.get(self.done).and_then(|step| step.file.as_deref())
    }

    /// Fails when a start-up file has stopped the shell or put another program in its place.
    fn look(&mut self, shell: &mut Shell) -> Result<(), LaunchError> {
        if self.file().is_none() {
            // These lines are ours and stop nobody: a program of an earlier shell, or of another session, has done it.
            shell.resume();
        }
        if self.done == 0 || self.steps.len() == 1 {
            return Ok(());
        }
        // Nobody is there to answer a question.
        if shell.terminal.is_waited_for() {
            shell.terminal.end_a_wait();
        } else {
            shell.terminal.set_answerable(false);
        }
        let image = processes::image(shell.pid).flatten();
        let stopped = processes::halted(shell.pid) == Some(Halt::Stopped);
        self.take_all(shell);
        let before = *self.image.get_or_insert_with(|| image.unwrap_or_default());
        let replaced = before != Image::default() && image.is_some_and(|image| image != before);
        match self.file() {
            Some(file) if replaced => {
                Err(LaunchError::StartUp(format!("{file} has replaced the shell by another program")))
            }
            Some(file) if stopped => Err(LaunchError::StartUp(format!("{file} has stopped the shell"))),
            _ => Ok(()),
        }
    }

    fn ended(&mut self, status: i32, shell: &mut Shell) -> LaunchError {
        for pipe in [&shell.own_error, &shell.own_output] {
            pipe.take_what_is_there(|data| self.note(&data));
        }
        self.take_all(shell);
        match self.file() {
            Some(file) if libc::WIFEXITED(status) => {
                LaunchError::StartUp(format!("{file} has ended the shell with exit code {}", libc::WEXITSTATUS(status)))
            }
            Some(file) => {
                LaunchError::StartUp(format!("signal {} has ended the shell in {file}", libc::WTERMSIG(status)))
            }
            None if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == RESTRICTED => {
                LaunchError::Restricted(String::new())
            }
            None => LaunchError::Ended(status, self.words()),
        }
    }

    /// Keeps the beginning of what the shell says.
    fn note(&mut self, data: &[u8]) {
        let room = MOST_WORDS.saturating_sub(self.words.len());
        self.words.extend_from_slice(&data[..room.min(data.len())]);
    }

    fn words(&self) -> String {
        let words = String::from_utf8_lossy(&self.words);
        let words: String = words.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if words.is_empty() { words } else { format!("; it says: {words}") }
    }
}
