//! A program on a terminal, as a person at a keyboard has it.

use super::{
    server::BINARY,
    within::{Limit, USUAL, ask_until},
};
use rustix::{fs::OFlags, pty, termios};
use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
};

/// The program under test, on a terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    // Kept open, so that settings can be read after the program has ended.
    line: File,
    screen: Arc<(Mutex<Vec<u8>>, Condvar)>,
}

impl Terminal {
    /// Starts `sandshell` with these arguments on a terminal of this size.
    pub fn start(arguments: &[&str], rows: u16, columns: u16) -> Self {
        let keyboard = File::from(pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).expect("a pty"));
        pty::grantpt(&keyboard).expect("grantpt");
        pty::unlockpt(&keyboard).expect("unlockpt");
        let name = pty::ptsname(&keyboard, Vec::new()).expect("ptsname");
        let line = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, rustix::fs::Mode::empty()).expect("its line");
        let line = File::from(line);
        set_size(&line, rows, columns);
        let mut command = Command::new(BINARY);
        command.args(arguments).env("TERM", "xterm-256color");
        let end = || Stdio::from(line.try_clone().expect("a copy"));
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: only async-signal-safe system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("sandshell starts");
        let screen = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (shown, mut from) = (Arc::clone(&screen), keyboard.try_clone().expect("a copy"));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut piece) {
                shown.0.lock().unwrap().extend_from_slice(&piece[..n]);
                shown.1.notify_all();
            }
        });
        Self { child, keyboard, line, screen }
    }

    /// Types.
    pub fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits until the screen has shown this after what was waited for before, and forgets all up to its end.
    pub fn wait_for(&self, text: &str) {
        let mut limit = Limit::of(USUAL);
        let mut seen = self.screen.0.lock().unwrap();
        loop {
            if let Some(at) = seen.windows(text.len()).position(|window| window == text.as_bytes()) {
                seen.drain(..at + text.len());
                return;
            }
            let over = limit.is_over();
            assert!(!over, "waited {limit} for {text:?} on the terminal, which shows {:?}", super::show(&seen));
            seen = self.screen.1.wait_timeout(seen, limit.left()).unwrap().0;
        }
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.line, rows, columns);
    }

    /// Whether keys are echoed and lines edited by the terminal, as before a program made it raw.
    pub fn is_cooked(&self) -> bool {
        let modes = termios::tcgetattr(&self.line).expect("settings").local_modes;
        modes.contains(termios::LocalModes::ICANON | termios::LocalModes::ECHO | termios::LocalModes::ISIG)
    }

    /// Waits for the program's end.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = ask_until(USUAL, || self.child.try_wait().expect("a child"));
        let shown = || super::show(&self.screen.0.lock().unwrap());
        ended.unwrap_or_else(|| panic!("`sandshell` did not end; its terminal shows {:?}", shown()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(line: impl AsFd, rows: u16, columns: u16) {
    let size = termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(line, size).expect("a terminal has a size");
}
