//! A tree of files goes into a sandbox as an archive and comes out as one, with all that an archive can keep.

use crate::kit::{
    Dice, Runtime, Sandbox,
    archives::{Archive, names},
    errors::expect_error,
    v1,
};
use std::{fs, os::unix::fs::symlink, path::Path, process::Command};
use tonic::Code;
use v1::Compression;

crate::in_every_runtime!(
    a_tree_comes_out_as_it_went_in,
    what_is_unpacked_belongs_to_who_asks,
    what_is_there_is_replaced,
    a_part_of_a_tree_can_be_left_out,
    only_what_has_changed_can_be_taken_out,
    a_renamed_directory_is_taken_out_whole,
    a_damaged_archive_is_refused,
    an_owner_that_is_none_is_refused,
    messages_may_have_as_many_bytes_as_is_said,
    each_path_has_its_name_in_the_archive,
    a_lost_client_leaves_what_was_whole,
    a_large_file_passes_in_little_memory,
    a_stream_without_an_end_is_no_archive,
);

/// What a tree is, in one text: names, kinds, modes, times, sizes, links and contents.
/// Size and links of a directory are the file system's own affair.
const TOLD: &str = r"find . -type d -printf '%P %y %m %T@ - %l -\n' -o -printf '%P %y %m %T@ %s %l %n\n' | sort; find . -type f -exec sha256sum {} + | sort -k 2";

fn told_here(top: &Path) -> String {
    let out = Command::new("sh").args(["-c", TOLD]).current_dir(top).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The tree as one of the sandbox's programs tells it.
async fn told_inside(s: &Sandbox, top: &str) -> String {
    s.run(&format!("cd {top} && {{ {TOLD}; }}; cd - >/dev/null")).await.out()
}

/// A tree with everything that can be in one.
fn a_tree(top: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let mut dice = Dice::new();
    let at = |name: &str| top.join(name);
    fs::create_dir_all(at("src/empty")).unwrap();
    let random: Vec<u8> = (0..3 << 20).map(|_| dice.below(256) as u8).collect();
    fs::write(at("src/large"), random).unwrap();
    for (name, data) in [("none", &b""[..]), ("a b", b"\0"), ("new\nline", b"x"), ("\u{17e}", b"y"), ("-rf", b"z")] {
        fs::write(at("src").join(name), data).unwrap();
    }
    fs::write(top.join(std::ffi::OsStr::from_bytes(b"src/\xff\xfe")), "raw").unwrap();
    let deep = format!("{}/{}", ["d".repeat(200).as_str()].repeat(12).join("/"), "n".repeat(255));
    fs::create_dir_all(at(&deep)).unwrap();
    fs::write(at(&format!("{deep}/f")), "deep").unwrap();
    symlink("src/large", at("link")).unwrap();
    symlink("x".repeat(300), at("long-link")).unwrap();
    fs::hard_link(at("src/large"), at("src/second-name")).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 50 << 20).unwrap();
    sparse.set_len(100 << 20).unwrap();
    Command::new("sh")
        .args(["-c", "chmod 751 src/none; chmod 555 src/empty; touch -d @1234567890.123456789 src/none src/empty; touch -d @-5 'src/a b'"])
        .current_dir(top)
        .status()
        .unwrap();
}

fn tar(arguments: &[&str], directory: &Path) -> Vec<u8> {
    let out = Command::new("tar").args(arguments).current_dir(directory).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    out.stdout
}

