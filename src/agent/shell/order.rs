//! What a holder is to execute: as the agent has it, as bytes for a holder that waits, and as the holder reads it, which
//! allocates nothing.

use crate::agent::users::User;
use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr,
};

/// The longest order, in bytes, and the most strings in it. What is longer is for a holder that is forked for it.
pub(super) const MOST_BYTES: usize = 32 << 10;
const MOST_STRINGS: usize = 512;
const MOST_GROUPS: usize = 64;

/// Seven numbers of four bytes, little-endian: flags, user, group, and how many other groups, programs, arguments and
/// variables there are. The other groups follow, then the directory and all strings, each with a zero at its end.
const HEADER_BYTES: usize = 28;
const ANYWHERE: u32 = 1;
const TERMINAL: u32 = 2;
const USER: u32 = 4;

/// What is to be executed.
pub(super) struct Image {
    /// Paths that the program may be at. The first that is there and may be executed is executed.
    pub(super) programs: Vec<CString>,
    /// Its arguments, its name first.
    pub(super) arguments: Vec<CString>,
    /// `NAME=value`.
    pub(super) environment: Vec<CString>,
    /// Where it starts.
    pub(super) directory: CString,
    /// Whether it may start in `/` when that directory cannot be entered.
    pub(super) anywhere: bool,
    /// As whom, if not as the agent.
    pub(super) user: Option<Identity>,
}

/// The ids of a user.
pub(super) struct Identity {
    /// The user's own.
    pub(super) uid: u32,
    /// The first group.
    pub(super) gid: u32,
    /// The other groups.
    pub(super) groups: Vec<u32>,
}

impl Identity {
    /// Those of this user.
    pub(super) fn of(user: &User) -> Self {
        Self { uid: user.uid, gid: user.gid, groups: user.groups.clone() }
    }
}

/// Descriptors of what is executed.
pub(super) struct Descriptors {
    /// Its standard input: of a shell, the lines that it reads.
    pub(super) input: OwnedFd,
    /// Its own standard output.
    pub(super) output: OwnedFd,
    /// Its own standard error.
    pub(super) error: OwnedFd,
    /// What more it has, if anything.
    pub(super) fourth: Option<Fourth>,
}

/// A descriptor beside the three that every program has.
pub(super) enum Fourth {
    /// Becomes its controlling terminal, and is closed then.
    Terminal(OwnedFd),
    /// Stays its descriptor 3.
    Channel(OwnedFd),
}

impl Descriptors {
    /// All of them, in the order in which the program has them.
    pub(super) fn all(&self) -> Vec<BorrowedFd<'_>> {
        let fourth = self.fourth.iter().map(|(Fourth::Terminal(fd) | Fourth::Channel(fd))| fd);
        [&self.input, &self.output, &self.error].into_iter().chain(fourth).map(AsFd::as_fd).collect()
    }

    /// Whether the last one is its terminal.
    pub(super) fn has_terminal(&self) -> bool {
        matches!(self.fourth, Some(Fourth::Terminal(_)))
    }
}

/// An order as a holder carries it out: pointers to what lives longer.
pub(super) struct Order<'a> {
    /// As those of [`Image`], each with null at its end.
    pub(super) programs: &'a [*const libc::c_char],
    pub(super) arguments: &'a [*const libc::c_char],
    pub(super) environment: &'a [*const libc::c_char],
    pub(super) directory: *const libc::c_char,
    pub(super) anywhere: bool,
    pub(super) has_terminal: bool,
    /// User, group, and other groups.
    pub(super) user: Option<(u32, u32, &'a [u32])>,
}

/// The pointers of an image, null after each kind.
pub(super) fn pointers(image: &Image) -> Vec<*const libc::c_char> {
    let kinds = [&image.programs, &image.arguments, &image.environment];
    kinds.iter().flat_map(|kind| kind.iter().map(|text| text.as_ptr()).chain([ptr::null()])).collect()
}

impl<'a> Order<'a> {
    /// Of an image, whose pointers these are.
    pub(super) fn of(image: &'a Image, has_terminal: bool, pointers: &'a [*const libc::c_char]) -> Self {
        let (programs, rest) = pointers.split_at(image.programs.len() + 1);
        let (arguments, environment) = rest.split_at(image.arguments.len() + 1);
        Self {
            programs,
            arguments,
            environment,
            directory: image.directory.as_ptr(),
            anywhere: image.anywhere,
            has_terminal,
            user: image.user.as_ref().map(|user| (user.uid, user.gid, &*user.groups)),
        }
    }

