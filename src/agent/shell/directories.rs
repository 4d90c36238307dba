//! Where sessions keep what they share with programs: one directory for all, with one in it for each session.
//!
//! Programs open by path what is there, and where the runtime can have it so, what they see is mounted read-only: they can
//! read and write the pipes, and change nothing else. The agent's way leads through a descriptor of its own. Where programs
//! see a writable mount, they can put anything in the place of anything. So whatever the agent opens, it opens relative to
//! a directory that it holds, without following links and without waiting, and looks at what it got.

use super::{
    entries::{self, DIRECTORY, identity, move_up, put_away, put_away_unless, removed},
    reserve::Reserve,
};
use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags},
    io::Errno,
    process::{Gid, Uid},
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

/// Where programs find it, unless they have moved a directory above.
const USUAL: &str = "/run/sandshell";

/// What is removed in one go. The agent has one thread, and others wait for it.
const AT_ONCE: u32 = 64;

/// Programs may go on making files while they are removed.
const MOST_REMOVED: u32 = 1 << 20;

/// The directory of all sessions.
#[derive(Debug)]
pub(crate) struct Directories {
    /// Where it should be.
    usual: PathBuf,
    /// Where the agent writes.
    base: OwnedFd,
    /// The same directory as programs see it.
    seen: OwnedFd,
    identity: (u64, u64),
    /// Kept where programs can use up what the agent needs.
    reserve: Option<Reserve>,
}

/// One session's place in it.
#[derive(Debug, Clone)]
pub(crate) struct Private {
    all: Arc<Directories>,
    name: String,
    /// The user whose shell uses it, if that is not the agent's.
    owner: Option<(u32, u32)>,
}

impl Directories {
    /// Takes the descriptor that the runtime has handed over. Without one programs see what the agent writes to.
    pub(crate) fn open(handed: Option<OwnedFd>) -> io::Result<Self> {
        Self::at(PathBuf::from(USUAL), handed)
    }

    fn at(usual: PathBuf, handed: Option<OwnedFd>) -> io::Result<Self> {
        if handed.is_none() {
            std::fs::create_dir_all(&usual)?;
        }
        let open = || rustix::fs::open(&usual, OFlags::RDONLY | DIRECTORY, Mode::empty());
        let seen = open()?;
        let reserve = handed.is_none().then(Reserve::default);
        let base = handed.map_or_else(open, Ok)?;
        let identity = identity(&rustix::fs::fstat(&base)?);
        if identity != entries::identity(&rustix::fs::fstat(&seen)?) {
            return Err(io::Error::other(
                "the directory that the runtime has handed over is not the one that programs see",
            ));
        }
        let directories = Self { usual, base, seen, identity, reserve };
        directories.fill_reserve();
        Ok(directories)
    }

    /// A session's place in it. Nothing is made yet.
    pub(crate) fn session(self: &Arc<Self>, name: &str) -> Private {
        Private { all: Arc::clone(self), name: name.to_owned(), owner: None }
    }

    /// Whether programs see it read-only, so that all that the agent has put there is still there.
    pub(super) fn is_sealed(&self) -> bool {
        self.reserve.is_none()
    }

    /// Keeps room for the agent, where programs can use it up.
    pub(super) fn fill_reserve(&self) {
        if let Some(reserve) = &self.reserve {
            reserve.fill(self.base.as_fd());
        }
    }

    /// Does something that takes room, if need be with what is kept for it.
    pub(super) fn with_room<T>(&self, deed: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match &self.reserve {
            Some(reserve) => reserve.lend(deed),
            None => deed(),
        }
    }

    /// Where programs find it now.
    fn path(&self) -> PathBuf {
        if rustix::fs::stat(&self.usual).is_ok_and(|stat| identity(&stat) == self.identity) {
            return self.usual.clone();
        }
        // Somebody has moved a directory above, which takes the mount along. Only names that need no quotes will do.
        let now = std::fs::read_link(format!("/proc/self/fd/{}", self.seen.as_raw_fd())).ok();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
        now.filter(|now| now.to_str().is_some_and(|now| now.as_bytes().iter().all(plain)))
            .unwrap_or_else(|| self.usual.clone())
    }
}