async fn a_tree_comes_out_as_it_went_in(on: Runtime) {
    let s = on.sandbox().await;
    let here = tempfile::tempdir().unwrap();
    let from = here.path().join("from");
    fs::create_dir(&from).unwrap();
    a_tree(&from);
    let archive = tar(&["--format=pax", "-S", "-cf", "-", "."], &from);
    let archives = [
        (Compression::None, archive.clone()),
        (Compression::Gzip, gzip(&archive)),
        (Compression::Zstd, zstd::encode_all(&archive[..], 3).unwrap()),
    ];
    for (compression, archive) in archives {
        let path = format!("/tmp/{}", compression.as_str_name());
        // It is found out, or said.
        for said in [Compression::Unspecified, compression] {
            s.run(&format!("rm -rf {path}")).await;
            let open = v1::ImportOpen { compression: said.into(), ..s.open_import(&path) };
            let done = s.import(open, &archive).await.unwrap();
            assert_eq!((done.files, done.symlinks, done.refused_total), (10, 2, 0), "{done:?}");
            assert_eq!(done.bytes, (100 << 20) + (3 << 20) + 11, "{done:?}");
        }
        s.run(&format!("test $(du -sm {path}/sparse | cut -f 1) -lt 5")).await.expect("", "", 0);
        assert_eq!(told_inside(&s, &path).await, told_here(&from), "inside, {compression:?}");
        let request = v1::ExportRequest { compression: compression.into(), ..s.export_request(&format!("{path}/.")) };
        let out = s.export(request).await.unwrap();
        assert!(out.len() < 10 << 20, "holes are not packed: {} bytes", out.len());
        let to = here.path().join(compression.as_str_name());
        fs::create_dir(&to).unwrap();
        fs::write(here.path().join("out"), &out).unwrap();
        let unpack = match compression {
            Compression::Gzip => "-xzpf",
            _ => "-xpf",
        };
        let out = if compression == Compression::Zstd { zstd::decode_all(&out[..]).unwrap() } else { out };
        fs::write(here.path().join("out"), &out).unwrap();
        tar(&[unpack, "../out"], &to);
        assert_eq!(told_here(&to), told_here(&from), "come out, {compression:?}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

async fn what_is_unpacked_belongs_to_who_asks(on: Runtime) {
    let s = on.sandbox().await;
    let set_id = {
        let mut header = tar::Header::new_ustar();
        header.set_path("set-id").unwrap();
        header.set_mode(0o4755);
        header.set_size(0);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let archive = [set_id, Archive::default().file("d/f", "x").symlink("d/l", "f").bytes()].concat();
    let owners = |path: &str| format!("cd {path}; stat -c '%u %a' . d d/f d/l set-id; cd - >/dev/null");
    s.run("mkdir -m 777 /tmp/a; chmod 1777 /tmp").await;
    s.import(v1::ImportOpen { user: "1234".into(), ..s.open_import("/tmp/a/new") }, &archive).await.unwrap();
    s.run(&owners("/tmp/a/new")).await.expect("1234 755\n1234 755\n1234 644\n1234 777\n1234 755\n", "", 0);
    s.import(s.open_import("/tmp/own"), &archive).await.unwrap();
    s.run(&owners("/tmp/own")).await.expect("0 755\n0 755\n0 644\n0 777\n0 755\n", "", 0);
    s.import(v1::ImportOpen { owners: true, ..s.open_import("/tmp/theirs") }, &archive).await.unwrap();
    s.run(&owners("/tmp/theirs")).await.expect("0 755\n0 755\n1000 644\n1000 777\n0 4755\n", "", 0);
    // What the user may not do.
    s.run("mkdir -m 700 /tmp/closed").await;
    let refused = s.import(v1::ImportOpen { user: "1234".into(), ..s.open_import("/tmp/closed") }, &archive).await;
    expect_error(&refused.unwrap_err(), Code::PermissionDenied, "PERMISSION_DENIED");
    s.run("printf secret > /tmp/own/d/secret; chmod 600 /tmp/own/d/secret").await;
    let refused =
        s.export(v1::ExportRequest { user: "1234".into(), ..s.export_request("/tmp/own") }).await.unwrap_err();
    expect_error(&refused, Code::PermissionDenied, "PERMISSION_DENIED");
    assert!(refused.message().contains("own/d/secret"), "{refused:?}");
}

async fn what_is_there_is_replaced(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t/d /tmp/t/link-to-be; cd /tmp/t; printf old > f; ln -s d l; printf kept > d/kept; mkfifo p; chmod 1770 /tmp/t; ln -s d dd; cd - >/dev/null")
        .await
        .expect("", "", 0);
    let archive = Archive::default()
        .add(tar::EntryType::Directory, "./", "", b"")
        .file("f", "new")
        .file("l", "a file")
        .file("p", "no pipe")
        .add(tar::EntryType::Directory, "d/", "", b"")
        .add(tar::EntryType::Directory, "dd/", "", b"")
        .file("dd/inside", "x")
        .bytes();
    s.import(s.open_import("/tmp/t"), &archive).await.unwrap();
    s.run("cd /tmp/t; cat f l p d/kept dd/inside; test -L dd || echo; ls d; stat -c %a .; cd - >/dev/null")
        .await
        .expect("newa fileno pipekeptx\nkept\n1770\n", "", 0);
    let refused = s.import(s.open_import("/tmp/t"), &Archive::default().file("d", "x").bytes()).await.unwrap_err();
    expect_error(&refused, Code::FailedPrecondition, "IS_A_DIRECTORY");
    let refused = s.import(s.open_import("/tmp/t/f"), &Archive::default().file("x", "x").bytes()).await.unwrap_err();
    expect_error(&refused, Code::FailedPrecondition, "NOT_A_DIRECTORY");
}

async fn a_part_of_a_tree_can_be_left_out(on: Runtime) {
    let s = on.sandbox().await;
    let files = ["a.rs", "a.log", "target/x", "deep/target/x", "deep/b.log", "deep/keep.log", "deep/c.rs", "out/x"];
    for file in files {
        s.write(&format!("/tmp/t/{file}"), "x").await;
    }
    s.write("/tmp/t/.gitignore", "*.log\n/target\n").await;
    s.write("/tmp/t/deep/.gitignore", "!keep.log\n").await;
    let all = |request: v1::ExportRequest| {
        let s = s.clone();
        async move {
            let names = names(&s.export(request).await.unwrap());
            names.into_iter().filter(|name| !name.ends_with('/')).map(|name| name[2..].to_owned()).collect::<Vec<_>>()
        }
    };
    let request = s.export_request("/tmp/t");
    let plain = all(request.clone()).await;
    assert_eq!(plain.len(), files.len() + 2, "{plain:?}");
    assert_eq!(all(v1::ExportRequest { ignored: Some(true), ..request.clone() }).await, plain);
    let kept = all(v1::ExportRequest { ignored: Some(false), ..request.clone() }).await;
    assert_eq!(kept, [".gitignore", "a.rs", "deep/.gitignore", "deep/c.rs", "deep/keep.log", "deep/target/x", "out/x"]);
    let exclude = [".gitignore", "/out/", "*.log", "target"].map(str::to_owned).to_vec();
    assert_eq!(all(v1::ExportRequest { exclude, ..request.clone() }).await, ["a.rs", "deep/c.rs"]);
    let wrong = s.export(v1::ExportRequest { exclude: vec!["a{b".into()], ..request }).await.unwrap_err();
    expect_error(&wrong, Code::InvalidArgument, "INVALID_ARGUMENT");
}

async fn only_what_has_changed_can_be_taken_out(on: Runtime) {
    let s = on.sandbox().await;
    let archive = Archive::default().file("same", "x").file("d/edited", "x").file("d/moved", "x").bytes();
    let done = s.import(s.open_import("/tmp/t"), &archive).await.unwrap();
    s.run("cd /tmp/t; echo y >> d/edited; mv d/moved d/new; ln -s same l; cd - >/dev/null").await.expect("", "", 0);
    let request = v1::ExportRequest { changed_since: done.end_time, ..s.export_request("/tmp/t/") };
    assert_eq!(names(&s.export(request).await.unwrap()), ["./", "d/", "d/edited", "d/new", "l"]);
    // A directory in which nothing has changed is left out too.
    let end = s.import(s.open_import("/tmp/u"), &archive).await.unwrap().end_time;
    s.run("echo y >> /tmp/u/same").await;
    let request = v1::ExportRequest { changed_since: end, ..s.export_request("/tmp/u/") };
    assert_eq!(names(&s.export(request).await.unwrap()), ["./", "same"]);
}

async fn a_renamed_directory_is_taken_out_whole(on: Runtime) {
    let s = on.sandbox().await;
    let archive = Archive::default().file("src/deep/f", "x").file("src/g", "x").file("docs/f", "x").bytes();
    let done = s.import(s.open_import("/tmp/t"), &archive).await.unwrap();
    s.run("cd /tmp/t; mv src lib; cd - >/dev/null").await.expect("", "", 0);
    let request = v1::ExportRequest { changed_since: done.end_time, ..s.export_request("/tmp/t/") };
    let expected = ["./", "lib/", "lib/deep/", "lib/deep/f", "lib/g"];
    assert_eq!(names(&s.export(request.clone()).await.unwrap()), expected);
    s.run("touch /tmp/t/lib/new").await.expect("", "", 0);
    let expected = ["./", "lib/", "lib/deep/", "lib/deep/f", "lib/g", "lib/new"];
    assert_eq!(names(&s.export(request).await.unwrap()), expected);
}

async fn a_damaged_archive_is_refused(on: Runtime) {
    let s = on.sandbox().await;
    let mut dice = Dice::new();
    let noise: String = (0..3 << 20).map(|_| char::from(b'a' + dice.below(26) as u8)).collect();
    let mut archive = gzip(&Archive::default().file("f", &noise).bytes());
    // A compressed letter that has become another one; all lengths stay.
    let at = archive.len() / 2 + dice.below(1000) as usize;
    archive[at] ^= 1;
    let wrong = s.import(s.open_import("/tmp/t"), &archive).await.unwrap_err();
    expect_error(&wrong, Code::InvalidArgument, "INVALID_ARGUMENT");
    let other = s.import(s.open_import("/tmp/t"), b"BZh91AY&SY and so on").await.unwrap_err();
    assert!(other.message().contains("bzip2") && other.message().contains("gzip or zstd"), "{other:?}");
}

async fn an_owner_that_is_none_is_refused(on: Runtime) {
    let s = on.sandbox().await;
    let owned_by = |uid| {
        let mut header = tar::Header::new_gnu();
        header.set_path("f").unwrap();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_uid(uid);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        let mut archive = tar::Builder::new(Vec::new());
        archive.append(&header, &b"x"[..]).unwrap();
        archive.into_inner().unwrap()
    };
    // More than a number of a user can be.
    let nobodys = owned_by(1 << 33);
    let open = v1::ImportOpen { owners: true, ..s.open_import("/tmp/t") };
    let refused = s.import(open.clone(), &nobodys).await.unwrap_err();
    expect_error(&refused, Code::FailedPrecondition, "ENTRY_REFUSED");
    assert!(refused.message().contains("owner or group"), "{refused:?}");
    let skipped = s.import(v1::ImportOpen { skip_refused: true, ..open.clone() }, &nobodys).await.unwrap();
    assert_eq!((skipped.files, skipped.refused_total), (0, 1));
    assert_eq!(s.import(open, &owned_by(0)).await.unwrap().files, 1);
    // Links that cannot be made are refused by their names.
    for (kind, link, word) in [
        (tar::EntryType::Symlink, "", "without a target"),
        (tar::EntryType::Link, "d", "to a directory"),
        (tar::EntryType::Link, "none", "not there"),
        (tar::EntryType::Link, "none/below", "not there"),
    ] {
        let archive =
            Archive::default().add(tar::EntryType::Directory, "d/", "", b"").add(kind, "l", link, b"").bytes();
        let refused = s.import(s.open_import("/tmp/l"), &archive).await.unwrap_err();
        expect_error(&refused, Code::FailedPrecondition, "ENTRY_REFUSED");
        assert!(refused.message().contains("\"l\"") && refused.message().contains(word), "{refused:?}");
    }
}

async fn messages_may_have_as_many_bytes_as_is_said(on: Runtime) {
    let s = on.sandbox().await;
    let piece = vec![b'x'; 2 << 20];
    let writing = s.start_write(s.open_file("/tmp/f")).await;
    writing.send(&piece).await;
    assert_eq!(writing.finish().await.unwrap().size_bytes, 2 << 20);
    let archive = Archive::default().file("f", &"x".repeat(2 << 20)).bytes();
    let importing = s.start_import(s.open_import("/tmp/t")).await;
    importing.send(&archive[..2 << 20]).await;
    importing.send(&archive[2 << 20..]).await;
    assert_eq!(importing.finish().await.unwrap().files, 1);
}

async fn each_path_has_its_name_in_the_archive(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t/d /tmp/u/d; printf x > /tmp/t/d/f; printf x > /tmp/t/g; ln -s d /tmp/t/l; mkfifo /tmp/t/p")
        .await;
    for (paths, expected) in [
        (&["/tmp/t/d"][..], &["d/", "d/f"][..]),
        (&["/tmp/t/d/"], &["./", "f"]),
        (&["/tmp/t/d/."], &["./", "f"]),
        (&["/tmp/t/g", "/tmp/t/d"], &["g", "d/", "d/f"]),
        (&["/tmp/t/l"], &["l/", "l/f"]),
        (&["/tmp/t"], &["t/", "t/d/", "t/d/f", "t/g", "t/l"]),
    ] {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = v1::ExportRequest { sandbox_id: s.id.clone(), paths, ..Default::default() };
        assert_eq!(names(&s.export(request.clone()).await.unwrap()), expected, "{request:?}");
    }
    let request = |paths: &[&str]| v1::ExportRequest {
        sandbox_id: s.id.clone(),
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..Default::default()
    };
    for (paths, code, reason) in [
        (&["/tmp/t/d", "/tmp/u/d"][..], Code::InvalidArgument, "INVALID_ARGUMENT"),
        (&["/tmp/t/g", "/tmp/none"], Code::NotFound, "FILE_NOT_FOUND"),
        (&["/tmp/t/p"], Code::FailedPrecondition, "NOT_A_FILE"),
        (&[], Code::InvalidArgument, "INVALID_ARGUMENT"),
    ] {
        expect_error(&s.export(request(paths)).await.unwrap_err(), code, reason);
    }
}

async fn a_lost_client_leaves_what_was_whole(on: Runtime) {
    let s = on.sandbox().await;
    let large = "x".repeat(3 << 20);
    let archive = Archive::default().file("first", "whole").file("second", &large).bytes();
    s.write("/tmp/t/other", "of before").await;
    let importing = s.start_import(s.open_import("/tmp/t")).await;
    importing.send(&archive[..1 << 20]).await;
    // The part of the second that has come is there while it comes.
    crate::kit::within::until("the second file", async || s.stat("/tmp/t/second").await.is_ok()).await;
    importing.give_up().await;
    crate::kit::within::until("the second file to be removed", async || s.stat("/tmp/t/second").await.is_err()).await;
    s.run("cd /tmp/t; ls -A; cat first other; cd - >/dev/null").await.expect("first\nother\nwholeof before", "", 0);
    // A client that ends its stream in order, but too early.
    let cut = s.import(s.open_import("/tmp/t"), &archive[..2 << 20]).await.unwrap_err();
    expect_error(&cut, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert!(cut.message().contains("\"second\""), "{cut:?}");
    s.run("ls -A /tmp/t").await.expect("first\nother\n", "", 0);
}

async fn a_large_file_passes_in_little_memory(on: Runtime) {
    let s = on.sandbox().await;
    const SIZE: usize = 200 << 20;
    s.run(&format!("mkdir /tmp/t; head -c {SIZE} /dev/zero | tr '\\0' x > /tmp/t/large")).await.expect("", "", 0);
    let peak = "for p in /proc/[0-9]*; do case \"$(tr '\\0' ' ' < $p/cmdline 2>/dev/null)\" in \"sandshell files \"*) sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB/\\1/p' $p/status;; esac; done";
    s.stat("/tmp/t").await.unwrap();
    let archive = s.export(s.export_request("/tmp/t/large")).await.unwrap();
    assert!(archive.len() > SIZE);
    s.import(s.open_import("/tmp/u"), &archive).await.unwrap();
    s.run("cmp /tmp/t/large /tmp/u/large && rm /tmp/t/large /tmp/u/large").await.expect("", "", 0);
    let peak: u64 = s.run(peak).await.out().trim().parse().unwrap();
    assert!(peak < 64 << 10, "{peak} KiB were used for {SIZE} bytes");
}

async fn a_stream_without_an_end_is_no_archive(on: Runtime) {
    let s = on.sandbox().await;
    for (bytes, word) in [(&b""[..], "not one byte"), (b"no archive", "in the middle"), (&[7; 600], "no header")] {
        let wrong = s.import(s.open_import("/tmp/t"), bytes).await.unwrap_err();
        expect_error(&wrong, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert!(wrong.message().contains(word), "{wrong:?}");
    }
    let compressed = gzip(&Archive::default().file("f", &"text".repeat(10_000)).bytes());
    let wrong = s.import(s.open_import("/tmp/t"), &compressed[..compressed.len() - 20]).await.unwrap_err();
    expect_error(&wrong, Code::InvalidArgument, "INVALID_ARGUMENT");
}
