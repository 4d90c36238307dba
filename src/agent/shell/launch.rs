//! How a shell is found and started.

use super::{
    Event, Holder, Keeper, NotRestored, Private, Report, Reports, Saved, Shell, Terminal,
    dialect::{self, Dialect},
    fifo::{Fifo, ReadEnd},
    holder,
    saved::Kind,
    sys::{Descriptors, Identity, Image},
    text::TextFile,
};
use crate::agent::{environment::Variables, users::User};
use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A shell that does not say that it is ready by then never will.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A shell whose user's start-up files run may take longer.
const LOGIN_READY_WITHIN: Duration = Duration::from_secs(60);

/// How a shell is started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// Its program.
    pub(crate) program: PathBuf,
    dialect: Dialect,
    name: String,
    /// What it starts with.
    pub(crate) environment: Variables,
    /// Whether it reads the user's start-up files.
    pub(crate) login: bool,
    /// Where the session's private directory is.
    pub(crate) private: Private,
    /// Whose shell it is, if not the agent's own user's.
    pub(crate) user: Option<Arc<User>>,
}

/// Why a shell could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// There is no such program, or it is no shell that we know.
    #[error("{0}")]
    Unknown(String),
    /// The system refused something.
    #[error("{0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// The shell ended before it was ready.
    #[error("the shell ended before it was ready")]
    Ended,
    /// The shell did not get ready in time.
    #[error("the shell was not ready within {0:?}")]
    Slow(Duration),
    /// Nobody wants it any more.
    #[error("the start was given up")]
    GivenUp,
}

impl Launch {
    /// Finds the shell that a user means.
    pub(crate) fn new(shell: &str, environment: Variables, login: bool, private: Private) -> Result<Self, LaunchError> {
        let path = environment.get("PATH").map_or("", String::as_str);
        let program = find_program(shell, path)
            .ok_or_else(|| LaunchError::Unknown(format!("there is no \"{shell}\" in this sandbox{}", choices(path))))?;
        let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // `/bin/sh` may be a link to any of them; the name that a user gave decides when it is one itself.
        let target = fs::canonicalize(&program).unwrap_or_else(|_| program.clone());
        let dialect = Dialect::of(&target).or_else(|| Dialect::of(&program)).ok_or_else(|| {
            LaunchError::Unknown(format!("\"{shell}\" is not a shell that sessions can use{}", choices(path)))
        })?;
        Ok(Self { program, dialect, name, environment, login, private, user: None })
    }

    /// The same as another user.
    pub(crate) fn run_by(mut self, user: &Arc<User>) -> Self {
        self.private = self.private.owned_by(user.uid, user.gid);
        self.user = Some(Arc::clone(user));
        self
    }

    /// What of a shell's state its programs see, without these variables.
    pub(crate) fn seen_by_programs(&self, saved: Saved, but: &Variables) -> Saved {
        let Saved { directory, mut items, lost } = saved;
        items.retain(|item| {
            let exported = matches!(item.kind, Kind::Exported | Kind::Umask);
            let label = self.dialect.label(item.kind, &item.text);
            exported
                && !label
                    .is_some_and(|label| label.strip_prefix("variable ").is_some_and(|name| but.contains_key(name)))
        });
        Saved { directory, items, lost }
    }

    /// The same with another environment.
    pub(crate) fn with_environment(self, environment: Variables) -> Self {
        Self { environment, ..self }
    }

    /// Starts the shell in `start_in`, and has it restore what an earlier one saved. When `given_up` comes first, or
    /// anything fails, everything that was started has ended before this returns.
    pub(crate) async fn start(
        &self,
        start_in: &Path,
        saved: Option<&Saved>,
        given_up: impl Future<Output = ()>,
    ) -> Result<(Shell, Holder), LaunchError> {
        let (mut shell, mut holder) =
            self.spawn(start_in).map_err(|error| LaunchError::System("start the shell", error))?;
        let within = if self.login { LOGIN_READY_WITHIN } else { READY_WITHIN };
        let ready = tokio::time::timeout(within, self.ready(&mut shell, &mut holder, saved));
        let outcome = tokio::select! {
            outcome = ready => outcome.unwrap_or(Err(LaunchError::Slow(within))),
            () = given_up => Err(LaunchError::GivenUp),
        };
        match outcome {
            Ok(()) => Ok((shell, holder)),
            Err(error) => {
                holder.end().await;
                Err(error)
            }
        }
    }

