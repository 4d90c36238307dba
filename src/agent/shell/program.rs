//! A program with arguments, executed exactly as given, without a shell.

use super::{
    Holder, Terminal,
    environment::Variables,
    fifo::ReadEnd,
    missing,
    order::{Descriptors, Fourth, Identity, Image},
    sys,
};
use crate::{agent::users::User, api::v1::TerminalSize};
use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};
use tokio::io::unix::AsyncFd;

/// A program and its surroundings, ready to be started.
pub(crate) struct Program {
    name: String,
    image: Image,
    /// Whose pipes and terminal these are to be, if not the agent's own user's.
    owner: Option<(u32, u32)>,
}

/// What a program is connected to.
pub(crate) enum Wiring {
    /// A terminal of this size, which is all three of its standard streams.
    Terminal(TerminalSize),
    /// Pipes.
    Pipes {
        /// Whether its standard input is one. Otherwise it is at its end from the beginning.
        input: bool,
        /// Whether both outputs are one.
        merge: bool,
        /// Its descriptor 3, if it has one.
        channel: Option<OwnedFd>,
    },
}

/// The agent's ends of that.
pub(crate) enum Ends {
    /// Of a terminal.
    Terminal(Terminal),
    /// Of pipes.
    Pipes {
        /// Writes its standard input.
        input: Option<AsyncFd<OwnedFd>>,
        /// Reads its standard output.
        output: ReadEnd,
        /// Reads its standard error, if that is a pipe of its own.
        error: Option<ReadEnd>,
    },
}

impl Program {
    /// The program that the first argument names, to be looked for in the `PATH` of its own environment when it is no path.
    pub(crate) fn new(
        arguments: &[String],
        environment: &Variables,
        directory: &Path,
        anywhere: bool,
        user: Option<&User>,
    ) -> io::Result<Self> {
        let c = |text: &[u8]| CString::new(text).map_err(io::Error::from);
        let name = arguments.first().cloned().unwrap_or_default();
        let path = environment.get("PATH").map_or("", String::as_str);
        let variables = environment.iter().map(|(name, value)| c(format!("{name}={value}").as_bytes()));
        let own_directory = Some(c([b"PWD=", directory.as_os_str().as_bytes()].concat().as_slice()))
            .filter(|_| !environment.contains_key("PWD"));
        let image = Image {
            programs: candidates(&name, path)
                .map(|path| c(&path.into_os_string().into_vec()))
                .collect::<io::Result<_>>()?,
            arguments: arguments.iter().map(|argument| c(argument.as_bytes())).collect::<io::Result<_>>()?,
            environment: variables.chain(own_directory).collect::<io::Result<_>>()?,
            directory: c(directory.as_os_str().as_bytes())?,
            anywhere,
            user: user.map(Identity::of),
        };
        Ok(Self { name, image, owner: user.map(|user| (user.uid, user.gid)) })
    }

    /// Starts it. Its holder tells how that goes.
    pub(crate) fn start(&self, wiring: Wiring) -> io::Result<(Holder, Ends)> {
        let (descriptors, ends) = match wiring {
            Wiring::Terminal(size) => {
                let terminal = Terminal::open()?;
                if let Some((uid, _)) = self.owner {
                    terminal.give(uid)?;
                }
                terminal.reset();
                terminal.resize(&size);
                let device = || terminal.device();
                let (input, output, error, own) = (device()?, device()?, device()?, Some(device()?));
                let descriptors = Descriptors { input, output, error, fourth: own.map(Fourth::Terminal) };
                (descriptors, Ends::Terminal(terminal))
            }
            Wiring::Pipes { input, merge, channel } => {
                let (stdin, input) = self.input(input)?;
                let (output, stdout) = self.pipe()?;
                let (error, stderr) = if merge {
                    (None, rustix::io::fcntl_dupfd_cloexec(&stdout, 0)?)
                } else {
                    let (error, stderr) = self.pipe()?;
                    (Some(ReadEnd::new(error)?), stderr)
                };
                let fourth = channel.map(Fourth::Channel);
                let descriptors = Descriptors { input: stdin, output: stdout, error: stderr, fourth };
                (descriptors, Ends::Pipes { input, output: ReadEnd::new(output)?, error })
            }
        };
        Ok((Holder::start(&self.image, &descriptors)?, ends))
    }

