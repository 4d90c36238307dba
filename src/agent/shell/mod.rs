//! One shell process, and how it is driven.
//!
//! Three kinds of channel: the *control* pipe is the shell's standard input, on which it reads our lines; the *status*
//! FIFO is opened by path for each report, so that no descriptor of ours is ever there for a user to close or to leak;
//! and each command has FIFOs of its own for what it prints. A command's text is never part of a line: it is written to
//! a file that the line sources.

mod dialect;
mod fifo;
mod guard;
mod holder;
mod inherited;
mod launch;
mod limits;
mod processes;
mod quoting;
mod records;
mod reports;
mod sys;
mod terminal;
mod text;

pub(crate) use dialect::Call;
pub(crate) use fifo::{Fifo, InputFifo, LARGE_READ, Read, ReadEnd, write};
pub(crate) use holder::{Event, Holder};
pub(crate) use launch::{Launch, LaunchError};
pub(crate) use processes::{
    Image, Moment, Processes, descendants_since, group_members, image, minds, reads_terminal, reap,
};
pub(crate) use reports::{Keeper, Report, Reports, Saved};
pub(crate) use sys::{kill, kill_group, protect};
pub(crate) use terminal::Terminal;

use dialect::{Dialect, LEAVE, RESTORE, RETURN};
use std::{
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};
use text::TextFile;

/// A running shell.
pub(crate) struct Shell {
    dialect: Dialect,
    directory: String,
    control: OwnedFd,
    text: TextFile,
    /// What it reports.
    pub(crate) reports: Reports,
    /// What it saves.
    pub(crate) keeper: Keeper,
    /// What the shell itself, not a command, writes.
    pub(crate) own_output: ReadEnd,
    /// As `own_output`.
    pub(crate) own_error: ReadEnd,
    own_ends: [OwnedFd; 2],
    /// Pipes of earlier commands that are as good as new.
    spare: Vec<Fifo>,
    /// Its terminal.
    pub(crate) terminal: Terminal,
    /// Its process id.
    pub(crate) pid: i32,
    last_tag: u64,
}

impl Shell {
    /// Gives the shell a command. Its report comes under the tag that is returned.
    pub(crate) fn run(&mut self, text: &[u8], call: &Call<'_>) -> io::Result<u64> {
        self.text.write(text)?;
        if call.leave {
            self.write_file(LEAVE, b"exit\n")?;
        }
        if call.last_status != 0 {
            self.write_file(RETURN, format!("return {}\n", call.last_status).as_bytes())?;
        }
        let tag = self.next_tag();
        self.say(&self.dialect.run(call, tag, &self.directory))?;
        Ok(tag)
    }

    /// A pipe for what a command prints, under a name.
    pub(crate) fn pipe(&mut self, name: &str) -> io::Result<Fifo> {
        let path = Path::new(&self.directory).join(name);
        let spare = self.spare.iter().position(|pipe| pipe.path() == path).map(|at| self.spare.swap_remove(at));
        spare.filter(Fifo::is_there).map_or_else(|| Fifo::create(path), Ok)
    }

    /// Takes a pipe back that has been read to its end just now. Making one takes ten system calls.
    pub(crate) fn take_back(&mut self, mut pipe: Fifo) {
        if pipe.renew() {
            self.spare.push(pipe);
        }
    }

    /// Asks an idle shell to save its state.
    pub(crate) fn save(&mut self) -> io::Result<u64> {
        let tag = self.next_tag();
        self.say(&self.dialect.save(tag, &self.directory))?;
        Ok(tag)
    }

    /// Makes sure that no signal of ours is still on its way.
    pub(crate) fn settle(&mut self) -> io::Result<u64> {
        let tag = self.next_tag();
        self.say(&self.dialect.settle(tag, &self.directory))?;
        Ok(tag)
    }

    /// Asks for a report that did not come. `$?` is lost.
    pub(crate) fn ask_again(&self, tag: u64) -> io::Result<()> {
        self.say(&self.dialect.settle(tag, &self.directory))
    }

