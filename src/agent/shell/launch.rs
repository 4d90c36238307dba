//! How a shell is found and started.

use super::{
    Holder, Keeper, NotRestored, Private, Reports, Saved, Shell, Terminal,
    dialect::{self, Dialect},
    directory::Directory,
    environment::Variables,
    fifo::{Fifo, ReadEnd},
    missing,
    order::{Descriptors, Fourth, Identity, Image},
    saved::Kind,
    text::TextFile,
};
use crate::agent::{output::Budget, users::User};
use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How a shell is started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// Its program.
    pub(crate) program: PathBuf,
    pub(super) dialect: Dialect,
    name: String,
    /// What it starts with.
    pub(crate) environment: Variables,
    /// Whether it reads the user's start-up files.
    pub(crate) login: bool,
    /// Where the session's private directory is.
    pub(crate) private: Private,
    /// Whose shell it is, if not the agent's own user's.
    pub(crate) user: Option<Arc<User>>,
    /// Whether it starts where it is told or not at all. Otherwise it starts in `/` when its user may not enter the directory.
    pub(crate) only_there: bool,
    /// Whether no other shell comes after it, so that its state is not saved.
    pub(crate) is_last: bool,
    /// What its saved state is charged to.
    budget: Arc<Budget>,
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
    /// The sandbox lacks something that every shell needs.
    #[error("{0}")]
    Lacking(String),
    /// It is a restricted shell, which may not do what a session needs.
    #[error("{0}")]
    Restricted(String),
    /// The shell ended with this wait status before it was ready, and these were its words.
    #[error("the shell ended before it was ready ({how}){1}", how = show(*.0))]
    Ended(i32, String),
    /// It may not be in the directory that it is to start in.
    #[error("its user may not be in the working directory: {0}")]
    Directory(#[source] io::Error),
    /// The shell did not get ready in time, and these were its words.
    #[error("the shell was not ready within {0:?}{1}")]
    Slow(Duration, String),
    /// A start-up file of the user's kept the shell from getting ready.
    #[error("{0}")]
    StartUp(String),
    /// Nobody wants it any more.
    #[error("the start was given up")]
    GivenUp,
}

impl LaunchError {
    /// Something has killed the shell and what watches it.
    pub(super) fn killed() -> Self {
        Self::Ended(libc::SIGKILL, String::new())
    }

    /// The program cannot be executed.
    pub(super) fn not_executed(program: &Path, error: io::Error) -> Self {
        let shown = program.display();
        match missing::interpreter(program) {
            Some(missing) => {
                Self::Lacking(format!("{shown} cannot be executed, because {} is not there", missing.display()))
            }
            None if is_resource(&error) => Self::System("execute the shell", error),
            None => Self::Lacking(format!("{shown} cannot be executed: {error}")),
        }
    }

    /// There is no terminal.
    fn no_terminal(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(
                libc::ENOENT | libc::ENOTDIR | libc::ENXIO | libc::ENODEV | libc::ENOTTY | libc::EACCES | libc::EIO,
            ) => {
                let needs = "a session needs /dev/ptmx and the terminals in /dev/pts";
                Self::Lacking(format!("no terminal can be opened ({error}): {needs}"))
            }
            _ => Self::System("open a terminal", error),
        }
    }

    /// Whether the sandbox has not enough of something that it may get back.
    pub(crate) fn is_of_resources(&self) -> bool {
        match self {
            Self::System(..) => self.is_refused_for_now(),
            Self::Slow(..) => true,
            Self::Ended(status, _) => libc::WIFSIGNALED(*status),
            _ => false,
        }
    }

    /// Whether the system has refused at once what it may give a moment later.
    pub(crate) fn is_refused_for_now(&self) -> bool {
        matches!(self, Self::System(_, cause) if is_resource(cause))
    }
}

fn is_resource(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    matches!(code, Some(libc::EAGAIN | libc::ENOMEM | libc::ENOSPC | libc::EMFILE | libc::ENFILE))
}

fn show(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        format!("signal {}", libc::WTERMSIG(status))
    } else {
        format!("exit code {}", libc::WEXITSTATUS(status))
    }
}

impl Launch {
    /// Finds the shell that a user means.
    pub(crate) fn new(
        shell: &str,
        environment: Variables,
        login: bool,
        private: Private,
        budget: &Arc<Budget>,
    ) -> Result<Self, LaunchError> {
        let path = environment.get("PATH").map_or("", String::as_str);
        let program = find_program(shell, path)
            .ok_or_else(|| LaunchError::Unknown(format!("there is no \"{shell}\" in this sandbox{}", choices(path))))?;
        let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // `/bin/sh` may be a link to any of them; the name that a user gave decides when it is one itself.
        let target = fs::canonicalize(&program).unwrap_or_else(|_| program.clone());
        let dialect = Dialect::of(&target).or_else(|| Dialect::of(&program)).ok_or_else(|| {
            LaunchError::Unknown(format!("\"{shell}\" is not a shell that sessions can use{}", choices(path)))
        })?;
        let target = target.file_name().unwrap_or_default().to_string_lossy();
        let restricted = dialect.is_restricted_as(&name) || dialect.is_restricted_as(&target);
        let budget = Arc::clone(budget);
        let (user, only_there, is_last) = (None, false, false);
        let launch = Self { program, dialect, name, environment, login, private, user, only_there, is_last, budget };
        if restricted { Err(launch.restricted()) } else { Ok(launch) }
    }

