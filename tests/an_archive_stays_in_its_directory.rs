//! Whatever an archive says, and whatever programs do meanwhile, nothing outside of the directory that it is unpacked into is
//! touched, and neither memory nor disk is filled beyond what was allowed.

use crate::kit::{
    Runtime, Sandbox,
    archives::Archive,
    errors::{expect_bad_fields, expect_error},
    v1,
    within::until,
};
use tar::EntryType;
use tonic::Code;

crate::in_every_runtime!(
    what_leads_out_is_refused_by_name,
    what_is_refused_can_be_left_out,
    links_that_lead_out_can_be_kept_and_lead_nothing_through,
    a_link_swapped_in_between_leads_nowhere,
    a_huge_sparse_file_takes_no_room,
    a_bomb_is_bounded,
    too_many_entries_are_too_many,
    a_full_disk_leaves_whole_files_only,
    of_two_with_one_name_the_last_is_there,
    an_archive_cannot_take_more_memory_than_it_may,
);

/// Something outside that must stay as it is.
async fn outside(s: &Sandbox) {
    s.run("mkdir /tmp/outside; printf secret > /tmp/outside/f; chmod 600 /tmp/outside/f; touch -d @1 /tmp/outside/f /tmp/outside")
        .await
        .expect("", "", 0);
}

async fn expect_untouched(s: &Sandbox) {
    s.run("cd /tmp/outside; ls -A; cat f; stat -c ' %a %Y %h' f; stat -c %Y .; cd - >/dev/null").await.expect(
        "f\nsecret 600 1 1\n1\n",
        "",
        0,
    );
}

/// Archives that mean harm: a name, the entry that is refused, and what they are.
fn attacks() -> Vec<(&'static str, &'static str, Archive)> {
    let new = Archive::default;
    let device = |kind| new().file("before", "x").add(kind, "special", "", b"");
    vec![
        ("up", "../outside/f", new().file("before", "x").file("../outside/f", "evil")),
        ("far up", "a/../../outside/f", new().file("before", "x").file("a/../../outside/f", "evil")),
        ("absolute", "/tmp/outside/f", new().file("before", "x").file("/tmp/outside/f", "evil")),
        ("absolute link", "l", new().file("before", "x").symlink("l", "/tmp/outside/f")),
        ("link up", "d/l", new().file("before", "x").symlink("d/l", "../../outside/f")),
        ("through a link", "d/l/f", new().file("before", "x").symlink("d/l", "e").file("d/l/f", "evil")),
        ("through a file", "before/f", new().file("before", "x").file("before/f", "evil")),
        ("hard link", "h", new().file("before", "x").add(EntryType::Link, "h", "/tmp/outside/f", b"")),
        ("hard link up", "h", new().file("before", "x").add(EntryType::Link, "h", "../outside/f", b"")),
        ("device", "special", device(EntryType::Char)),
        ("block device", "special", device(EntryType::Block)),
        ("fifo", "special", device(EntryType::Fifo)),
        ("unknown", "special", device(EntryType::new(b'?'))),
    ]
}

async fn what_leads_out_is_refused_by_name(on: Runtime) {
    let s = on.sandbox().await;
    outside(&s).await;
    for (what, entry, archive) in attacks() {
        let refused = s.import(s.open_import("/tmp/t"), &archive.bytes()).await.expect_err(what);
        expect_error(&refused, Code::FailedPrecondition, "ENTRY_REFUSED");
        assert!(refused.message().contains(&format!("\"{entry}\"")), "{what}: {refused:?}");
        s.run("cat /tmp/t/before; rm -r /tmp/t").await.expect("x", "", 0);
        expect_untouched(&s).await;
    }
    // A link that is there already, made by a program.
    s.run("mkdir /tmp/t; ln -s /tmp/outside /tmp/t/l").await.expect("", "", 0);
    let refused = s.import(s.open_import("/tmp/t"), &Archive::default().file("l/f", "evil").bytes()).await.unwrap_err();
    expect_error(&refused, Code::FailedPrecondition, "ENTRY_REFUSED");
    let hard = Archive::default().add(EntryType::Link, "h", "l/f", b"").bytes();
    let refused = s.import(s.open_import("/tmp/t"), &hard).await.unwrap_err();
    expect_error(&refused, Code::FailedPrecondition, "ENTRY_REFUSED");
    // In its own place it is replaced, and not written through.
    s.import(s.open_import("/tmp/t"), &Archive::default().file("l", "mine").bytes()).await.unwrap();
    s.run("test ! -L /tmp/t/l && cat /tmp/t/l").await.expect("mine", "", 0);
    expect_untouched(&s).await;
}

