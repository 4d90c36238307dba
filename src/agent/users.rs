//! Users of the sandbox, as its own `/etc/passwd` and `/etc/group` name them. They are read without the C library, which in
//! a static binary cannot read what a foreign image has.

use std::{fs, io, io::Read};

/// Longest file that is read: one of a program's making must not fill the memory.
const MOST_BYTES: u64 = 1 << 20;

/// Most supplementary groups, below the kernel's own bound of 65 536.
const MOST_GROUPS: usize = 1024;

/// A user of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct User {
    /// The name; for a number that has none, the number.
    pub(in crate::agent) name: String,
    /// The number.
    pub(in crate::agent) uid: u32,
    /// The first group.
    pub(in crate::agent) gid: u32,
    /// All other groups.
    pub(in crate::agent) groups: Vec<u32>,
    /// Where it is at home; `/` for a number that has no name.
    pub(in crate::agent) home: String,
}

/// Why there is no such user.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(in crate::agent) enum UnknownUser {
    /// Neither a name that is there nor a number.
    #[error("there is no user \"{0}\" in this sandbox; name one of its /etc/passwd, or give a number")]
    User(String),
    /// Neither a name that is there nor a number.
    #[error("there is no group \"{0}\" in this sandbox; name one of its /etc/group, or give a number")]
    Group(String),
}

impl User {
    /// The user that a client means: a name or a number, with `:` and a group behind it if wanted. A number need not be in
    /// `/etc/passwd`; its group is then 0, as containers have it.
    pub(in crate::agent) fn find(wanted: &str) -> Result<Self, UnknownUser> {
        // A file that is absent names nobody.
        let read = |path| read(path).unwrap_or_default();
        Self::find_in(wanted, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn find_in(wanted: &str, passwd: &str, group: &str) -> Result<Self, UnknownUser> {
        let (name, group_wanted) = match wanted.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (wanted, None),
        };
        let uid_wanted = number(name);
        let known = passwd.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let [its_name, _, uid, gid, _, home, ..] = fields[..] else { return None };
            let (uid, gid) = (number(uid)?, number(gid)?);
            (its_name == name || uid_wanted == Some(uid)).then(|| Self {
                name: its_name.to_owned(),
                uid,
                gid,
                groups: Vec::new(),
                home: if home.is_empty() { "/" } else { home }.to_owned(),
            })
        });
        let mut user = match (known, uid_wanted) {
            (Some(user), _) => user,
            (None, Some(uid)) => Self { name: uid.to_string(), uid, gid: 0, groups: Vec::new(), home: "/".to_owned() },
            (None, None) => return Err(UnknownUser::User(name.to_owned())),
        };
        user.groups = groups_of(&user.name, group);
        if let Some(wanted) = group_wanted {
            // Who asks for a group gets that one alone, as with containers.
            user.gid = gid(wanted, group).ok_or_else(|| UnknownUser::Group(wanted.to_owned()))?;
            user.groups.clear();
        }
        Ok(user)
    }
}

/// Why a process cannot become a user.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(in crate::agent) enum CannotBecome {
    /// Only root can become another user.
    #[error("the sandbox's programs run as user {0}, who cannot become another one")]
    NotRoot(u32),
    /// The sandbox has no such id.
    #[error("this sandbox has no id {0}: what it may have is limited, as without root on the host")]
    NotMapped(u32),
}

impl User {
    /// Whether the agent can start a process of this user.
    pub(in crate::agent) fn can_be(&self) -> Result<(), CannotBecome> {
        let own = rustix::process::geteuid().as_raw();
        if own == self.uid && rustix::process::getegid().as_raw() == self.gid {
            return Ok(());
        }
        if own != 0 {
            return Err(CannotBecome::NotRoot(own));
        }
        let ids = [("/proc/self/uid_map", self.uid), ("/proc/self/gid_map", self.gid)];
        match ids.into_iter().find(|(map, id)| !read(map).is_ok_and(|map| is_mapped(&map, *id))) {
            Some((_, id)) => Err(CannotBecome::NotMapped(id)),
            None => Ok(()),
        }
    }

    /// What the user's programs find in their environment.
    pub(in crate::agent) fn variables(&self) -> [(&'static str, &str); 3] {
        [("HOME", &self.home), ("USER", &self.name), ("LOGNAME", &self.name)]
    }
}

/// `map` has lines of the first id inside, the first id outside, and how many there are.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next().unwrap_or(0));
        first.is_some_and(|first| (first..first + count).contains(&id.into()))
    })
}

/// The names of all users and of all groups, with their numbers.
pub(in crate::agent) fn names() -> [Vec<(u32, String)>; 2] {
    ["/etc/passwd", "/etc/group"].map(|path| {
        let text = read(path).unwrap_or_default();
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some((number(fields.nth(1)?)?, name))
        };
        text.lines().filter_map(entry).collect()
    })
}

fn read(path: &str) -> io::Result<String> {
    // Whatever is there instead of a file, a FIFO for one, holds nobody up.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?);
    // Room for one byte more than it has is read in one piece, and its end with it.
    let length = file.metadata()?.len().min(MOST_BYTES);
    let mut bytes = Vec::with_capacity(length as usize + 1);
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A number as the files have it. `-1` as an id means "none" to the kernel.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

fn gid(wanted: &str, group: &str) -> Option<u32> {
    let named = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(wanted)).then(|| number(fields.nth(1)?)).flatten()
    });
    named.or_else(|| number(wanted))
}

fn groups_of(name: &str, group: &str) -> Vec<u32> {
    let of = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let [_, _, gid, members, ..] = fields[..] else { return None };
        members.split(',').any(|member| member == name).then(|| number(gid)).flatten()
    };
    group.lines().filter_map(of).take(MOST_GROUPS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\nbroken\n7:x:8:8::/x:/y\n";
    const GROUP: &str = "root:x:0:\nann:x:1000:\nstaff:x:50:bob,ann\ndocker:x:99:ann\n";

    fn find(wanted: &str) -> Result<User, UnknownUser> {
        User::find_in(wanted, PASSWD, GROUP)
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let ann = find("ann").unwrap();
        assert_eq!((ann.uid, ann.gid, ann.home.as_str()), (1000, 1000, "/home/ann"));
        assert_eq!(ann.groups, [50, 99]);
        assert_eq!(find("1000").unwrap(), ann);
    }

    #[test]
    fn an_id_is_there_when_a_range_has_it() {
        let map = "         0     100000      65536\n     70000     200000          1\n";
        for (id, there) in [(0, true), (65_535, true), (65_536, false), (70_000, true), (70_001, false)] {
            assert_eq!(is_mapped(map, id), there, "{id}");
        }
    }

    #[test]
    fn a_number_needs_no_name() {
        let nobody = find("4242").unwrap();
        assert_eq!((nobody.name.as_str(), nobody.uid, nobody.gid, nobody.home.as_str()), ("4242", 4242, 0, "/"));
    }

    #[test]
    fn a_group_that_is_asked_for_is_the_only_one() {
        let ann = find("ann:staff").unwrap();
        assert_eq!((ann.gid, ann.groups), (50, vec![]));
        assert_eq!(find("ann:77").unwrap().gid, 77);
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert_eq!(find("bob"), Err(UnknownUser::User("bob".into())));
        assert_eq!(find("-1"), Err(UnknownUser::User("-1".into())));
        assert_eq!(find(""), Err(UnknownUser::User(String::new())));
        assert_eq!(find("4294967295"), Err(UnknownUser::User("4294967295".into())));
        assert_eq!(find("ann:wheel"), Err(UnknownUser::Group("wheel".into())));
    }
}