impl Private {
    /// The directory of all sessions.
    pub(super) fn all(&self) -> &Directories {
        &self.all
    }

    /// The same for the shell of another user, who alone gets into it.
    pub(crate) fn owned_by(self, uid: u32, gid: u32) -> Self {
        Self { owner: Some((uid, gid)), ..self }
    }

    /// The place of another shell of the same session, beside the first.
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        Self { all: Arc::clone(&self.all), name: format!("{}-{suffix}", self.name), owner: None }
    }

    /// Gives what was made in it to its owner.
    pub(super) fn give(&self, made: impl AsFd) -> io::Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        Ok(rustix::fs::fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
    }

    /// As [`Self::give`], of something by its name.
    pub(super) fn give_named(&self, directory: impl AsFd, name: &str) -> io::Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        Ok(rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Makes the directory, or takes the one that is there: it, open, and where programs see it. Whatever else has its name is put
    /// away.
    pub(super) fn make(&self) -> io::Result<(OwnedFd, PathBuf)> {
        let base = self.all.base.as_fd();
        let make = || -> io::Result<OwnedFd> {
            match rustix::fs::mkdirat(base, &self.name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let made = rustix::fs::openat(base, &self.name, OFlags::RDONLY | DIRECTORY, Mode::empty())?;
            rustix::fs::fchmod(&made, Mode::RWXU)?;
            if self.owner.is_some() {
                self.give(&made)?;
                // The way to it. Nobody learns what else is there, or gets into it.
                let passable = Mode::RWXU.union(Mode::XGRP).union(Mode::XOTH);
                rustix::fs::chmodat(base, ".", passable, AtFlags::empty())?;
            }
            Ok(made)
        };
        let made = self.all.with_room(|| {
            make().or_else(|_| {
                put_away(base, &self.name)?;
                make()
            })
        })?;
        Ok((made, self.all.path().join(&self.name)))
    }

    /// Removes the directory with all that is in it. What cannot be removed is told in the log.
    ///
    /// It may hold anything, as deep and as much as programs like, and they may still be busy in it.
    pub(crate) async fn remove(&self) {
        if let Err(error) = self.clear_away().await {
            tracing::warn!(directory = self.name, %error, "a session's private directory cannot be removed completely");
        }
    }

    async fn clear_away(&self) -> io::Result<()> {
        let base = self.all.base.as_fd();
        if put_away_unless(base, &self.name, true)? {
            return Ok(());
        }
        // Directories are moved up to the base before they are emptied, so that no depth is too deep.
        let mut full = vec![move_up(base, &self.name, base)?];
        let mut seen = 0;
        while let Some(at) = full.len().checked_sub(1) {
            let name = removed(full[at]);
            let directory = rustix::fs::openat(base, &name, OFlags::RDONLY | DIRECTORY, Mode::empty())?;
            for entry in Dir::read_from(&directory)? {
                seen += 1;
                if seen % AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
                if seen > MOST_REMOVED {
                    return Err(io::Error::other("there is no end of files in it"));
                }
                let entry = entry?;
                let entry = entry.file_name();
                if entry != c"." && entry != c".." && !put_away_unless(directory.as_fd(), entry, true)? {
                    full.push(move_up(directory.as_fd(), entry, base)?);
                }
            }
            match rustix::fs::unlinkat(base, &name, AtFlags::REMOVEDIR) {
                // Something has come meanwhile, or others are to be emptied first.
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Ok(()) | Err(Errno::NOENT) => drop(full.swap_remove(at)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Reads a file of the image, which may be a link but not a pipe, and no longer than this.
pub(crate) fn read_file(path: &str, longest: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{path} is no file")));
    }
    let mut content = Vec::new();
    file.take(longest).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::directory::Directory, *};
    use rustix::fs::FileType;
    use std::{fs, os::unix::fs::symlink, path::Path};

    /// A session's place in a directory of a test's own.
    pub(in crate::agent::shell) fn private(directory: &Path) -> Private {
        Arc::new(Directories::at(directory.join("all"), None).unwrap()).session("1")
    }

    #[test]
    fn whatever_has_a_name_of_ours_is_put_away_and_nothing_behind_a_link_is_touched() {
        let home = tempfile::tempdir().unwrap();
        let precious = home.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "kept").unwrap();
        let private = private(home.path());
        let path = Directory::make(&private).unwrap().path_of("command");
        let at = path.parent().unwrap().to_owned();
        let replacements: [&dyn Fn(); 6] = [
            &|| symlink(precious.join("file"), &path).unwrap(),
            &|| symlink("/nowhere", &path).unwrap(),
            &|| fs::create_dir(&path).unwrap(),
            &|| fs::create_dir_all(path.join("deeper")).unwrap(),
            // Opened in the usual way to be written, it would wait for ever.
            &|| rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
            &|| {
                fs::remove_dir_all(&at).unwrap();
                symlink(&precious, &at).unwrap();
            },
        ];
        for replace in replacements {
            let _ = fs::remove_file(&path);
            replace();
            let directory = Directory::make(&private).unwrap();
            directory.write("command", b"ours").unwrap();
            assert!(directory.is_in_place());
            assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
            fs::remove_file(&path).unwrap();
            replace();
            let directory = Directory::make(&private).unwrap();
            directory.make_fifo("command").unwrap();
            directory.open_fifo("command", OFlags::RDONLY).unwrap();
        }
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
        assert_eq!(fs::read_dir(&precious).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_directory_is_removed_however_deep_and_full_it_is() {
        // In memory, as in a sandbox: some disks take a while for each directory.
        let home = tempfile::tempdir_in("/dev/shm").unwrap();
        let precious = home.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "kept").unwrap();
        let private = private(home.path());
        let directory = Directory::make(&private).unwrap();
        symlink(&precious, directory.path_of("link")).unwrap();
        for number in 0..1000 {
            fs::create_dir_all(directory.path_of(&format!("wide/{number}/deeper"))).unwrap();
            fs::write(directory.path_of(&format!("file-{number}")), "x").unwrap();
        }
        // Deeper than any path can be, and than there are descriptors.
        let mut here = rustix::fs::open(directory.path(), OFlags::RDONLY | DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&here, "deep", Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, "deep", OFlags::RDONLY | DIRECTORY, Mode::empty()).unwrap();
        }
        private.clear_away().await.unwrap();
        assert_eq!(fs::read_dir(home.path().join("all")).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
        // And again, when there is nothing.
        private.clear_away().await.unwrap();
    }

    #[test]
    fn a_directory_that_was_moved_away_is_found_where_it_is() {
        let home = tempfile::tempdir().unwrap();
        let private = private(home.path());
        let before = Directory::make(&private).unwrap();
        // As somebody moves what it is in.
        fs::rename(home.path().join("all"), home.path().join("moved")).unwrap();
        assert!(!before.is_in_place());
        let now = Directory::make(&private).unwrap();
        assert!(now.is_in_place());
        assert_eq!(Path::new(now.path()), home.path().join("moved/1"));
    }

    #[test]
    fn a_file_of_the_image_may_be_a_link_and_is_never_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("file"), "users").unwrap();
        symlink("file", path("link")).unwrap();
        rustix::fs::mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(read_file(&path("link"), 100).unwrap(), b"users");
        assert_eq!(read_file(&path("link"), 2).unwrap(), b"us");
        for name in ["pipe", "none", "."] {
            assert!(read_file(&path(name), 100).is_err(), "{name}");
        }
    }
}