async fn what_is_refused_can_be_left_out(on: Runtime) {
    let s = on.sandbox().await;
    outside(&s).await;
    for (what, entry, archive) in attacks() {
        let open = v1::ImportOpen { skip_refused: true, ..s.open_import("/tmp/t") };
        let done = s.import(open, &archive.file("after", "y").bytes()).await.expect(what);
        let [refused] = &done.refused[..] else { panic!("{what}: {done:?}") };
        assert_eq!((refused.name.as_str(), done.refused_total, done.files), (entry, 1, 2), "{what}: {done:?}");
        s.run("cat /tmp/t/before /tmp/t/after; rm -r /tmp/t").await.expect("xy", "", 0);
        expect_untouched(&s).await;
    }
    let many = (0..150).fold(Archive::default(), |archive, _| archive.file("../f", "evil"));
    let done = s.import(v1::ImportOpen { skip_refused: true, ..s.open_import("/tmp/t") }, &many.bytes()).await.unwrap();
    assert_eq!((done.refused.len(), done.refused_total), (100, 150));
}

async fn links_that_lead_out_can_be_kept_and_lead_nothing_through(on: Runtime) {
    let s = on.sandbox().await;
    outside(&s).await;
    let links = Archive::default().symlink("l", "/tmp/outside").symlink("m", "../outside/f");
    let open = || v1::ImportOpen { outside_links: true, ..s.open_import("/tmp/t") };
    let refused = s.import(open(), &links.file("l/f", "evil").bytes()).await.unwrap_err();
    expect_error(&refused, Code::FailedPrecondition, "ENTRY_REFUSED");
    s.run("readlink /tmp/t/l /tmp/t/m").await.expect("/tmp/outside\n../outside/f\n", "", 0);
    // A hard link to such a link is another link, and not what it leads to.
    let hard = Archive::default().add(EntryType::Link, "h", "m", b"").file("m", "mine").bytes();
    s.import(open(), &hard).await.unwrap();
    s.run("readlink /tmp/t/h; cat /tmp/t/m").await.expect("../outside/f\nmine", "", 0);
    expect_untouched(&s).await;
}

async fn a_link_swapped_in_between_leads_nowhere(on: Runtime) {
    let s = on.sandbox().await;
    outside(&s).await;
    s.run("mkdir -p /tmp/t/d; mkdir /tmp/aside").await;
    // Somebody puts a link in the place of the directory and takes it away again, as often as possible.
    let swaps = "i=0; while [ ! -e /tmp/stop ]; do rm -rf /tmp/aside/d; mv /tmp/t/d /tmp/aside/d; ln -s /tmp/outside /tmp/t/d; i=$((i+1)); rm -rf /tmp/t/d; mv /tmp/aside/d /tmp/t/d; [ $i -ge 5 ] && : > /tmp/swapping; done 2>/dev/null";
    let (other, swaps) = (s.clone(), swaps.to_owned());
    let swapping = tokio::spawn(async move { other.run(&swaps).await });
    until("the swaps to begin", async || s.stat("/tmp/swapping").await.is_ok()).await;
    let file = |archive: Archive, name: usize| archive.file(&format!("d/{name}"), "x");
    let archive = (0..300).fold(Archive::default().file("d/f", "evil"), file).bytes();
    for _ in 0..30 {
        let open = v1::ImportOpen { skip_refused: true, ..s.open_import("/tmp/t") };
        match s.import(open, &archive).await {
            Ok(_) => {}
            // What is in the way at that moment may be anything, and its name is told.
            Err(status) => assert!(status.message().contains("d"), "{status:?}"),
        }
    }
    s.write("/tmp/stop", "").await;
    swapping.await.unwrap();
    expect_untouched(&s).await;
}

async fn a_huge_sparse_file_takes_no_room(on: Runtime) {
    let s = on.sandbox().await;
    let here = tempfile::tempdir().unwrap();
    std::fs::File::create(here.path().join("huge")).unwrap().set_len(10 << 30).unwrap();
    let out =
        std::process::Command::new("tar").args(["-S", "-cf", "-", "huge"]).current_dir(here.path()).output().unwrap();
    assert!(out.status.success() && out.stdout.len() < 1 << 20);
    let done = s.import(s.open_import("/tmp/t"), &out.stdout).await.unwrap();
    assert_eq!(done.bytes, 10 << 30);
    s.run("cd /tmp/t; stat -c %s huge; test $(du -k huge | cut -f 1) -le 64; rm huge; cd - >/dev/null").await.expect(
        "10737418240\n",
        "",
        0,
    );
    // Holes that are not where they could be.
    let mut wrong = out.stdout.clone();
    let mut header = tar::Header::from_byte_slice(&wrong[..512]).clone();
    assert_eq!(header.entry_type(), EntryType::GNUSparse);
    header.as_gnu_mut().unwrap().sparse[0].set_offset(11 << 30);
    header.set_cksum();
    wrong[..512].copy_from_slice(header.as_bytes());
    let refused = s.import(s.open_import("/tmp/t"), &wrong).await.unwrap_err();
    expect_error(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert!(refused.message().contains("huge"), "{refused:?}");
}

async fn a_bomb_is_bounded(on: Runtime) {
    let s = on.sandbox().await;
    // 300 MB of zeros in some kilobytes.
    let bomb = {
        let mut header = tar::Header::new_ustar();
        header.set_path("bomb").unwrap();
        header.set_mode(0o644);
        header.set_size(300 << 20);
        header.set_cksum();
        let zeros = std::io::Read::take(std::io::repeat(0), 300 << 20);
        std::io::Read::chain(std::io::Cursor::new(header.as_bytes().to_vec()), zeros)
    };
    let bomb = zstd::encode_all(bomb, 3).unwrap();
    assert!(bomb.len() < 1 << 20);
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::copy(&mut zstd::Decoder::new(&bomb[..]).unwrap(), &mut encoder).unwrap();
        encoder.finish().unwrap()
    };
    for bomb in [bomb, gzip] {
        let open = v1::ImportOpen { max_bytes: 20 << 20, ..s.open_import("/tmp/t") };
        let refused = s.import(open, &bomb).await.unwrap_err();
        expect_error(&refused, Code::ResourceExhausted, "FILE_TOO_LARGE");
        assert!(refused.message().contains("20971520 bytes") && refused.message().contains("\"bomb\""), "{refused:?}");
        s.run("ls -A /tmp/t").await.expect("", "", 0);
    }
}

