//! A file as a block device.

use super::ioctl::{
    self, LOOP_AUTOCLEAR, LOOP_CONFIGURE, LOOP_DIRECT_IO, LOOP_GET_FREE, LOOP_GET_STATUS, LoopConfig, LoopStatus,
    Nothing,
};
use rustix::fs::{CWD, FileType, Mode, fstat, major, makedev, minor, mknodat};
use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

/// How often another device is tried, when others take the free ones at the same time.
const TRIES: usize = 100;
/// The blocks that btrfs has.
const BLOCK: u32 = 4096;
/// The major number of loop devices.
const LOOP_MAJOR: u32 = 7;

/// A block device with a file behind it, held open: without that it would be free again before it is mounted.
pub(super) struct Device {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

/// The device that shows a file: the one that does already, because a file system on it is in use, else another one.
pub(super) fn of(file: &File) -> io::Result<Device> {
    match find(file)? {
        Some(device) => Ok(device),
        None => attach(file),
    }
}

/// The device that shows a file already.
pub(super) fn find(file: &File) -> io::Result<Option<Device>> {
    let stat = fstat(file)?;
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        if !entry.path().join("loop/backing_file").exists() {
            continue;
        }
        let Some(number) = entry.file_name().to_str().and_then(|name| name.strip_prefix("loop")?.parse().ok()) else {
            continue;
        };
        // Somebody else's device may be taken away, or be of no concern to us: only what is surely ours counts.
        let Ok(device) = open(number) else { continue };
        let mut status = LoopStatus::EMPTY;
        if ioctl::call(&device.file, &LOOP_GET_STATUS, &mut status).is_ok()
            && status.inode == stat.st_ino
            && kernels(major(stat.st_dev), minor(stat.st_dev)) == status.device
        {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

/// A device number as the kernel writes it there, which is not how it is written in `stat`.
fn kernels(major: u32, minor: u32) -> u64 {
    u64::from(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

fn attach(file: &File) -> io::Result<Device> {
    let control = File::options().read(true).write(true).open("/dev/loop-control")?;
    let descriptor = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
    for _ in 0..TRIES {
        let number = ioctl::call(&control, &LOOP_GET_FREE, &mut { Nothing::NOTHING })?;
        let device = open(number)?;
        let mut status = LoopStatus::EMPTY;
        status.flags = LOOP_AUTOCLEAR | LOOP_DIRECT_IO;
        let mut config = LoopConfig { file: descriptor, block_size: BLOCK, status, reserved: [0; 8] };
        match ioctl::call(&device.file, &LOOP_CONFIGURE, &mut config) {
            Ok(_) => return Ok(device),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn open(number: u32) -> io::Result<Device> {
    let path = Path::new("/dev").join(format!("loop{number}"));
    let open = || File::options().read(true).write(true).open(&path);
    let file = match open() {
        // In a container with the host's devices, `/dev` is not told of new ones.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match mknodat(CWD, &path, FileType::BlockDevice, Mode::RUSR | Mode::WUSR, makedev(LOOP_MAJOR, number)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => open()?,
                Err(error) => return Err(error.into()),
            }
        }
        other => other?,
    };
    Ok(Device { file, path })
}

#[cfg(test)]
mod tests {
    use super::kernels;

    #[test]
    fn numbers_of_devices_are_the_kernels() {
        assert_eq!(kernels(254, 0), 0xfe00);
        assert_eq!(kernels(8, 17), 0x811);
        assert_eq!(kernels(0, 0x12345), 0x1230_0045);
    }
}