    /// Says that this is a restricted shell.
    pub(super) fn restricted(&self) -> LaunchError {
        let path = self.environment.get("PATH").map_or("", String::as_str);
        let (shell, choices) = (self.program.display(), choices(path));
        LaunchError::Restricted(format!("\"{shell}\" is a restricted shell, which sessions cannot use{choices}"))
    }

    /// The same as another user.
    pub(crate) fn run_by(mut self, user: &Arc<User>) -> Self {
        self.private = self.private.owned_by(user.uid, user.gid);
        self.user = Some(Arc::clone(user));
        self
    }

    /// What of a shell's state its programs see, without these variables.
    pub(crate) fn seen_by_programs(&self, saved: Saved, but: &Variables) -> Saved {
        let Saved { directory, mut items, lost, charge, .. } = saved;
        items.retain(|item| {
            let exported = matches!(item.kind, Kind::Exported | Kind::Umask);
            let label = self.dialect.label(item.kind, &item.text);
            exported
                && !label
                    .is_some_and(|label| label.strip_prefix("variable ").is_some_and(|name| but.contains_key(name)))
        });
        Saved { directory, items, functions_doubtful: false, lost, charge }
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
        let terminal = Terminal::open().map_err(LaunchError::no_terminal)?;
        let started = self.spawn(start_in, terminal);
        let (mut shell, mut holder) = started.map_err(|error| LaunchError::System("start the shell", error))?;
        let outcome = tokio::select! {
            outcome = self.ready(&mut shell, &mut holder, saved) => outcome,
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

    fn spawn(&self, start_in: &Path, terminal: Terminal) -> io::Result<(Shell, Holder)> {
        let directory = Directory::make(&self.private)?;
        self.dialect.write_scripts(&directory, dialect::Taken::default(), self.is_last)?;
        // The FIFOs keep their names for the life of the shell, so their placeholders stay open with the reading ends.
        let status = Fifo::create(&directory, dialect::STATUS)?;
        let saved = Fifo::create(&directory, dialect::SAVED)?;
        let (input, control) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (own_output, output) = self.own_output(&directory)?;
        let (own_error, error) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(control.as_fd(), true)?;
        if let Some(user) = &self.user {
            terminal.give(user.uid)?;
        }
        // Kept, so that the pipes never end while they are watched, whatever the user closes.
        let own_ends = [rustix::io::fcntl_dupfd_cloexec(&output, 0)?, rustix::io::fcntl_dupfd_cloexec(&error, 0)?];
        let fourth = Some(Fourth::Terminal(terminal.device()?));
        let holder = Holder::start(&self.image(start_in)?, &Descriptors { input, output, error, fourth })?;
        let shell = Shell {
            dialect: self.dialect,
            directory,
            control,
            given: 0,
            text: TextFile::default(),
            reports: Reports::new(status),
            keeper: Keeper::new(saved, self.dialect, &self.budget),
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
            is_last: self.is_last,
            seen: dialect::Seen::default(),
            told: super::Told::default(),
            last_argument: None,
            runs_plain: false,
        };
        Ok((shell, holder))
    }

    /// The pipe to which a shell writes while no command runs: the end to read, and the end to write.
    fn own_output(&self, directory: &Directory) -> io::Result<(OwnedFd, OwnedFd)> {
        if self.dialect != Dialect::Posix {
            return Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?);
        }
        let (reader, writer, _) = directory.make_pipe(dialect::OWN)?;
        rustix::io::ioctl_fionbio(&writer, false)?;
        Ok((reader, writer))
    }

    /// What comes before the shell has failed: it may not be in its directory, if it is to start nowhere else.
    pub(super) fn not_prepared(&self, error: io::Error) -> LaunchError {
        match error.raw_os_error() {
            Some(libc::EACCES | libc::ENOENT | libc::ENOTDIR) if self.only_there => LaunchError::Directory(error),
            _ => LaunchError::not_executed(&self.program, error),
        }
    }

    fn image(&self, start_in: &Path) -> io::Result<Image> {
        let c = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
        Ok(Image {
            programs: vec![c(self.program.as_os_str().as_bytes())?],
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
            anywhere: !self.only_there,
            user: self.user.as_deref().map(Identity::of),
        })
    }
}

/// The program that a name means: a path, or a name to be looked for in `path`.
pub(crate) fn find_program(name: &str, path: &str) -> Option<PathBuf> {
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
