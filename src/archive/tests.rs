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
