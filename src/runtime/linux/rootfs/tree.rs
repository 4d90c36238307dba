//! A sandbox's root file system: copy-on-write layers over the host's programs or over a directory.
//!
//! With root the layers are mounted by the starter, in its own mount namespace: they vanish with their last user,
//! nothing has to be unmounted, and a crash leaves nothing mounted. Without root the sandbox's first process mounts
//! them itself, in its user namespace: then files that other users own, all of `/usr`, are read-only.

use super::{
    idmap::{self, detached},
    layer::Frozen,
    skeleton,
};
use crate::runtime::linux::{
    failure::{Failure, Step},
    layout::Layout,
    sys,
    wire::Hello,
};
use rustix::{
    fs::{CWD, Gid, Mode, Uid, mkdir},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount, open_tree,
    },
    process::chdir,
};
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

/// The step that fails where layers cannot be made.
pub(in crate::runtime::linux) const HOST_IMAGE: &str = "mount the host image";

/// Mount points in the data directory. Each starter sees its own mounts there, everybody else empty directories.
pub(in crate::runtime::linux) const MOUNT_POINTS: &[&str] = &["root", "lower", "frozen", "below"];

/// The mount points of lower directories, seen from a slot's directory: that of the image, that of a layer in front of it, and both together.
const LOWER: &str = "../../mounts/lower";
const FROZEN: &str = "../../mounts/frozen";
const BELOW: &str = "../../mounts/below";

/// The directory that takes what a sandbox changes in one of its file systems. Over a layer it is another one, because a starter has mounted
/// the image without a layer before it knew.
pub(in crate::runtime::linux) fn upper(name: &str, is_over_layer: bool) -> String {
    if is_over_layer { format!("{name}.over") } else { name.to_owned() }
}

/// Everything that making one sandbox's tree needs to know.
pub(in crate::runtime::linux) struct Tree<'a> {
    pub(in crate::runtime::linux) hello: &'a Hello,
    pub(in crate::runtime::linux) layout: &'a Layout,
    /// The directory of this sandbox's own layers.
    pub(in crate::runtime::linux) layers: &'a Path,
    /// The id that owns new layers.
    pub(in crate::runtime::linux) owner: Option<u32>,
    /// The layer that lies over the image.
    pub(in crate::runtime::linux) frozen: Option<&'a Frozen>,
}