    /// Whether somebody inside removed what the shell reports to.
    pub(crate) fn is_damaged(&self) -> bool {
        !self.reports.fifo.is_there() || !self.keeper.fifo.is_there()
    }

    /// Whether `$?` may be 0 after an INT has aborted what it did itself.
    pub(crate) fn forgets_interrupts(&self) -> bool {
        self.dialect == Dialect::Zsh
    }

    /// Whether the shell executes a command's text. Before and after it, when it reads our lines, its standard output is
    /// its own and not the command's; a signal that came then would be lost, or tear a line.
    pub(crate) fn is_inside_command(&self) -> bool {
        !processes::output(self.pid).is_some_and(|file| processes::is_same_pipe(&file, &self.own_ends[0]))
    }

    /// Whether the shell is blocked reading its next line.
    pub(crate) fn waits_for_lines(&self) -> bool {
        processes::reads(self.pid).is_some_and(|file| processes::is_same_pipe(&file, &self.control))
    }

    /// Makes what was removed again.
    pub(crate) fn repair(&mut self) -> io::Result<()> {
        if !self.is_damaged() {
            return Ok(());
        }
        self.dialect.write_scripts(Path::new(&self.directory))?;
        self.reports.fifo.make_again()?;
        self.keeper.fifo.make_again()
    }

    /// Drops what the shell itself has written: prompts, notices of jobs.
    pub(crate) fn forget_own_output(&self) {
        for pipe in [&self.own_output, &self.own_error] {
            pipe.take_what_is_there(drop);
        }
    }

    /// What the shell itself has written, without the traces of our own lines.
    pub(crate) fn own_words(&self) -> (Vec<u8>, Vec<u8>) {
        let all = |pipe: &ReadEnd| {
            let mut all = Vec::new();
            pipe.take_what_is_there(|data| all.extend_from_slice(&data));
            all
        };
        let ours = |line: &&[u8]| line.windows(self.directory.len()).any(|part| part == self.directory.as_bytes());
        let error = all(&self.own_error);
        let error: Vec<u8> =
            error.split_inclusive(|byte| *byte == b'\n').filter(|line| !ours(line)).flatten().copied().collect();
        (all(&self.own_output), error)
    }

    /// Has the shell source what an earlier one saved.
    fn restore(&self, saved: &Saved) -> io::Result<()> {
        let mut script = saved.script.clone();
        // The saved value may be older than the directory; `cd` would also set OLDPWD.
        script.extend_from_slice(b"\nPWD=");
        script.extend_from_slice(&quoting::quoted(saved.directory.as_os_str().as_bytes()));
        script.push(b'\n');
        self.write_file(RESTORE, &script)?;
        self.say(&self.dialect.restore(&self.directory))
    }

    /// The process group that a signal of the user's is for.
    pub(crate) fn foreground(&self) -> i32 {
        // A shell may leave the terminal to a group that has ended.
        self.terminal.foreground().filter(|group| sys::group_lives(*group)).unwrap_or(self.pid)
    }

    /// Where its files are. Lines of its own error output that name it are ours.
    pub(crate) fn directory(&self) -> &str {
        &self.directory
    }

    fn next_tag(&mut self) -> u64 {
        self.last_tag = self.last_tag.wrapping_add(1);
        self.last_tag
    }

    /// Gives it lines, all or none of them. They are short, and it has read all those before.
    fn say(&self, lines: &str) -> io::Result<()> {
        let lines = self.dialect.unremembered(lines);
        let said = fifo::write_whole(&self.control, lines.as_bytes());
        if said.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WriteZero) {
            // It would take the beginning of a line for all of it.
            sys::kill(self.pid, libc::SIGKILL);
        }
        said
    }

    fn write_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let file = text::create(&Path::new(&self.directory).join(name))?;
        let mut rest = content;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = &rest[written..];
        }
        Ok(())
    }
}
