//! The host image's own part: a root directory made once, that shows of the host only what is chosen here.
//!
//! The host's programs are mounted into it (`/usr`, and `/bin`, `/lib…`, `/sbin` where these are real directories);
//! `/etc` is synthesised; all other directories are empty and the sandbox's own.

use super::{
    etc::{self, mode},
    fingerprint,
};
use crate::runtime::linux::storage::delete;
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Directories of the sandbox's own, and their modes.
const DIRECTORIES: &[(&str, u32)] = &[
    ("boot", 0o755),
    ("dev", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("run/sandshell", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/cache/apt", 0o755),
    ("var/cache/apt/archives", 0o755),
    ("var/cache/apt/archives/partial", 0o755),
    ("var/lib", 0o755),
    ("var/lib/apt", 0o755),
    ("var/lib/apt/lists", 0o755),
    ("var/lib/apt/lists/partial", 0o755),
    ("var/lib/dpkg", 0o755),
    ("var/local", 0o755),
    ("var/log", 0o755),
    ("var/log/apt", 0o755),
    ("var/mail", 0o755),
    ("var/opt", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
    ("workspace", 0o755),
];

/// Directories of the host that are shown where they are: its programs, and what packages say about them. Nix and Guix
/// keep their programs in `/nix/store` and `/gnu/store`.
pub(in crate::runtime::linux) const SHOWN: &[&str] =
    &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix/store", "gnu/store", "var/lib/dpkg"];

/// The name of the layer over a directory of the host that is shown.
pub(in crate::runtime::linux) fn layer_of(shown: &Path) -> String {
    shown.as_os_str().to_string_lossy().replace('/', "-")
}

/// The host's directories to be mounted into the skeleton, relative to the root directory `host`.
pub(in crate::runtime::linux) fn shown(host: &Path) -> Vec<PathBuf> {
    let is_directory = |name: &&&str| fs::symlink_metadata(host.join(name)).is_ok_and(|meta| meta.is_dir());
    SHOWN.iter().filter(is_directory).map(PathBuf::from).collect()
}

/// Makes the skeleton of this host in `images`, if it is not there already, and returns its name.
pub(in crate::runtime::linux) fn ensure(host: &Path, images: &Path) -> io::Result<String> {
    let name = fingerprint::name(host, SHOWN);
    let (target, unfinished) = (images.join(&name), images.join("unfinished"));
    if !target.is_dir() {
        delete::tree(&unfinished)?;
        build(host, &unfinished)?;
        fs::rename(&unfinished, &target)?;
    }
    Ok(name)
}

fn build(host: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir(target)?;
    mode(target, 0o755)?;
    for (name, bits) in DIRECTORIES {
        let path = target.join(name);
        fs::create_dir(&path)?;
        mode(&path, *bits)?;
    }
    symlink("/run", target.join("var/run"))?;
    symlink("/run/lock", target.join("var/lock"))?;
    for name in SHOWN {
        let Ok(meta) = fs::symlink_metadata(host.join(name)) else { continue };
        if meta.is_symlink() {
            // Merged into /usr: `bin -> usr/bin`.
            symlink(fs::read_link(host.join(name))?, target.join(name))?;
        } else if meta.is_dir() {
            fs::create_dir_all(target.join(name))?;
        }
    }
    etc::build(&host.join("etc"), &target.join("etc"))
}
