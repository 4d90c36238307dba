//! Requests to drivers: what is passed to the kernel, in its own shapes (`linux/btrfs.h`, `linux/loop.h`). All `unsafe` of the
//! pool is here.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd},
};

/// A request and the type of its argument. The kernel finds the argument's size in the number, where it is a number of the
/// usual form, and refuses a request whose size is not the one that it knows.
pub(super) struct Request<T> {
    number: u32,
    argument: PhantomData<fn(T)>,
}

const BTRFS: u32 = 0x94;
const WRITE: u32 = 1;
const READ: u32 = 2;

impl<T> Request<T> {
    const fn btrfs(direction: u32, number: u32) -> Self {
        assert!(size_of::<T>() < 1 << 14, "a number has 14 bits for the size");
        let number = direction << 30 | (size_of::<T>() as u32) << 16 | BTRFS << 8 | number;
        Self { number, argument: PhantomData }
    }

    const fn plain(number: u32) -> Self {
        Self { number, argument: PhantomData }
    }
}

/// Makes a request. Returns what the driver returned.
pub(super) fn call<T: Argument>(device: impl AsFd, request: &Request<T>, argument: &mut T) -> io::Result<u32> {
    // SAFETY: every request below is declared with the type that the kernel reads and writes for it, which holds numbers only
    // (and, where it has pointers, borrows what they mean); it outlives the call.
    let result = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), request.number as _, std::ptr::from_mut(argument)) };
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// What may be passed to the kernel: any bits are a value of it.
pub(super) trait Argument {}

/// No argument.
#[repr(C)]
pub(super) struct Nothing(u64);
impl Nothing {
    pub(super) const NOTHING: Self = Self(0);
}
impl Argument for Nothing {}

/// `struct btrfs_ioctl_vol_args`: the name of a subvolume, or a size.
#[repr(C)]
pub(super) struct Name {
    fd: i64,
    name: [u8; 4088],
}
impl Argument for Name {}

impl Name {
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let mut this = Self { fd: 0, name: [0; 4088] };
        put(&mut this.name, name)?;
        Ok(this)
    }
}

fn put(field: &mut [u8], name: &str) -> io::Result<()> {
    // The last byte ends it.
    let room = field.len() - 1;
    let field = field[..room].get_mut(..name.len()).ok_or(io::ErrorKind::InvalidFilename)?;
    field.copy_from_slice(name.as_bytes());
    Ok(())
}

/// `struct btrfs_qgroup_limit`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Limit {
    pub(super) flags: u64,
    pub(super) most_referenced: u64,
    pub(super) rest: [u64; 3],
}

/// A limit of the bytes that a group's subvolumes refer to is set or, if it is [`UNLIMITED`], taken away.
pub(super) const LIMIT_REFERENCED: u64 = 1;
/// No limit.
pub(super) const UNLIMITED: u64 = u64::MAX;

/// `struct btrfs_ioctl_qgroup_limit_args`. Group 0 is that of the subvolume that the request is made on.
#[repr(C)]
#[derive(Default)]
pub(super) struct GroupLimit {
    pub(super) group: u64,
    pub(super) limit: Limit,
}
impl Argument for GroupLimit {}

/// `struct btrfs_qgroup_inherit`, with room for one group.
#[repr(C)]
#[derive(Default)]
pub(super) struct Inherit {
    flags: u64,
    groups: u64,
    copies: [u64; 2],
    limit: Limit,
    group: u64,
}

impl Inherit {
    pub(super) fn of(group: u64) -> Self {
        Self { groups: 1, group, ..Self::default() }
    }
}

/// `struct btrfs_ioctl_vol_args_v2`, for a new subvolume that belongs to a group.
#[repr(C)]
pub(super) struct NewSubvolume<'a> {
    fd: i64,
    transaction: u64,
    flags: u64,
    inherit_size: u64,
    inherit: Option<&'a Inherit>,
    unused: [u64; 2],
    name: [u8; 4040],
}
impl Argument for NewSubvolume<'_> {}

impl<'a> NewSubvolume<'a> {
    pub(super) fn new(name: &str, inherit: &'a Inherit) -> io::Result<Self> {
        const INHERIT: u64 = 1 << 2;
        let inherit_size = size_of::<Inherit>() as u64;
        let mut this = Self {
            fd: 0,
            transaction: 0,
            flags: INHERIT,
            inherit_size,
            inherit: Some(inherit),
            unused: [0; 2],
            name: [0; 4040],
        };
        put(&mut this.name, name)?;
        Ok(this)
    }
}

/// `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
pub(super) struct Lookup {
    pub(super) tree: u64,
    pub(super) object: u64,
    name: [u8; 4080],
}
impl Argument for Lookup {}

impl Lookup {
    pub(super) fn of(tree: u64, object: u64) -> Self {
        Self { tree, object, name: [0; 4080] }
    }
}

/// `struct btrfs_ioctl_search_args`: looks for items, and gives those that it finds.
#[repr(C)]
pub(super) struct Search {
    tree: u64,
    objects: [u64; 2],
    offsets: [u64; 2],
    transactions: [u64; 2],
    types: [u32; 2],
    pub(super) items: u32,
    unused: u32,
    more_unused: [u64; 4],
    found: [u8; 3992],
}
impl Argument for Search {}

impl Search {
    /// For so many items of this type, of one object of a tree, whose offset is this one or a higher one.
    pub(super) fn for_items(tree: u64, object: u64, kind: u32, from: u64, items: u32) -> Self {
        Self {
            tree,
            objects: [object; 2],
            offsets: [from, u64::MAX],
            transactions: [0, u64::MAX],
            types: [kind; 2],
            items,
            unused: 0,
            more_unused: [0; 4],
            found: [0; 3992],
        }
    }

