//! What a shell does at this moment, as the kernel tells it, and what it can be given in that state.

use super::{
    Shell,
    dialect::{ABANDON, Dialect, SAVED, STATUS},
    processes::{self, Halt, Handling},
    sys,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;

impl Shell {
    /// Whether `$?` may be something else than what an INT leads to after one has aborted what it did itself.
    pub(crate) fn forgets_interrupts(&self) -> bool {
        self.dialect == Dialect::Zsh
    }

    /// Whether a status is one that it may have then: 2 comes from an INT while it read the text.
    pub(crate) fn has_forgotten(&self, status: i32) -> bool {
        self.forgets_interrupts() && matches!(status, 0 | 2)
    }

    /// Whether the shell executes a command's text. Before and after it, when it reads our lines, its standard output is
    /// its own and not the command's, or one of the FIFOs on which it reports; a signal that came then would be lost, or
    /// tear a line.
    pub(crate) fn is_inside_command(&self) -> bool {
        let Some(file) = processes::output(self.pid) else { return true };
        let reports = file.parent().is_some_and(|parent| parent.as_os_str() == self.directory.path())
            && file.file_name().is_some_and(|name| [STATUS, SAVED].iter().any(|fifo| name == *fifo));
        !reports && !processes::writes_to(self.pid, &self.own_ends[0])
    }

    /// Whether there are lines of ours that the shell has not read.
    pub(crate) fn has_unread_lines(&self) -> bool {
        // An error means that nobody knows.
        !matches!(rustix::io::ioctl_fionread(&self.control), Ok(0) | Err(_))
    }

    /// Whether nobody reads our lines any more: it has ended, and its holder may not have said so yet.
    pub(crate) fn takes_no_lines(&self) -> bool {
        let mut control = [PollFd::new(&self.control, PollFlags::OUT)];
        matches!(poll(&mut control, Some(&Timespec::default())), Ok(1)) && control[0].revents().contains(PollFlags::ERR)
    }

    /// Whether it has read nothing of the lines that run the last command.
    pub(crate) fn has_read_nothing(&self) -> bool {
        self.given > 0 && rustix::io::ioctl_fionread(&self.control).is_ok_and(|unread| unread >= self.given)
    }

    /// Whether the shell is blocked reading its next line, and has reported nothing that is still to be read.
    pub(crate) fn has_lost_report(&self) -> bool {
        // In this order: what it reported, it reported before it went on to its next line.
        let reads = processes::reads(self.pid).is_some_and(|file| processes::is_same_pipe(&file, &self.control));
        // A shell that is stopped seems to read, and has not.
        reads && !self.has_unread_lines() && processes::halted(self.pid).is_none() && self.reports.is_empty()
    }

    /// Has it go on, if a signal has stopped it.
    pub(crate) fn resume(&self) {
        if processes::halted(self.pid) == Some(Halt::Stopped) {
            sys::kill(self.pid, libc::SIGCONT);
        }
    }

    /// Has it go on, if it was stopped while it was not inside a command: nobody wants that, and nobody else would know.
    pub(crate) fn resume_between_commands(&self) {
        if processes::halted(self.pid) == Some(Halt::Stopped) && !self.is_inside_command() {
            sys::kill(self.pid, libc::SIGCONT);
        }
    }

    /// The process that traces it and keeps it from going on.
    pub(crate) fn tracer(&self) -> Option<i32> {
        processes::tracer(self.pid).filter(|_| processes::halted(self.pid) == Some(Halt::Stopped))
    }

    /// Has it abandon its command, as soon as what it waits for is over. False when the user has taken the trap away that
    /// does that, and when it is not inside a command.
    pub(crate) fn abandon(&self) -> bool {
        let can = self.is_inside_command() && processes::handling(self.pid, ABANDON) == Some(Handling::Caught);
        if can {
            sys::kill(self.pid, ABANDON);
        }
        can
    }

    /// Has a shell between two commands take all signals that it has had. Of several that came together dash runs the trap of the
    /// first, and when that aborts a command it looks at the others only after one more signal: they would hit a later command.
    /// Outside of a command our own signal does nothing else.
    pub(super) fn have_signals_taken(&self) {
        if self.dialect == Dialect::Posix && processes::handling(self.pid, ABANDON) == Some(Handling::Caught) {
            sys::kill(self.pid, ABANDON);
        }
    }

    /// Whether an INT would end it, because the user has taken away the trap that it has instead of a prompt.
    pub(crate) fn ends_by_interrupts(&self) -> bool {
        self.dialect == Dialect::Posix && processes::handling(self.pid, libc::SIGINT) == Some(Handling::Default)
    }

    /// Whether it waits for children in a way that an INT does not end, as zsh does in `wait`.
    pub(crate) fn sleeps_through_interrupts(&self) -> bool {
        self.dialect == Dialect::Zsh && processes::waits_for_signals(self.pid)
    }

    /// Whether it does nothing about an INT.
    pub(crate) fn ignores_interrupts(&self) -> bool {
        processes::handling(self.pid, libc::SIGINT) == Some(Handling::Ignored)
    }

    /// Gives an idle shell the traps back that the user has taken away: without them it could not abandon a command, or
    /// would end by an INT.
    pub(super) fn keep_traps(&self) -> io::Result<()> {
        if self.ends_by_interrupts() {
            self.say(&self.dialect.interrupt_trap(self.directory.path()))?;
        }
        if matches!(processes::handling(self.pid, ABANDON), Some(Handling::Default | Handling::Ignored)) {
            self.say(&self.dialect.abandon_trap(self.directory.path()))?;
        }
        Ok(())
    }

    /// Has zsh leave its line editor, which the user has turned on and which reads the terminal instead of our lines.
    pub(crate) fn leave_line_editor(&self) {
        let waits =
            || processes::process(self.pid).is_ok_and(|process| process.is_some_and(|process| !process.is_busy()));
        let edits = self.dialect == Dialect::Zsh && self.has_unread_lines() && !self.is_inside_command();
        if edits && self.foreground() == self.pid && waits() {
            self.terminal.type_now(b" \\builtin unsetopt zle\r");
        }
    }

    /// Gives an idle shell an empty line, so that it does not end for want of one.
    pub(crate) fn nudge(&self) -> io::Result<()> {
        if self.has_unread_lines() { Ok(()) } else { self.say("\n") }
    }
}
