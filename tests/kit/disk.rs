//! A small disk of a test's own: a file system in a file, mounted until it is dropped.

use super::within::{USUAL, ask_until};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted file system.
pub struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// Makes one of so many bytes with a program such as `mkfs.btrfs --quiet`, and mounts it.
    pub fn made_by(program: &[&str], bytes: u64) -> Self {
        let disk = Self { directory: tempfile::tempdir().expect("a directory") };
        let file = disk.directory.path().join("disk.img");
        File::create_new(&file).and_then(|file| file.set_len(bytes)).expect("a file");
        std::fs::create_dir(disk.path()).expect("a directory");
        run(Command::new(program[0]).args(&program[1..]).arg(&file));
        run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(disk.path()));
        disk
    }

    /// One with btrfs.
    pub fn btrfs(bytes: u64) -> Self {
        Self::made_by(&["mkfs.btrfs", "--quiet"], bytes)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    /// Runs `btrfs` with these words and the path of the disk behind them, and gives what it prints.
    pub fn ask_btrfs(&self, words: &[&str]) -> String {
        run(Command::new("btrfs").args(words).arg(self.path()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = self.path();
        // Processes of a server that has ended may have it open for a moment.
        let unmounted = ask_until(USUAL, || unmount(&path, &[]).then_some(()));
        if unmounted.is_none() {
            unmount(&path, &["--lazy"]);
            assert!(std::thread::panicking(), "{} is still in use", path.display());
        }
    }
}

fn unmount(path: &Path, how: &[&str]) -> bool {
    let output = Command::new("umount").args(how).arg(path).output().expect("umount");
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success() || said.contains("not mounted")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