    /// What was found: the offset and the content of each item.
    pub(super) fn found(&self) -> impl Iterator<Item = (u64, &[u8])> {
        // `struct btrfs_ioctl_search_header`: transaction, object, offset, type, length.
        const HEADER: usize = 32;
        let mut rest = self.found.as_slice();
        (0..self.items).map_while(move |_| {
            let (header, after) = rest.split_at_checked(HEADER)?;
            let offset = u64::from_le_bytes(header.get(16..24)?.try_into().ok()?);
            let length = u32::from_le_bytes(header.get(28..32)?.try_into().ok()?);
            let (content, after) = after.split_at_checked(length as usize)?;
            rest = after;
            Some((offset, content))
        })
    }
}

/// `struct btrfs_ioctl_quota_ctl_args`.
#[repr(C)]
pub(super) struct Quota {
    pub(super) command: u64,
    pub(super) status: u64,
}
impl Argument for Quota {}

/// `struct btrfs_ioctl_qgroup_create_args`.
#[repr(C)]
pub(super) struct Group {
    /// 1 makes it, 0 removes it.
    pub(super) create: u64,
    pub(super) group: u64,
}
impl Argument for Group {}

/// `struct btrfs_ioctl_quota_rescan_args`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Rescan([u64; 8]);
impl Argument for Rescan {}

/// `struct btrfs_ioctl_fs_info_args`.
#[repr(C)]
pub(super) struct Information {
    numbers: [u64; 2],
    pub(super) id: [u8; 16],
    rest: [u8; 992],
}
impl Argument for Information {}

impl Information {
    pub(super) const EMPTY: Self = Self { numbers: [0; 2], id: [0; 16], rest: [0; 992] };
}

/// `struct loop_info64`.
#[repr(C)]
pub(super) struct LoopStatus {
    /// Device and inode of the file behind it.
    pub(super) device: u64,
    pub(super) inode: u64,
    numbers: [u64; 3],
    number_and_encryption: [u32; 3],
    pub(super) flags: u32,
    names: [u8; 160],
    init: [u64; 2],
}
impl Argument for LoopStatus {}

impl LoopStatus {
    pub(super) const EMPTY: Self = Self {
        device: 0,
        inode: 0,
        numbers: [0; 3],
        number_and_encryption: [0; 3],
        flags: 0,
        names: [0; 160],
        init: [0; 2],
    };
}

/// The device is free again when nobody has it open or mounted.
pub(super) const LOOP_AUTOCLEAR: u32 = 4;
/// It does not keep in memory what the file system on it keeps already.
pub(super) const LOOP_DIRECT_IO: u32 = 16;

/// `struct loop_config`.
#[repr(C)]
pub(super) struct LoopConfig {
    pub(super) file: u32,
    pub(super) block_size: u32,
    pub(super) status: LoopStatus,
    pub(super) reserved: [u64; 8],
}
impl Argument for LoopConfig {}

pub(super) const RESIZE: Request<Name> = Request::btrfs(WRITE, 3);
pub(super) const DESTROY_SUBVOLUME: Request<Name> = Request::btrfs(WRITE, 15);
pub(super) const TREE_SEARCH: Request<Search> = Request::btrfs(READ | WRITE, 17);
pub(super) const INODE_LOOKUP: Request<Lookup> = Request::btrfs(READ | WRITE, 18);
pub(super) const fn create_subvolume<'a>() -> Request<NewSubvolume<'a>> {
    Request::btrfs(WRITE, 24)
}
pub(super) const SYNC: Request<Nothing> = Request::plain(BTRFS << 8 | 8);
pub(super) const FILE_SYSTEM_INFORMATION: Request<Information> = Request::btrfs(READ, 31);
pub(super) const QUOTA_CONTROL: Request<Quota> = Request::btrfs(READ | WRITE, 40);
pub(super) const GROUP_CREATE: Request<Group> = Request::btrfs(WRITE, 42);
pub(super) const GROUP_LIMIT: Request<GroupLimit> = Request::btrfs(READ, 43);
pub(super) const QUOTA_RESCAN: Request<Rescan> = Request::btrfs(WRITE, 44);
pub(super) const QUOTA_RESCAN_WAIT: Request<Nothing> = Request::plain(BTRFS << 8 | 46);
pub(super) const LOOP_GET_STATUS: Request<LoopStatus> = Request::plain(0x4c05);
pub(super) const LOOP_SET_CAPACITY: Request<Nothing> = Request::plain(0x4c07);
pub(super) const LOOP_CONFIGURE: Request<LoopConfig> = Request::plain(0x4c0a);
pub(super) const LOOP_GET_FREE: Request<Nothing> = Request::plain(0x4c82);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_the_kernels() {
        assert_eq!((size_of::<Name>(), size_of::<NewSubvolume<'_>>()), (4096, 4096));
        assert_eq!((size_of::<Lookup>(), size_of::<Search>(), size_of::<Information>()), (4096, 4096, 1024));
        assert_eq!((size_of::<GroupLimit>(), size_of::<Inherit>()), (48, 80));
        assert_eq!((size_of::<LoopStatus>(), size_of::<LoopConfig>()), (232, 304));
        assert_eq!(GROUP_LIMIT.number, 0x8030_942b);
        assert_eq!(create_subvolume().number, 0x5000_9418);
    }
}
