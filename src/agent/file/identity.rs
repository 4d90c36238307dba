//! Acting as a user of the sandbox. The kernel keeps the identity that it checks files with for each thread, so only the
//! thread that does the work takes the user's, and then its own again; the kernel itself says what the user may not do.

use super::{super::users::User, error::Result};
use crate::error::{Error, Reason};
use rustix::{
    process::{Gid, getgroups},
    thread::set_thread_groups,
};
use std::io;

/// Whom a request acts as.
#[derive(Debug, Clone)]
pub(in crate::agent) enum Identity {
    /// As the program itself, which is whom the sandbox's programs run as.
    Own,
    /// As somebody else.
    Of(User),
}

impl Identity {
    /// Whom this field names; the program itself when it is empty.
    pub(super) fn find(user: &str) -> Result<Self> {
        if user.is_empty() {
            return Ok(Self::Own);
        }
        let user = User::find(user).map_err(|unknown| Error::invalid("user", unknown.to_string()))?;
        Ok(Self::Of(user))
    }

    /// Whether it was named.
    pub(super) fn is_named(&self) -> bool {
        matches!(self, Self::Of(_))
    }

    /// Does this as that user.
    pub(in crate::agent) fn act<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        match self {
            Self::Own => work(),
            Self::Of(user) => {
                let _until_done = Borrowed::of(user)?;
                work()
            }
        }
    }
}

/// Another's identity, until this is dropped.
struct Borrowed {
    groups: Vec<Gid>,
    uid: u32,
    gid: u32,
}

impl Borrowed {
    fn of(user: &User) -> Result<Self> {
        let refused = |error: io::Error| {
            let message = format!("this sandbox's agent may not act as user \"{}\": {error}", user.name);
            Error::file(Reason::PermissionDenied, message)
        };
        let groups = getgroups().map_err(|error| refused(error.into()))?;
        let own =
            Self { groups, uid: set_fs_id(libc::SYS_setfsuid, u32::MAX), gid: set_fs_id(libc::SYS_setfsgid, u32::MAX) };
        let wanted: Vec<_> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        if own.uid == user.uid && own.gid == user.gid && wanted.iter().all(|gid| own.groups.contains(gid)) {
            return Ok(own);
        }
        // From here on dropping it gives everything back.
        set_thread_groups(&wanted).map_err(|error| refused(error.into()))?;
        set_fs_id(libc::SYS_setfsgid, user.gid);
        set_fs_id(libc::SYS_setfsuid, user.uid);
        let is = [set_fs_id(libc::SYS_setfsuid, u32::MAX), set_fs_id(libc::SYS_setfsgid, u32::MAX)];
        if is == [user.uid, user.gid] { Ok(own) } else { Err(refused(io::ErrorKind::PermissionDenied.into())) }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        set_fs_id(libc::SYS_setfsuid, self.uid);
        set_fs_id(libc::SYS_setfsgid, self.gid);
        // What was this thread's before cannot be refused.
        let _ = set_thread_groups(&self.groups);
    }
}

/// Sets one identity of this thread, and returns the one before. -1 is never one, so it only asks.
fn set_fs_id(call: libc::c_long, id: u32) -> u32 {
    // SAFETY: the call takes a number and touches no memory. It changes this thread alone.
    unsafe { libc::syscall(call, libc::c_ulong::from(id)) as u32 }
}
