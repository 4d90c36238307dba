#![allow(clippy::unwrap_used)]
use super::*;
use rustix::fs::CWD;
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
};

const LIMITS: Limits = Limits { bytes: 1 << 30, entries: 100_000 };

fn packing(compression: Compression) -> Packing {
    Packing { compression, excluded: Patterns::none(), honours_gitignore: false, changed_since: None }
}

fn pack(directory: &Path, how: Packing) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let file = Packer::open(CWD, directory.as_os_str().as_bytes()).unwrap().unwrap();
    let mut packer = Packer::new(vec![Top { name: Vec::new(), file }], how).unwrap();
    let mut all = Vec::new();
    while let Some(piece) = packer.next(1000, &|| true).unwrap() {
        all.extend(piece);
    }
    all
}

/// Unpacks an archive that comes in pieces of this size.
fn unpack(archive: &[u8], into: &Path, piece: usize, rules: Rules) -> Result<Unpacked, Error> {
    let (directory, _) = open_or_make(into).unwrap();
    let mut import = Import::new(directory, None, rules, LIMITS)?;
    for piece in archive.chunks(piece) {
        import.take(piece, Box::new(|| true))?;
    }
    import.finish(Box::new(|| true))
}

/// What a tree is, in one text: everything that an archive keeps.
fn told(top: &Path) -> String {
    let find = r#"find . -printf '%P %y %m %T@ %s %l %n\n' | sort; find . -type f -exec sha256sum {} + | sort -k 2"#;
    let out = Command::new("sh").args(["-c", find]).current_dir(top).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn a_tree(top: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let at = |name: &str| top.join(name);
    fs::create_dir_all(at("a/b/empty")).unwrap();
    fs::write(at("a/file"), vec![7; 300_000]).unwrap();
    fs::write(at("a/none"), "").unwrap();
    fs::write(at("a/new\nline and \u{17e}"), "x").unwrap();
    fs::write(top.join(std::ffi::OsStr::from_bytes(b"a/\xff\xfe")), "raw").unwrap();
    let deep = ["d".repeat(120), "e".repeat(200), "f".repeat(255)].join("/");
    fs::create_dir_all(at(&deep)).unwrap();
    fs::write(at(&format!("{deep}/{}", "n".repeat(255))), "deep").unwrap();
    symlink("b/empty", at("a/link")).unwrap();
    symlink("x".repeat(300), at("a/long-link")).unwrap();
    fs::hard_link(at("a/file"), at("z-hard")).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 5 << 20).unwrap();
    sparse.set_len(9 << 20).unwrap();
    fs::set_permissions(at("a/none"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::set_permissions(at("a/b"), fs::Permissions::from_mode(0o555)).unwrap();
    for name in ["a/file", "a/b/empty", "a"] {
        Command::new("touch").args(["-d", "@1234567890.123456789"]).arg(at(name)).status().unwrap();
    }
}

#[test]
fn what_is_packed_comes_out_as_it_was() {
    let here = tempfile::tempdir().unwrap();
    let from = here.path().join("from");
    a_tree(&from);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let archive = pack(&from, packing(compression));
        for piece in [1, 511, 70_000, usize::MAX] {
            let to = here.path().join(format!("to-{compression:?}-{piece}"));
            let done = unpack(&archive, &to, piece, Rules { top: true, ..Rules::default() }).unwrap();
            assert_eq!(told(&to), told(&from), "{compression:?} in pieces of {piece}");
            assert_eq!((done.files, done.symlinks, done.refused_total), (7, 2, 0), "{done:?}");
            assert!(fs::metadata(to.join("sparse")).unwrap().blocks() * 512 < 1 << 20, "holes stay holes");
        }
    }
}

#[test]
fn other_programs_understand_each_other_with_us() {
    let here = tempfile::tempdir().unwrap();
    let from = here.path().join("from");
    a_tree(&from);
    // Ours, unpacked by GNU tar.
    let ours = here.path().join("ours.tar");
    fs::write(&ours, pack(&from, packing(Compression::None))).unwrap();
    let to = here.path().join("by-tar");
    fs::create_dir(&to).unwrap();
    let status = Command::new("tar").arg("-xpf").arg(&ours).arg("-C").arg(&to).status().unwrap();
    assert!(status.success());
    assert_eq!(told(&to), told(&from), "unpacked by tar");
    // Theirs, in each format that keeps such names, with holes or without.
    for (at, options) in [
        &["--format=gnu"][..],
        &["--format=pax"],
        &["--format=gnu", "-S"],
        &["--format=pax", "-S"],
        &["--format=pax", "-S", "--sparse-version=0.0"],
        &["--format=pax", "-S", "--sparse-version=0.1"],
        &["--format=gnu", "-z"],
    ]
    .iter()
    .enumerate()
    {
        let out =
            Command::new("tar").args(*options).arg("-cf").arg("-").arg("-C").arg(&from).arg(".").output().unwrap();
        assert!(out.status.success());
        let to = here.path().join(format!("theirs-{at}"));
        unpack(&out.stdout, &to, 10_000, Rules { top: true, ..Rules::default() }).unwrap();
        let whole_seconds = |text: String| {
            if options[0] == "--format=gnu" {
                text.lines()
                    .map(|line| {
                        let words: Vec<_> =
                            line.split(' ').map(|word| word.split('.').next().unwrap().to_owned()).collect();
                        words.join(" ") + "\n"
                    })
                    .collect()
            } else {
                text
            }
        };
        assert_eq!(whole_seconds(told(&to)), whole_seconds(told(&from)), "{options:?}");
    }
}

#[test]
fn an_archive_that_is_cut_off_is_damaged_and_leaves_no_part_of_a_file() {
    let here = tempfile::tempdir().unwrap();
    let from = here.path().join("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("f"), vec![7; 100_000]).unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let archive = pack(&from, packing(compression));
        let to = here.path().join(format!("to-{compression:?}"));
        let cut = &archive[..archive.len() / 2];
        assert!(matches!(unpack(cut, &to, 1000, Rules::default()), Err(Error::Damaged { .. })), "{compression:?}");
        assert!(!to.join("f").exists(), "{compression:?}");
    }
}

/// A tree whose bytes cannot be made much shorter.
fn noise(top: &Path) {
    fs::create_dir(top).unwrap();
    let bytes: Vec<u8> = (0..3_u32 << 18).flat_map(|at| at.wrapping_mul(0x9E37_79B1).to_le_bytes()).collect();
    fs::write(top.join("f"), bytes).unwrap();
}

#[test]
fn a_byte_that_was_changed_on_the_way_is_noticed() {
    let here = tempfile::tempdir().unwrap();
    let from = here.path().join("from");
    noise(&from);
    let tar = pack(&from, packing(Compression::None));
    // zstd has a checksum when it is asked for one, as its command does.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    std::io::Write::write_all(&mut encoder, &tar).unwrap();
    for (name, archive) in [("gzip", pack(&from, packing(Compression::Gzip))), ("zstd", encoder.finish().unwrap())] {
        let to = here.path().join("whole");
        unpack(&archive, &to, 70_000, Rules::default()).unwrap();
        // In the middle, in the checksum itself, and cut off within it.
        for at in [archive.len() / 3, archive.len() / 2, archive.len() * 2 / 3, archive.len() - 2] {
            let mut wrong = archive.clone();
            wrong[at] ^= 1;
            let outcome = unpack(&wrong, &here.path().join("to"), 70_000, Rules::default());
            assert!(matches!(outcome, Err(Error::Damaged { .. })), "{name} with another byte at {at}: {outcome:?}");
        }
        for left_out in [1, 3] {
            let outcome = unpack(&archive[..archive.len() - left_out], &to, 70_000, Rules::default());
            assert!(matches!(outcome, Err(Error::Damaged { .. })), "{name} without {left_out}: {outcome:?}");
        }
        // What is behind the end of a sound archive is no part of it.
        for behind in [&[0; 1000][..], b"something else", &archive[..20]] {
            unpack(&[&archive, behind].concat(), &to, 70_000, Rules::default()).unwrap();
        }
    }
    // An archive may be in several members or frames.
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (first, second) = tar.split_at(1_000_000);
    let mut parts = [gzip(first), gzip(second)];
    let zstd = [zstd::encode_all(first, 1).unwrap(), zstd::encode_all(second, 1).unwrap()].concat();
    for archive in [parts.concat(), zstd] {
        for piece in [1000, usize::MAX] {
            let to = here.path().join("parts");
            unpack(&archive, &to, piece, Rules::default()).unwrap();
            assert_eq!(fs::read(to.join("f")).unwrap(), fs::read(from.join("f")).unwrap());
        }
    }
    let last = parts[0].len() - 2;
    parts[0][last] ^= 1;
    let outcome = unpack(&parts.concat(), &here.path().join("parts"), 70_000, Rules::default());
    assert!(matches!(outcome, Err(Error::Damaged { .. })), "a member in the middle: {outcome:?}");
}

#[test]
fn other_compressions_are_known_by_their_names() {
    let here = tempfile::tempdir().unwrap();
    for (bytes, word) in
        [(&b"BZh91AY&SY.........."[..], "bzip2"), (b"\xfd7zXZ\0............", "xz"), (b"PK\x03\x04............", "zip")]
    {
        let Err(Error::Damaged { what, .. }) = unpack(bytes, here.path(), 3, Rules::default()) else {
            panic!("{word} is no archive")
        };
        assert!(what.contains(word) && what.contains("gzip or zstd"), "{what}");
    }
    let from = here.path().join("from");
    fs::create_dir(&from).unwrap();
    let gzip = pack(&from, packing(Compression::Gzip));
    let said = |said, bytes: &[u8]| {
        let (directory, _) = open_or_make(&here.path().join("to")).unwrap();
        let mut import = Import::new(directory, Some(said), Rules::default(), LIMITS).unwrap();
        let taken = import.take(bytes, Box::new(|| true));
        taken.and_then(|()| import.finish(Box::new(|| true)).map(drop)).unwrap_err().to_string()
    };
    assert!(said(Compression::None, &gzip).contains("compressed with gzip"));
    let other = said(Compression::Zstd, &gzip);
    assert!(other.contains("as zstd") && other.contains("gzip or zstd") && !other.contains("window"), "{other}");
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    std::io::Write::write_all(&mut wide, &vec![0; 1 << 20]).unwrap();
    let wide = said(Compression::Zstd, &wide.finish().unwrap());
    assert!(wide.contains("window is larger than the 8 MiB"), "{wide}");
}

#[test]
fn a_directory_that_was_renamed_is_packed_whole() {
    let here = tempfile::tempdir().unwrap();
    let at = |name: &str| here.path().join("top").join(name);
    for directory in ["src/deep/er", "same/deep", "edited", "other"] {
        fs::create_dir_all(at(directory)).unwrap();
        fs::write(at(directory).join("f"), "old").unwrap();
        fs::write(at(directory).join("g"), "old").unwrap();
    }
    fs::write(at("src/a"), "old").unwrap();
    fs::create_dir(at("src/empty")).unwrap();
    // Times go on in steps of some milliseconds: until the next one.
    let step = || {
        let now = || {
            fs::write(here.path().join("clock"), "").unwrap();
            let clock = fs::metadata(here.path().join("clock")).unwrap();
            (clock.ctime(), clock.ctime_nsec())
        };
        let before = now();
        while now() == before {
            std::thread::yield_now();
        }
    };
    step();
    fs::write(here.path().join("now"), "").unwrap();
    let now = fs::metadata(here.path().join("now")).unwrap();
    step();
    fs::write(at("edited/f"), "new").unwrap();
    fs::rename(at("src"), at("lib")).unwrap();
    // Afterwards its own two times are the same again.
    step();
    fs::write(at("lib/made"), "new").unwrap();
    fs::rename(at("other"), at("same/moved")).unwrap();
    let since = Some((now.ctime(), u32::try_from(now.ctime_nsec()).unwrap()));
    let archive = pack(&here.path().join("top"), Packing { changed_since: since, ..packing(Compression::None) });
    let mut names = Vec::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().display().to_string());
    }
    for name in ["lib/a", "lib/deep/er/f", "lib/empty/", "lib/made", "same/moved/f", "same/moved/g", "edited/f"] {
        assert!(names.iter().any(|found| found == name), "{name} is lost: {names:?}");
    }
    assert!(
        !names.iter().any(|name| name == "edited/g"),
        "what is in a directory that stayed did not change: {names:?}"
    );
}

proptest::proptest! {
    /// Whatever comes in the place of an archive ends with an error or as an archive, and stays in its directory.
    #[test]
    fn no_bytes_are_too_much(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..4096), at in 0..2000_usize) {
        let here = tempfile::tempdir().unwrap();
        let to = here.path().join("to");
        let _ = unpack(&bytes, &to, 100, Rules::default());
        // An archive in which something was changed.
        let from = here.path().join("from");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("f"), "text").unwrap();
        let mut archive = pack(&from, packing(Compression::None));
        let patch = bytes.split_off(bytes.len().saturating_sub(20));
        let end = (at + patch.len()).min(archive.len());
        let at = at.min(end);
        archive[at..end].copy_from_slice(&patch[..end - at]);
        let _ = unpack(&archive, &to, 1000, Rules::default());
        proptest::prop_assert_eq!(fs::read_dir(here.path()).unwrap().count(), 2);
    }
}