    /// A pipe that the program may also open by a name (`/dev/stdout`).
    fn pipe(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (rustix::process::Uid::from_raw(uid), rustix::process::Gid::from_raw(gid));
            rustix::fs::fchown(&write, Some(uid), Some(gid))?;
        }
        Ok((read, write))
    }

    fn input(&self, wanted: bool) -> io::Result<(OwnedFd, Option<AsyncFd<OwnedFd>>)> {
        if !wanted && let Some(null) = null() {
            return Ok((null, None));
        }
        let (read, write) = self.pipe()?;
        rustix::io::ioctl_fionbio(write.as_fd(), true)?;
        // Nobody writes to it when no input is wanted, so it is at its end.
        Ok((read, if wanted { Some(sys::watch(write)?) } else { None }))
    }

    /// The exit code and the message of a program that could not be executed, as a shell has them.
    pub(crate) fn not_executed(&self, error: &io::Error) -> (i32, String) {
        let name = &self.name;
        let found = self.image.programs.iter().map(|path| Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())));
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {
                // Relative names are the program's own directory's.
                let directory = Path::new(std::ffi::OsStr::from_bytes(self.image.directory.as_bytes()));
                let there = found.map(|path| directory.join(path)).find(|path| fs::metadata(path).is_ok());
                match there {
                    Some(path) => (
                        126,
                        match missing::interpreter(&path) {
                            Some(missing) => format!("{name:?} cannot be executed: {} is not there", missing.display()),
                            None => format!("{name:?} cannot be executed: {error}"),
                        },
                    ),
                    None if name.contains('/') => (127, format!("{name:?} is not there")),
                    None => (127, format!("{name:?} was not found in PATH")),
                }
            }
            Some(libc::ENOEXEC) => (
                126,
                format!(
                    "{name:?} cannot be executed: it is neither a program for this machine nor a script that begins with #!"
                ),
            ),
            _ => (126, format!("{name:?} cannot be executed: {error}")),
        }
    }

    /// The same for what has to be done before.
    pub(crate) fn not_prepared(&self, error: &io::Error) -> (i32, String) {
        let directory = self.image.directory.to_string_lossy();
        (126, format!("{:?} cannot be started in {directory:?}: {error}", self.name))
    }
}

/// Where a program may be.
fn candidates<'a>(name: &'a str, path: &'a str) -> impl Iterator<Item = PathBuf> {
    let is_path = name.contains('/');
    let plain = is_path.then(|| PathBuf::from(name));
    let directory = |directory: &str| Path::new(if directory.is_empty() { "." } else { directory }).join(name);
    let directories = path.split(':').filter(move |_| !is_path).map(directory).collect::<Vec<_>>();
    plain.into_iter().chain(directories)
}

/// `/dev/null`, if it is what it should be.
fn null() -> Option<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&null).ok()?;
    let device = rustix::fs::makedev(1, 3);
    let right = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == device;
    (right && rustix::io::ioctl_fionbio(&null, false).is_ok()).then_some(null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, path: &str) -> Vec<String> {
        candidates(name, path).map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_name_is_looked_for_and_a_path_is_not() {
        assert_eq!(found("a", "/x:/y"), ["/x/a", "/y/a"]);
        assert_eq!(found("a", "/x::/y"), ["/x/a", "./a", "/y/a"]);
        assert_eq!(found("a", ""), ["./a"]);
        assert_eq!(found("./a", "/x:/y"), ["./a"]);
        assert_eq!(found("/b/a", ""), ["/b/a"]);
    }
}