    /// From the bytes of an [`Image`]. `None` when they are not. Uses nothing but the room that it is given.
    pub(super) fn read(bytes: &'a [u8], room: &'a mut Room) -> Option<Self> {
        let Room { pointers, groups } = room;
        let (header, mut rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let mut numbers = header.chunks_exact(4).map(number);
        let mut next = || numbers.next();
        let (flags, uid, gid) = (next()?, next()?, next()?);
        let (others, counts) = (next()? as usize, [next()? as usize, next()? as usize, next()? as usize]);
        let (listed, strings) = rest.split_at_checked(4 * others)?;
        rest = strings;
        let groups = groups.get_mut(..others)?;
        groups.iter_mut().zip(listed.chunks_exact(4)).for_each(|(group, bytes)| *group = number(bytes));
        let mut text = || {
            let length = rest.iter().position(|byte| *byte == 0)? + 1;
            let text = rest.as_ptr().cast();
            rest = &rest[length..];
            Some(text)
        };
        let directory = text()?;
        let mut at = 0;
        for count in counts {
            for _ in 0..count {
                *pointers.get_mut(at)? = text()?;
                at += 1;
            }
            *pointers.get_mut(at)? = ptr::null();
            at += 1;
        }
        let (programs, pointers) = pointers[..at].split_at(counts[0] + 1);
        let (arguments, environment) = pointers.split_at(counts[1] + 1);
        let user = (flags & USER != 0).then_some((uid, gid, &*groups));
        let (anywhere, has_terminal) = (flags & ANYWHERE != 0, flags & TERMINAL != 0);
        Some(Self { programs, arguments, environment, directory, anywhere, has_terminal, user })
    }
}

/// Where an order that is read puts what does not lie in its bytes.
pub(super) struct Room {
    pointers: [*const libc::c_char; MOST_STRINGS],
    groups: [u32; MOST_GROUPS],
}

impl Room {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self { pointers: [ptr::null(); MOST_STRINGS], groups: [0; MOST_GROUPS] }
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

impl Image {
    /// As an order for a holder that waits. `None` when it is too long for that.
    pub(super) fn to_bytes(&self, has_terminal: bool) -> Option<Vec<u8>> {
        let groups = self.user.as_ref().map_or(&[][..], |user| &user.groups);
        let kinds = [&self.programs, &self.arguments, &self.environment];
        let strings: usize = kinds.iter().map(|kind| kind.len() + 1).sum();
        if groups.len() > MOST_GROUPS || strings > MOST_STRINGS {
            return None;
        }
        let flags = [(self.anywhere, ANYWHERE), (has_terminal, TERMINAL), (self.user.is_some(), USER)];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag);
        let (uid, gid) = self.user.as_ref().map_or((0, 0), |user| (user.uid, user.gid));
        let counts = kinds.map(|kind| kind.len() as u32);
        let numbers = [flags, uid, gid, groups.len() as u32].into_iter().chain(counts).chain(groups.iter().copied());
        let mut bytes: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
        for text in [&self.directory].into_iter().chain(kinds.into_iter().flatten()) {
            bytes.extend_from_slice(text.as_bytes_with_nul());
            if bytes.len() > MOST_BYTES {
                return None;
            }
        }
        Some(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn image(arguments: &[&str], groups: Vec<u32>) -> Image {
        let c = |text: &str| CString::new(text).unwrap();
        Image {
            programs: vec![c("/usr/bin/a"), c("/bin/a")],
            arguments: arguments.iter().map(|text| c(text)).collect(),
            environment: vec![c("A=1")],
            directory: c("/somewhere"),
            anywhere: true,
            user: Some(Identity { uid: 70_000, gid: 7, groups }),
        }
    }

    fn texts(pointers: &[*const libc::c_char]) -> Vec<&str> {
        let (last, texts) = pointers.split_last().unwrap();
        assert!(last.is_null());
        // SAFETY: all but the last are of the image, which lives.
        texts.iter().map(|text| unsafe { CStr::from_ptr(*text) }.to_str().unwrap()).collect()
    }

    fn same(order: &Order<'_>, image: &Image) {
        for (read, written) in [
            (order.programs, &image.programs),
            (order.arguments, &image.arguments),
            (order.environment, &image.environment),
        ] {
            let written: Vec<&str> = written.iter().map(|text| text.to_str().unwrap()).collect();
            assert_eq!(texts(read), written);
        }
        // SAFETY: as above.
        assert_eq!(unsafe { CStr::from_ptr(order.directory) }, &*image.directory);
        let user = image.user.as_ref().unwrap();
        assert_eq!(order.user, Some((user.uid, user.gid, &*user.groups)));
        assert!(order.anywhere && order.has_terminal);
    }

    #[test]
    fn an_order_is_what_was_meant() {
        let image = image(&["a", "", "b c"], vec![1, 2, 300_000]);
        same(&Order::of(&image, true, &pointers(&image)), &image);
        let bytes = image.to_bytes(true).unwrap();
        same(&Order::read(&bytes, &mut Room::new()).unwrap(), &image);
        // Whatever is cut off is missed.
        for length in 0..bytes.len() {
            assert!(Order::read(&bytes[..length], &mut Room::new()).is_none(), "{length}");
        }
    }

    #[test]
    fn what_is_too_long_is_no_order() {
        assert!(image(&["a"; MOST_STRINGS], Vec::new()).to_bytes(false).is_none());
        assert!(image(&[&"a".repeat(MOST_BYTES)], Vec::new()).to_bytes(false).is_none());
        assert!(image(&["a"], vec![1; MOST_GROUPS + 1]).to_bytes(false).is_none());
        let long = image(&["a"; MOST_STRINGS - 6], vec![1; MOST_GROUPS]);
        assert!(Order::read(&long.to_bytes(true).unwrap(), &mut Room::new()).is_some());
    }
}