async fn too_many_entries_are_too_many(on: Runtime) {
    let s = on.sandbox().await;
    let many = (0..3000).fold(Archive::default(), |archive, name| archive.file(&format!("d/{name}"), ""));
    let open = v1::ImportOpen { max_entries: 2000, ..s.open_import("/tmp/t") };
    let refused = s.import(open, &many.bytes()).await.unwrap_err();
    expect_error(&refused, Code::ResourceExhausted, "FILE_TOO_LARGE");
    assert!(refused.message().contains("2000 entries") && refused.message().contains("\"d/2000\""), "{refused:?}");
    s.run("ls -A /tmp/t/d | wc -l").await.expect("2000\n", "", 0);
    let negative = v1::ImportOpen { max_bytes: -1, max_entries: -1, compression: 17, ..s.open_import("") };
    expect_bad_fields(
        &s.import(negative, b"").await.unwrap_err(),
        &["path", "compression", "max_bytes", "max_entries"],
    );
}

async fn an_archive_cannot_take_more_memory_than_it_may(on: Runtime) {
    let s = on.sandbox().await;
    // A window of 128 MiB.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    std::io::Write::write_all(&mut encoder, &Archive::default().file("f", &"text".repeat(100_000)).bytes()).unwrap();
    let refused = s.import(s.open_import("/tmp/t"), &encoder.finish().unwrap()).await.unwrap_err();
    expect_error(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert!(refused.message().contains("8 MiB"), "{refused:?}");
    // A name that is longer than any can be, and a header that says it has 4 GiB of names.
    for size in [100_000, u64::from(u32::MAX)] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(size);
        header.set_cksum();
        let long = [header.as_bytes(), &vec![b'n'; 100_352][..], &Archive::default().file("f", "x").bytes()].concat();
        let refused = s.import(s.open_import("/tmp/t"), &long).await.unwrap_err();
        expect_error(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
}

/// Small files are written beside the making of the next ones.
async fn a_full_disk_leaves_whole_files_only(on: Runtime) {
    let s = on.sandbox().await;
    // A memory file system with a limit is in every sandbox. Some room is left.
    let fill = "dd if=/dev/zero of=/dev/shm/fill bs=64k 2>/dev/null; truncate -s -1M /dev/shm/fill";
    s.run(fill).await.expect("", "", 0);
    let text = "0123456789abcdef".repeat(512);
    let archive = (0..1000).fold(Archive::default(), |archive, at| archive.file(&format!("d{}/f{at}", at % 7), &text));
    let full = s.import(s.open_import("/dev/shm/t"), &archive.bytes()).await.unwrap_err();
    expect_error(&full, Code::ResourceExhausted, "NO_SPACE");
    s.write("/tmp/text", &text).await;
    let look = "find /dev/shm/t -type f ! -exec cmp -s {} /tmp/text \\; -print; test $(find /dev/shm/t -type f | wc -l) -ge 50";
    s.run(look).await.expect("", "", 0);
    s.run("find /dev/shm/t -type f -exec stat -c '%Y %a' {} + | sort -u").await.expect("1234567890 644\n", "", 0);
}

async fn of_two_with_one_name_the_last_is_there(on: Runtime) {
    let s = on.sandbox().await;
    let both = |archive: Archive, at: i32| {
        let name = format!("f{at}");
        archive.file(&name, &format!("first {at}")).file(&name, &format!("last {at}"))
    };
    let archive = (0..300).fold(Archive::default(), both);
    let answer = s.import(s.open_import("/tmp/t"), &archive.bytes()).await.unwrap();
    assert_eq!(answer.files, 600);
    s.run("cd /tmp/t; ls | wc -l; for f in f*; do [ \"$(cat $f)\" = \"last ${f#f}\" ] || echo $f; done")
        .await
        .expect("300\n", "", 0);
}