impl Tree<'_> {
    /// Where the finished root file system is.
    pub(in crate::runtime::linux) fn root(&self) -> PathBuf {
        self.layout.mounts().join("root")
    }

    fn point(&self, name: &str) -> PathBuf {
        self.layout.mounts().join(name)
    }

    /// With root: the host image, files owned by the ids of `user_namespace`.
    /// Returns the directories of the host that could not be made copy-on-write.
    pub(in crate::runtime::linux) fn host_mapped(&self, user_namespace: &OwnedFd) -> Result<Vec<PathBuf>, Failure> {
        let mut unchangeable = Vec::new();
        let skeleton = self.layout.skeleton(&self.hello.skeleton);
        self.mapped_layer(&skeleton, &self.root(), "root", user_namespace).step(HOST_IMAGE)?;
        for name in &self.hello.host_directories {
            let (from, to) = (Path::new("/").join(name), self.root().join(name));
            let layer = skeleton::layer_of(name);
            match self.mapped_layer(&from, &to, &layer, user_namespace) {
                Ok(()) => {}
                // Its file system cannot map ids (overlayfs, in a container, cannot): shown as it is, unchangeable.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM | libc::EOPNOTSUPP)) => {
                    read_only(&from, &to).step_with(|| format!("mount {}", from.display()))?;
                    unchangeable.push(from);
                }
                Err(error) => return Err(error).step_with(|| format!("mount {}", from.display())),
            }
        }
        Ok(unchangeable)
    }

    /// With root: a directory.
    pub(in crate::runtime::linux) fn directory_mapped(
        &self,
        directory: &Path,
        user_namespace: &OwnedFd,
    ) -> Result<(), Failure> {
        self.mapped_layer(directory, &self.root(), "image", user_namespace)
            .map_err(|error| Failure::image(format!("use {} as an image", directory.display()), &error))
    }

    /// Without root: either image, by the first process in its own namespaces.
    pub(in crate::runtime::linux) fn own(&self, directory: Option<&Path>) -> Result<(), Failure> {
        let Some(directory) = directory else {
            let skeleton = self.layout.skeleton(&self.hello.skeleton);
            detached(&skeleton).and_then(|lower| self.layer(&lower, &self.root(), "root")).step(HOST_IMAGE)?;
            for name in &self.hello.host_directories {
                let from = Path::new("/").join(name);
                read_only(&from, &self.root().join(name)).step_with(|| format!("mount {}", from.display()))?;
            }
            return Ok(());
        };
        detached(directory)
            .and_then(|lower| self.layer(&lower, &self.root(), "image"))
            .map_err(|error| Failure::image(format!("use {} as an image", directory.display()), &error))
    }

    fn mapped_layer(&self, lower: &Path, target: &Path, name: &str, user_namespace: &OwnedFd) -> io::Result<()> {
        self.layer(&idmap::clone_mapped(lower, user_namespace)?, target, name)
    }

    /// Mounts a writable layer over a detached mount. Moves this process into the directory of layers.
    fn layer(&self, lower: &OwnedFd, target: &Path, name: &str) -> io::Result<()> {
        // Stacked on what the last layer left there: an overlay keeps its own reference to its lower directory.
        move_mount(lower, c"", CWD, self.point("lower"), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        let frozen = self.frozen.map_or(Ok(None), |frozen| frozen.mount(name))?;
        if let Some(frozen) = &frozen {
            move_mount(frozen, c"", CWD, self.point("frozen"), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        }
        // Relative paths, because whoever is inside can read the options, and because they have no room for long ones.
        chdir(self.layers)?;
        let lower = if frozen.is_some() { self.layer_and_image()? } else { LOWER.to_owned() };
        let upper = upper(name, self.frozen.is_some());
        let work = format!("{upper}.work");
        mkdir(&upper, Mode::RWXU)?;
        // Whatever the umask says.
        rustix::fs::chmod(&upper, Mode::from_raw_mode(0o755))?;
        mkdir(&work, Mode::RWXU)?;
        if let Some(owner) = self.owner {
            // The layer's own directory is what the sandbox sees as this directory.
            rustix::fs::chown(&upper, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))?;
        }
        // With root, directories of the lower layer can be renamed: the upper one then notes where its content is. Nobody inside
        // can write such notes, which without root they could.
        let notes = match self.owner {
            None => "userxattr",
            Some(_) if self.hello.disk_pool.is_none() => "redirect_dir=on",
            // Both layers look like one file system, although they lie on two: for `find -xdev`, `du -x` and hard links in archives.
            Some(_) => "redirect_dir=on,xino=on",
        };
        let options = CString::new(format!("lowerdir={lower},upperdir={upper},workdir={work},{notes}"))?;
        Ok(mount(c"overlay", target, c"overlay", MountFlags::NODEV, options.as_c_str())?)
    }

    /// The lower directories of a sandbox that has a layer.
    ///
    /// In the pool each subvolume numbers its files from the same number on, and an overlay takes all of them for one file system. So two files,
    /// one of the layer and one that the sandbox has made, would have the same device and number, which programs take for the same file: `diff`
    /// finds no difference, `cp` refuses, and `rm -r` and `find` see a loop. An overlay of layer and image in between is a file system of its
    /// own, whose numbers the upper one keeps apart. (There a directory may have the number of a file; nobody takes these for the same.)
    fn layer_and_image(&self) -> io::Result<String> {
        let both = format!("{FROZEN}:{LOWER}");
        if self.hello.disk_pool.is_none() {
            // They are on one file system, which numbers all of them.
            return Ok(both);
        }
        let options = CString::new(format!("lowerdir={both},redirect_dir=follow,xino=off"))?;
        let flags = MountFlags::NODEV | MountFlags::RDONLY;
        match mount(c"overlay", self.point("below"), c"overlay", flags, options.as_c_str()) {
            Ok(()) => Ok(BELOW.to_owned()),
            // The image is on an overlay itself, as in a container, and the kernel allows no more than two on each other.
            Err(Errno::INVAL) => Ok(both),
            Err(error) => Err(error.into()),
        }
    }
}

/// Shows a directory of the host read-only, with what is mounted in it.
fn read_only(from: &Path, to: &Path) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, from, flags)?;
    sys::set_mount_attributes(
        tree.as_fd(),
        true,
        sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV,
    )?;
    Ok(move_mount(&tree, c"", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Gives this process a mount namespace in which nothing that it mounts is seen by anybody else, while what the host
/// unmounts goes here too.
pub(in crate::runtime::linux) fn private_mounts() -> Result<(), Failure> {
    sys::unshare_mounts().step("make a mount namespace")?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).step("make the mounts private")
}
