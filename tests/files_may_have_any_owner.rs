//! Files keep the owners that they are given, users with high numbers too: as an archive from elsewhere names them.

use crate::kit::{Runtime, host, token};
use std::{fs, os::unix::fs::MetadataExt};

crate::in_every_runtime!(an_archive_keeps_its_owners, a_user_with_a_high_number_works);

/// Numbers that directories of large organisations give out, and the highest that a sandbox has.
const OWNERS: [u32; 5] = [65_535, 65_536, 57_095_740, 1_200_000_001, 2_147_418_111];

async fn an_archive_keeps_its_owners(on: Runtime) {
    let sandbox = on.sandbox().await;
    let program = format!(
        "
import io, tarfile
with tarfile.open(\\\"archive.tar\\\", \\\"w\\\") as archive:
    for owner in {OWNERS:?}:
        member = tarfile.TarInfo(\\\"file-%d\\\" % owner)
        member.uid = member.gid = owner
        archive.addfile(member, io.BytesIO())
"
    );
    let made = sandbox.run(&format!("cd /workspace && /usr/bin/python3 -c \"{program}\" && tar -xf archive.tar")).await;
    made.expect("", "", 0);
    let wanted: String = OWNERS.iter().map(|owner| format!("{owner}:{owner} file-{owner}\n")).collect();
    let got = sandbox.run("cd /workspace && stat -c '%u:%g %n' $(ls -v file-*)").await;
    assert_eq!(got.out(), wanted, "{got:?}");
}

async fn a_user_with_a_high_number_works(on: Runtime) {
    let sandbox = on.sandbox().await;
    let program = "
import os
os.mkdir(\\\"/tmp/own\\\")
os.chown(\\\"/tmp/own\\\", 57095740, 57095740)
os.setgroups([]); os.setgid(57095740); os.setuid(57095740)
open(\\\"/tmp/own/file\\\", \\\"w\\\").write(\\\"mine\\\")
try: open(\\\"/root/file\\\", \\\"w\\\"); print(\\\"root's too\\\")
except OSError: print(os.getuid(), open(\\\"/tmp/own/file\\\").read())
";
    sandbox.run(&format!("/usr/bin/python3 -c \"{program}\"")).await.expect("57095740 mine\n", "", 0);
    let got = sandbox.run("stat -c %u:%g /tmp/own/file && rm -r /tmp/own && echo removed").await;
    got.expect("57095740:57095740\nremoved\n", "", 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_high_number_is_nobody_on_the_host() {
    let on = Runtime::Linux;
    let (sandbox, word) = (on.sandbox().await, token());
    sandbox.run(&format!("touch /workspace/{word} && chown 57095740:1000 /workspace/{word}")).await.expect("", "", 0);
    let agent = host::agent_with_file(&format!("/workspace/{word}"));
    let seen = fs::metadata(format!("/proc/{agent}/root/workspace/{word}")).expect("the file as the host sees it");
    assert_eq!(seen.uid(), 0x8000_0000 + 57_095_740);
    assert!((0x7000_0000..0x7ffe_0000).contains(&seen.gid()), "{}", seen.gid());
}
