//! The terminal of a shell: what job control needs, where programs ask for passwords, and the whole world of a command
//! that was started with `pty`.

use super::{fifo::ReadEnd, processes, sys};
use crate::api::v1::TerminalSize;
use rustix::{
    fs::{Mode, OFlags},
    termios::{InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, Winsize},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};
use tokio::io::unix::AsyncFd;

/// A pseudo-terminal.
pub(crate) struct Terminal {
    /// What is written to the terminal is read here.
    pub(crate) reader: ReadEnd,
    writer: AsyncFd<OwnedFd>,
    /// Kept open so that reading never ends, however often programs open and close the terminal.
    device: OwnedFd,
    path: String,
    /// Its modes when it was new.
    modes: Termios,
}

impl Terminal {
    /// Opens a new one.
    pub(super) fn open() -> io::Result<Self> {
        let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)?;
        rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let device = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut modes = rustix::termios::tcgetattr(&device)?;
        // What is typed is UTF-8, so that one backspace takes back one character.
        modes.input_modes |= InputModes::IUTF8;
        rustix::termios::tcsetattr(&device, OptionalActions::Now, &modes)?;
        let writer = rustix::io::fcntl_dupfd_cloexec(&master, 0)?;
        let reader = ReadEnd::new(master)?;
        let terminal =
            Self { reader, writer: sys::watch(writer)?, device, path: name.to_string_lossy().into_owned(), modes };
        terminal.resize(&TerminalSize { rows: 24, columns: 80 });
        terminal.set_answerable(false);
        Ok(terminal)
    }

    /// A descriptor of the device, for a shell to control.
    pub(super) fn device(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::fcntl_dupfd_cloexec(&self.device, 0)?)
    }

    /// Gives it to another user, who opens it by its path.
    pub(super) fn give(&self, uid: u32) -> io::Result<()> {
        Ok(rustix::fs::fchown(&self.device, Some(rustix::process::Uid::from_raw(uid)), None)?)
    }

    /// Path of the device.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Sets the modes of a new terminal, without input: whatever ran before may have left others.
    pub(crate) fn reset(&self) {
        let _ = rustix::termios::tcflush(&self.device, QueueSelector::IFlush);
        let _ = rustix::termios::tcsetattr(&self.device, OptionalActions::Now, &self.modes);
    }

    /// Has a read wait for what is typed, or return at once with nothing, which programs take for the end of their input:
    /// a question that nobody can answer must not be waited for. Whatever else the user or a program has set stays as it is.
    pub(crate) fn set_answerable(&self, answerable: bool) {
        let Ok(mut modes) = rustix::termios::tcgetattr(&self.device) else { return };
        if answerable != is_at_its_end(&modes) {
            return;
        }
        modes.local_modes.set(LocalModes::ICANON, answerable);
        modes.special_codes[SpecialCodeIndex::VMIN] = answerable.into();
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        let _ = rustix::termios::tcflush(&self.device, QueueSelector::IFlush);
        let _ = rustix::termios::tcsetattr(&self.device, OptionalActions::Now, &modes);
    }

    /// Ends the wait of a program for what is typed, as by typing the end of input. A program that has set the terminal up to
    /// read single keys gets that key; then, with the terminal at its end, it is told that nothing follows.
    pub(crate) fn end_a_wait(&self) {
        let Ok(mut modes) = rustix::termios::tcgetattr(&self.device) else { return };
        let _ = rustix::termios::tcflush(&self.device, QueueSelector::IFlush);
        if is_at_its_end(&modes) {
            // A program that waits until it can read is told so only by a terminal that gives lines.
            modes.local_modes.insert(LocalModes::ICANON);
            let _ = rustix::termios::tcsetattr(&self.device, OptionalActions::Now, &modes);
        }
        let _ = rustix::io::write(self.writer.get_ref(), &[modes.special_codes[SpecialCodeIndex::VEOF]]);
        self.finish_typing();
    }

    /// Gives it a size; programs in the foreground are told by WINCH.
    pub(crate) fn resize(&self, size: &TerminalSize) {
        let clamp = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let size = Winsize { ws_row: clamp(size.rows), ws_col: clamp(size.columns), ws_xpixel: 0, ws_ypixel: 0 };
        let _ = rustix::termios::tcsetwinsize(&self.device, size);
    }

    /// Types some of `data`; waits while nobody reads. May be cancelled without loss.
    pub(crate) async fn write(&self, data: &[u8]) -> io::Result<usize> {
        super::fifo::write(&self.writer, data).await
    }

    /// Types all of `data` that there is room for now.
    pub(super) fn type_now(&self, data: &[u8]) {
        let _ = rustix::io::write(self.writer.get_ref(), data);
    }

    /// Waits until the kernel has gone through what was typed: it echoes a `^C` only after it has sent the signal. Asking
    /// whether there is input does that.
    pub(crate) fn finish_typing(&self) {
        let mut device = [rustix::event::PollFd::new(&self.device, rustix::event::PollFlags::IN)];
        let _ = rustix::event::poll(&mut device, Some(&rustix::event::Timespec::default()));
    }

    /// The byte that means end of input.
    pub(crate) fn end_of_input(&self) -> u8 {
        self.modes.special_codes[SpecialCodeIndex::VEOF]
    }

    /// The bytes that send signals to the foreground now, if any do.
    pub(crate) fn signal_keys(&self) -> Option<[(u8, i32); 3]> {
        let modes = rustix::termios::tcgetattr(&self.device).ok()?;
        let code = |index| modes.special_codes[index];
        modes.local_modes.contains(LocalModes::ISIG).then(|| {
            [
                (code(SpecialCodeIndex::VINTR), libc::SIGINT),
                (code(SpecialCodeIndex::VQUIT), libc::SIGQUIT),
                (code(SpecialCodeIndex::VSUSP), libc::SIGTSTP),
            ]
        })
    }

    /// Whether what runs in the foreground waits for what is typed.
    pub(crate) fn is_waited_for(&self) -> bool {
        let group = self.foreground();
        group.is_some_and(|group| processes::group_members(group, 0).into_iter().any(processes::waits_for_terminal))
    }

    /// Process group in its foreground.
    pub(crate) fn foreground(&self) -> Option<i32> {
        sys::foreground_group(self.writer.get_ref().as_fd())
    }
}

fn is_at_its_end(modes: &Termios) -> bool {
    !modes.local_modes.contains(LocalModes::ICANON)
        && modes.special_codes[SpecialCodeIndex::VMIN] == 0
        && modes.special_codes[SpecialCodeIndex::VTIME] == 0
}
