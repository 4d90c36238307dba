//! Images, as clients and the operator name them: what a name means, which ones may be asked for, and what opens their registries. Bringing
//! them here, and making sandboxes of them, is a runtime's.

mod allowed;
mod credentials;
mod finder;
mod named;
mod references;

pub use allowed::Allowed;
pub(crate) use credentials::{Credentials, credentials};
pub use finder::Finder;
pub use named::NamedImage;
pub(crate) use references::{registry, tagged, with_tag};

use std::path::PathBuf;

/// Where a root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// The host's programs, copy-on-write (read-only without root), with directories of its own for everything private.
    Host,
    /// A directory that holds a root file system; used copy-on-write (read-only without root), never changed.
    Directory(PathBuf),
    /// What a registry knows by this name: `debian:bookworm`.
    Reference(String),
}

/// What the names of images mean to a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageNames {
    /// [`Image::Host`] and [`Image::Directory`].
    Files,
    /// [`Image::Reference`].
    References,
}
