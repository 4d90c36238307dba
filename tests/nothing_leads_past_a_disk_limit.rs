//! What a program can ask of a file system beside writing to plain files does not get it more room than it may have: neither in a sandbox's
//! own files nor in a volume, whose file system it reaches without anything in between.

use crate::kit::{
    Runtime, Sandbox, create_sandbox, shared, token, v1,
    volumes::{create_volume, delete_volume, get_volume, named, prints, with_volumes},
};
use v1::{CreateVolumeRequest, Resources};

const MIB: i64 = 1 << 20;
const LIMIT: i64 = 8 * MIB;

/// Ways to take room. Each ends with the name of the error that stopped it, or with "no end".
const WAYS: &str = r#"
import ctypes, errno, fcntl, os, sys
where, way = sys.argv[1:]
os.chdir(where)
KIB, MIB = 1 << 10, 1 << 20
FICLONE, FS_IOC_SETFLAGS, COMPRESSED = 0x40049409, 0x40086602, 4
libc = ctypes.CDLL(None, use_errno=True)
create = lambda name: os.open(name, os.O_CREAT | os.O_RDWR)

def write(file, size):
    data = memoryview(os.urandom(size))
    while data: data = data[os.write(file, data):]

def attributes():
    for number in range(1_000_000):
        if number % 1000 == 0: file = create(f'f{number}')
        os.setxattr(file, f'user.{number}', os.urandom(3000))
def links():
    for number in range(100_000): os.symlink(str(number).rjust(3900, 'x'), f'l{number}')
def deep_directories():
    for number in range(100_000):
        if number % 500 == 0: os.chdir(where)
        name = str(number).rjust(240, 'd'); os.mkdir(name); os.chdir(name)
def tiny_files():
    for number in range(200_000):
        file = create(f'f{number}'); write(file, 2000); os.close(file)
def files_without_names():
    kept = []
    for _ in range(400):
        try: kept.append(os.open('.', os.O_TMPFILE | os.O_WRONLY))
        except OSError as error:
            # Overlays of older kernels know no such files.
            if error.errno != errno.EOPNOTSUPP: raise
            kept.append(create('f')); os.remove('f')
        write(kept[-1], MIB)
def holes():
    # An extent is kept as long as a page of it is used, and takes its whole room.
    for number in range(64):
        file = create(f'f{number}'); write(file, 4 * MIB); os.fsync(file)
        for at in range(0, 4 * MIB, 128 * KIB):
            if libc.fallocate(file, 3, ctypes.c_long(at), ctypes.c_long(124 * KIB)):
                raise OSError(ctypes.get_errno(), 'a hole')
        os.fsync(file); os.close(file)
def shared_content():
    # What was shared and is then overwritten takes room of its own.
    for number in range(64):
        file = create('f'); write(file, 4 * MIB); os.fsync(file)
        copy = create(f'copy{number}')
        try: fcntl.ioctl(copy, FICLONE, file)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP: raise
            write(copy, 4 * MIB)
        os.close(file); os.close(copy)
def compressed_files():
    file = create('f')
    try: fcntl.ioctl(file, FS_IOC_SETFLAGS, COMPRESSED.to_bytes(8, 'little'))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM): raise
    for _ in range(256): write(file, MIB)
def room_without_content():
    for number in range(100): os.posix_fallocate(create(f'f{number}'), 0, 4 * MIB)

try:
    globals()[way](); print('no end')
except OSError as error:
    print(errno.errorcode[error.errno])
"#;

const NAMES: [&str; 9] = [
    "attributes",
    "links",
    "deep_directories",
    "tiny_files",
    "files_without_names",
    "holes",
    "shared_content",
    "compressed_files",
    "room_without_content",
];

fn sized(name: &str, bytes: i64) -> CreateVolumeRequest {
    CreateVolumeRequest { size_bytes: Some(bytes), ..named(name) }
}