    fn spawn(&self, start_in: &Path) -> io::Result<(Shell, Holder)> {
        let directory = self.private.make()?;
        self.dialect.write_scripts(&directory)?;
        // The FIFOs keep their names for the life of the shell, so their placeholders stay open with the reading ends.
        let status = Fifo::create(&directory, dialect::STATUS)?;
        let saved = Fifo::create(&directory, dialect::SAVED)?;
        let (input, control) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (own_output, output) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (own_error, error) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(control.as_fd(), true)?;
        let terminal = Terminal::open()?;
        if let Some(user) = &self.user {
            terminal.give(user.uid)?;
        }
        let (events, report) = holder::report_pipe()?;
        // Kept, so that the pipes never end while they are watched, whatever the user closes.
        let own_ends = [rustix::io::fcntl_dupfd_cloexec(&output, 0)?, rustix::io::fcntl_dupfd_cloexec(&error, 0)?];
        let descriptors = Descriptors { input, output, error, terminal: terminal.device()?, events: report };
        let holder = Holder::start(&self.image(start_in)?, descriptors, events)?;
        let shell = Shell {
            dialect: self.dialect,
            directory,
            control,
            text: TextFile::default(),
            reports: Reports::new(status),
            keeper: Keeper::new(saved, self.dialect),
            own_output: ReadEnd::new(own_output)?,
            own_error: ReadEnd::new(own_error)?,
            own_ends,
            spare: Vec::new(),
            not_restored: NotRestored::default(),
            terminal,
            pid: 0,
            // Random, so that nothing inside can guess a tag and end a command before its time.
            last_tag: uuid::Uuid::new_v4().as_u64_pair().0,
            taken: dialect::Taken::default(),
            told: super::Told::default(),
        };
        Ok((shell, holder))
    }

    /// Waits until the shell runs, sets it up, and waits until it says so.
    async fn ready(&self, shell: &mut Shell, holder: &mut Holder, saved: Option<&Saved>) -> Result<(), LaunchError> {
        let system = |what| move |error| LaunchError::System(what, error);
        match holder.event().await.map_err(system("watch the shell"))? {
            Event::Started(pid) => (shell.pid, shell.reports.pid) = (pid, pid),
            Event::Failed(error) => return Err(LaunchError::System("execute the shell", error)),
            Event::Ended(_) | Event::Gone => return Err(LaunchError::Ended),
        }
        let tag = shell.next_tag();
        let mut lines = self.dialect.setup(shell.directory.path());
        if self.login {
            lines += &self.dialect.login();
        }
        shell.say(&lines).map_err(system("set the shell up"))?;
        // Last, so that what the user has set is not set anew.
        let labels = match saved {
            Some(saved) => shell.restore(saved).map_err(system("restore the state"))?,
            None => Vec::new(),
        };
        let report = self.dialect.report(tag, shell.directory.path());
        shell.say(&report).map_err(system("set the shell up"))?;
        loop {
            tokio::select! {
                report = shell.reports.next() => {
                    if matches!(report.map_err(system("read the shell's report"))?, Report::Done { tag: done, .. } if done == tag) {
                        if let Some(saved) = saved {
                            shell.restored(saved, &labels);
                        }
                        return Ok(());
                    }
                }
                // It says which pieces of a state have failed, and there may be many.
                more = shell.keeper.next() => drop(more.map_err(system("read what the shell says of its state"))?),
                event = holder.event() => match event.map_err(system("watch the shell"))? {
                    Event::Failed(error) => return Err(LaunchError::System("execute the shell", error)),
                    Event::Started(_) => {}
                    Event::Ended(_) | Event::Gone => return Err(LaunchError::Ended),
                },
            }
        }
    }

    fn image(&self, start_in: &Path) -> io::Result<Image> {
        let c = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
        Ok(Image {
            program: c(self.program.as_os_str().as_bytes())?,
            arguments: self
                .dialect
                .arguments(&self.name)
                .iter()
                .map(|argument| c(argument.as_bytes()))
                .collect::<io::Result<_>>()?,
            environment: self
                .environment
                .iter()
                // `PWD` keeps the symbolic links that the user went through: shells take it over when it is true.
                .chain([(&"PWD".to_owned(), &start_in.to_string_lossy().into_owned())])
                .map(|(name, value)| c(format!("{name}={value}").as_bytes()))
                .collect::<io::Result<_>>()?,
            directory: c(start_in.as_os_str().as_bytes())?,
            user: self.user.as_ref().map(|user| Identity { uid: user.uid, gid: user.gid, groups: user.groups.clone() }),
        })
    }
}

/// The program that a name means: a path, or a name to be looked for in `path`.
fn find_program(name: &str, path: &str) -> Option<PathBuf> {
    let executable = |candidate: &Path| {
        fs::metadata(candidate).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|program| program.is_absolute() && executable(program));
    }
    path.split(':').map(|directory| Path::new(directory).join(name)).find(|program| executable(program))
}

/// What a user could ask for instead.
fn choices(path: &str) -> String {
    let found: Vec<String> =
        dialect::KNOWN.iter().filter_map(|name| find_program(name, path)).map(|p| p.display().to_string()).collect();
    if found.is_empty() { "; it has no shell at all".into() } else { format!("; it has {}", found.join(", ")) }
}