async fn used(sandbox: &Sandbox) -> i64 {
    let request = v1::GetSandboxStatsRequest { sandbox_id: sandbox.id.clone() };
    let stats = sandbox.clients.sandboxes.clone().get_sandbox_stats(request).await;
    stats.expect("it is measured").into_inner().disk_bytes.expect("what its files take")
}

async fn used_by_volume(name: &str) -> i64 {
    get_volume(shared(), name).await.expect("it is there").used_bytes.expect("it is counted")
}

/// A sandbox whose own files have a limit, with volumes.
async fn limited(volumes: &[(&str, &str)]) -> Sandbox {
    let resources = Some(Resources { disk_bytes: Some(LIMIT), ..Resources::default() });
    let request = v1::CreateSandboxRequest { resources, ..with_volumes(Runtime::Linux, volumes) };
    create_sandbox(shared(), request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_takes_room_is_counted() {
    let name = token();
    create_volume(shared(), sized(&name, LIMIT)).await;
    let sandbox = limited(&[(&name, "/data")]).await;
    let neighbour = limited(&[]).await;
    sandbox.write("/tmp/ways.py", WAYS).await;
    for directory in ["/workspace/d", "/data/d"] {
        for way in NAMES {
            let command = format!("mkdir -p {directory} && /usr/bin/python3 /tmp/ways.py {directory} {way}");
            assert_eq!(prints(&sandbox, &command).await, "EDQUOT\n", "{way} in {directory}");
            for used in [used(&sandbox).await, used_by_volume(&name).await] {
                assert!(used <= LIMIT + MIB, "{way} in {directory}: {used}");
            }
            prints(&neighbour, "head -c 1M /dev/zero >/workspace/f && sync /workspace/f && rm /workspace/f").await;
            let again = format!("rm -r {directory} && head -c 2M /dev/zero >{directory}2 && rm {directory}2");
            prints(&sandbox, &again).await;
        }
    }
    sandbox.delete().await;
    delete_volume(shared(), &name).await.expect("it is deleted");
}

/// Asks for subvolumes and a snapshot in a volume, and for what is in another volume.
const REQUESTS: &str = r#"
import errno, fcntl, os, struct
SUBVOL_CREATE, SUBVOL_CREATE_V2, SNAP_CREATE, SYNC = 0x5000940e, 0x50009418, 0x50009401, 0x9408
FICLONE, FICLONERANGE = 0x40049409, 0x4020940d
named = lambda name, file=0: bytearray(struct.pack('q4088s', file, name))
volume = os.open('/small', os.O_RDONLY)
large = os.open('/large/f', os.O_RDONLY)
small = os.open('/small/f', os.O_CREAT | os.O_RDWR)
size = os.fstat(large).st_size
def attempt(what, request):
    try: print(what, 'done', request())
    except OSError as error: print(what, errno.errorcode[error.errno])
attempt('subvolume', lambda: fcntl.ioctl(volume, SUBVOL_CREATE, named(b'sub')))
attempt('subvolume', lambda: fcntl.ioctl(volume, SUBVOL_CREATE_V2, bytearray(struct.pack('qQQ32x4040s', 0, 0, 0, b'sub2'))))
attempt('snapshot', lambda: fcntl.ioctl(volume, SNAP_CREATE, named(b'snap', volume)))
attempt('sync', lambda: fcntl.ioctl(volume, SYNC))
attempt('clone', lambda: fcntl.ioctl(small, FICLONE, large))
attempt('range', lambda: fcntl.ioctl(small, FICLONERANGE, struct.pack('qQQQ', large, 0, 0, 0)))
attempt('copy', lambda: os.copy_file_range(large, small, size))
attempt('hard link', lambda: os.link('/large/f', '/small/link'))
attempt('rename', lambda: os.rename('/large/f', '/small/moved'))
attempt('own file', lambda: os.rename('/large/f', '/workspace/moved'))
print(sorted(os.listdir('/small')), os.fstat(small).st_size)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_gets_no_more_by_requests_to_its_file_system() {
    let [small, large] = [token(), token()];
    create_volume(shared(), sized(&small, 4 * MIB)).await;
    create_volume(shared(), sized(&large, 16 * MIB)).await;
    let volumes = [(small.as_str(), "/small"), (large.as_str(), "/large")];
    let sandbox = limited(&volumes).await;
    prints(&sandbox, "head -c 6M /dev/urandom >/large/f && sync /large/f").await;
    sandbox.write("/tmp/requests.py", REQUESTS).await;
    let said = prints(&sandbox, "/usr/bin/python3 /tmp/requests.py").await;
    let expected = "subvolume ENOTTY\nsubvolume ENOTTY\nsnapshot ENOTTY\nsync ENOTTY\nclone ENOTSUP\nrange ENOTSUP\ncopy ENOSYS\n\
        hard link EXDEV\nrename EXDEV\nown file EXDEV\n['f'] 0\n";
    assert_eq!(said, expected);
    // Programs that would share what they copy do without.
    let got = sandbox.run("cp --reflink=auto /large/f /small/f").await;
    assert!(got.exit_code() != 0 && got.err().contains("quota exceeded"), "{got:?}");
    assert!(used_by_volume(&small).await <= 4 * MIB + MIB, "{}", used_by_volume(&small).await);
    prints(
        &sandbox,
        "rm /small/f; cp /large/f /large/g && cksum </large/f >/tmp/f && cksum </large/g | grep -qxf /tmp/f",
    )
    .await;
    sandbox.delete().await;
    // With nothing beside it a volume's own files may share.
    let sandbox = limited(&[volumes[1]]).await;
    prints(&sandbox, "rm /large/g; cp --reflink=always /large/f /large/g && [ $(stat -c %s /large/g) = 6291456 ]")
        .await;
    sandbox.delete().await;
    for name in [small, large] {
        delete_volume(shared(), &name).await.expect("it is deleted");
    }
}

/// A limit that is lowered below what is there while more is being written holds from then on, and so for names and empty files.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_lowered_while_it_is_written() {
    let sandbox = limited(&[]).await;
    let set = async |bytes: i64| {
        let changed = v1::Sandbox {
            sandbox_id: sandbox.id.clone(),
            resources: Some(Resources { disk_bytes: Some(bytes), ..Default::default() }),
            ..Default::default()
        };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["resources.disk_bytes".to_owned()] });
        let request = v1::UpdateSandboxRequest { sandbox: Some(changed), update_mask };
        sandbox.clients.sandboxes.clone().update_sandbox(request).await.expect("it is changed");
    };
    set(4096 * MIB).await;
    let session = sandbox.session("/bin/bash").await;
    let write = "head -c 20M /dev/zero >/workspace/f; echo twenty; while echo more >&3; do :; done 3>>/workspace/f";
    let mut writing = session.exec_text(write).await;
    writing.until_out("twenty").await;
    set(LIMIT).await;
    let got = writing.finish().await;
    assert!(got.err().contains("quota exceeded") || got.err().contains("No space left"), "{got:?}");
    let kept = used(&sandbox).await;
    assert!(kept >= 20 * MIB, "nothing is removed: {kept}");
    let many = |file: &str| {
        format!(
            "cd /workspace; i=0; while [ $i -lt 3000 ] && : >{file}$i-$(printf %0200d 0); do i=$((i+1)); done; echo $i"
        )
    };
    let got = session.run(many("a")).await;
    assert!(got.out().trim().parse::<u32>().is_ok_and(|made| made < 3000), "{got:?}");
    assert!(used(&sandbox).await <= kept + MIB, "{kept} {}", used(&sandbox).await);
    set(64 * MIB).await;
    session.run(many("b")).await.expect("3000\n", "", 0);
    session.run("rm -rf /workspace/*; head -c 48M /dev/zero >/workspace/f").await.expect("", "", 0);
}
