//! What a sandbox has added, modified and removed, compared with its image.

use crate::kit::{
    Dice, Runtime, Sandbox,
    cli::{prints, sandshell},
    errors::expect_error,
    v1, within,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};
use tonic::{Code, Status};
use v1::{ChangesRequest, ChangesResponse, file_change::Kind};

crate::in_every_runtime!(
    a_fresh_sandbox_has_changed_nothing,
    each_difference_is_told_once,
    whatever_is_done_is_told,
    pages_follow_each_other,
    the_command_line_prints_it,
    each_mistake_has_its_reason,
);

async fn ask(s: &Sandbox, page_size: i32, page_token: &str) -> Result<ChangesResponse, Status> {
    let (sandbox_id, page_token) = (s.id.clone(), page_token.to_owned());
    let request = ChangesRequest { sandbox_id, page_size, page_token };
    within("a page of changes", s.clients.files.clone().changes(request)).await.map(tonic::Response::into_inner)
}

/// All differences, page by page: `+/added`, `~/modified` and `-/removed`, as they come.
pub async fn changes(s: &Sandbox, page_size: i32) -> Vec<String> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let page = ask(s, page_size, &token).await.unwrap();
        assert!(page.changes.len() <= page_size as usize, "{} on a page", page.changes.len());
        all.extend(page.changes.into_iter().map(|change| {
            let sign = match change.kind() {
                Kind::Added => "+",
                Kind::Modified => "~",
                Kind::Removed => "-",
                Kind::Unspecified => panic!("{change:?}"),
            };
            format!("{sign}{}", change.path)
        }));
        if page.next_page_token.is_empty() {
            return all;
        }
        token = page.next_page_token;
    }
}

async fn a_fresh_sandbox_has_changed_nothing(on: Runtime) {
    let s = on.sandbox().await;
    assert_eq!(changes(&s, 1000).await, Vec::<String>::new());
    // What is in memory, and what other programs of the sandbox make there, is not of the image's file system.
    s.run("echo x > /dev/shm/x; echo $HOME").await;
    assert_eq!(changes(&s, 1000).await, Vec::<String>::new());
}

async fn each_difference_is_told_once(on: Runtime) {
    let s = on.sandbox().await;
    s.run("rm -r /etc/alternatives; echo x >> /etc/passwd; cp /etc/group /etc/group2; mv /etc/group2 /etc/group; mkdir -p /srv/a/b; : > /srv/a/b/f; ln -s /usr /srv/a/l; mkfifo /srv/a/p; chmod 1777 /mnt; : > /srv/gone; rm /srv/gone").await.expect("", "", 0);
    let expected = [
        "~/etc",
        "-/etc/alternatives",
        "~/etc/group",
        "~/etc/passwd",
        "~/mnt",
        "~/srv",
        "+/srv/a",
        "+/srv/a/b",
        "+/srv/a/b/f",
        "+/srv/a/l",
        "+/srv/a/p",
    ];
    assert_eq!(changes(&s, 1000).await, expected);
    // What is as it was before is no difference, but that its directory was changed.
    s.run("rm -r /srv/a").await;
    let told = changes(&s, 1000).await;
    assert_eq!(told[..5], expected[..5]);
    // By its time alone, which not every storage of Docker looks at.
    assert!(told[5..] == ["~/srv"] || (on == Runtime::Docker && told.len() == 5), "{told:?}");
    // Through a directory that was removed and made again.
    s.run("mkdir /etc/alternatives; : > /etc/alternatives/new").await;
    let told = changes(&s, 1000).await;
    assert!(told.contains(&"+/etc/alternatives/new".to_owned()), "{told:?}");
    assert!(told.contains(&"~/etc/alternatives".to_owned()), "{told:?}");
}

/// What is at a path: its kind with mode and size, and its contents.
type Thing = (String, String);

/// What is below a directory.
async fn state(s: &Sandbox, directory: &str) -> BTreeMap<String, Thing> {
    let script = format!(
        "find {directory} -mindepth 1 -type f -printf '%p|f%m %s|\\n' -o -mindepth 1 -type d -printf '%p|d%m|\\n' \
             -o -printf '%p|l|%l\\n'; \
         find {directory} -type f -exec md5sum {{}} + | sed 's/^\\([^ ]*\\)  \\(.*\\)/\\2||\\1/'"
    );
    let out = s.run(&script).await;
    let mut all: BTreeMap<String, Thing> = BTreeMap::new();
    for line in out.out().lines() {
        let [path, kind, contents] = line.split('|').collect::<Vec<_>>().try_into().expect(line);
        let thing = all.entry(path.to_owned()).or_default();
        thing.0 += kind;
        thing.1 += contents;
    }
    assert!(all.len() > 20, "{out:?}");
    all
}

/// Changes a tree of the image in many ways, and compares what is told with what is seen inside.
async fn whatever_is_done_is_told(on: Runtime) {
    all_that_is_done_is_told(&on.sandbox().await, on, &mut Dice::new()).await;
}

const TREE: &str = "/etc";

/// Text that changes a tree in many ways. Of what it says there something is always the case.
pub fn many_changes(names: &[String], dice: &mut Dice) -> String {
    let mut script = String::new();
    for number in 0..60 {
        let mut one = || &names[dice.below(names.len() as u64) as usize];
        let (path, other) = (one(), one());
        let up = path.rsplit_once('/').unwrap().0;
        let _ = match dice.below(9) {
            0 => writeln!(script, "echo {number} >> {path}"),
            1 => writeln!(script, "rm -rf {path}"),
            2 => writeln!(script, "mv {path} {TREE}/moved{number}"),
            3 => writeln!(script, "mv {path} {other}"),
            4 => writeln!(script, "mkdir -p {up}/new{number}/deep; echo x > {up}/new{number}/deep/f"),
            5 => writeln!(script, "cp -a {path} {up}/copy{number}"),
            6 => writeln!(script, "echo y > {up}/.t{number}; mv {up}/.t{number} {path}"),
            7 => writeln!(script, "chmod 7{}1 {path}", dice.below(8)),
            _ => writeln!(script, "ln -sf /nowhere {up}/link{number}; mv {TREE}/moved{} {up}", number / 2),
        };
    }
    format!("( {script} ) >/dev/null 2>&1; :")
}

/// The names in a sandbox that may be changed: not those that Docker mounts files of its own over.
pub async fn changeable(s: &Sandbox) -> Vec<String> {
    let names = state(s, TREE).await.into_keys();
    names.filter(|path| ["passwd", "resolv", "/host"].iter().all(|mounted| !path.contains(mounted))).collect()
}

/// The same for a sandbox in which nothing was changed yet.
pub async fn all_that_is_done_is_told(s: &Sandbox, on: Runtime, dice: &mut Dice) {
    let before = state(s, TREE).await;
    let script = many_changes(&changeable(s).await, dice);
    s.run(&script).await.expect("", "", 0);
    let after = state(s, TREE).await;
    let told: BTreeSet<_> = changes(s, 100).await.into_iter().filter(|told| told[1..].starts_with("/etc/")).collect();
    let is_directory =
        |of: &BTreeMap<String, Thing>, path: &str| of.get(path).is_some_and(|what| what.0.starts_with('d'));
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        assert!(told.contains(&format!("+{path}")), "{path} was added\n{script}\n{told:#?}");
    }
    for (path, what) in &before {
        let up = path.rsplit_once('/').unwrap().0;
        let was_seen = up == TREE || (is_directory(&before, up) && is_directory(&after, up));
        match after.get(path) {
            None if was_seen => assert!(told.contains(&format!("-{path}")), "{path} was removed\n{script}\n{told:#?}"),
            // Contents alone are not what Docker goes by.
            Some(now) if now.0 != what.0 || (now.1 != what.1 && on == Runtime::Linux) => {
                assert!(told.contains(&format!("~{path}")), "{path} was {what:?}, is {now:?}\n{script}\n{told:#?}");
            }
            _ => {}
        }
    }
    for told in &told {
        let path = &told[1..];
        let (was, is) = (before.contains_key(path), after.contains_key(path));
        let is_right = match &told[..1] {
            "+" => !was && is,
            "-" => was && !is,
            _ => was && is,
        };
        assert!(is_right, "{told}: was there {was}, is there {is}\n{script}");
    }
}

async fn pages_follow_each_other(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir /srv/d /srv/d/e; cd /srv/d; i=0; while [ $i -lt 2500 ]; do : > $i; i=$((i+1)); done; : > e/f; : > e-; cd - >/dev/null").await.expect("", "", 0);
    let whole = changes(&s, 10_000).await;
    assert_eq!(whole.len(), 2505);
    let name = |told: &String| told[1..].replace('/', "\0");
    assert!(whole.is_sorted_by_key(name), "in order of the names");
    for size in [1000, 333, 2504, 2505] {
        assert_eq!(changes(&s, size).await, whole, "{size}");
    }
    // What is removed between two pages moves nothing.
    let first = ask(&s, 100, "").await.unwrap();
    s.run(&format!("rm {}", first.changes.last().unwrap().path)).await;
    let second = ask(&s, 10_000, &first.next_page_token).await.unwrap();
    let second: Vec<_> = second.changes.iter().map(|change| format!("+{}", change.path)).collect();
    assert_eq!(second, whole[first.changes.len()..]);
}

async fn the_command_line_prints_it(on: Runtime) {
    let s = on.sandbox().await;
    s.run(
        r": > '/srv/a
b'; rm /etc/passwd",
    )
    .await
    .expect("", "", 0);
    let url = on.shared().url();
    assert_eq!(
        prints(&["changes", "--server", &url, &s.id]),
        "modified /etc\nremoved /etc/passwd\nmodified /srv\nadded /srv/a\\nb\n"
    );
    let printed = prints(&["changes", "--server", &url, "--json", &s.id]);
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed[1], serde_json::json!({ "change": "removed", "path": "/etc/passwd" }));
    assert_eq!(printed[3]["path"], "/srv/a\nb");
    assert_eq!(sandshell(&["changes", "--server", &url, "sbx-none"]).status.code(), Some(125));
}

async fn each_mistake_has_its_reason(on: Runtime) {
    let s = on.sandbox().await;
    for (size, token) in [(-1, ""), (10_001, ""), (0, "x"), (0, "c"), (0, "cYQ")] {
        let refused = ask(&s, size, token).await.unwrap_err();
        expect_error(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    s.delete().await;
    expect_error(&ask(&s, 0, "").await.unwrap_err(), Code::NotFound, "SANDBOX_NOT_FOUND");
}

mod of_layers {
    use super::*;
    use crate::kit::{Options, Server, create_sandbox};
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    /// A directory that is renamed in a sandbox keeps its contents in the image, and they are told all the same.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_renamed_with_its_directory_is_told() {
        let images = tempfile::tempdir().unwrap();
        fs::set_permissions(images.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = images.path().join("image");
        for directory in ["bin", "data/old/in/deep", "data/kept/in"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["data/old/f", "data/old/in/g", "data/old/in/deep/h", "data/kept/in/k"] {
            fs::write(root.join(file), "x").unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("these tests need: apt-get install busybox-static");
        for name in ["sh", "mv", "rm", "mkdir"] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let args = vec!["--image-root".into(), images.path().display().to_string()];
        let server = Server::start(Options { args, ..Options::default() });
        let image = root.display().to_string();
        let s = create_sandbox(&server, v1::CreateSandboxRequest { image, ..Default::default() }).await;
        let of_data = |told: Vec<String>| -> Vec<String> {
            told.into_iter().filter(|told| told[1..].starts_with("/data")).collect()
        };
        assert_eq!(of_data(changes(&s, 1000).await), Vec::<String>::new());
        s.run("cd /data; mv old new; echo y > new/in/g; echo z > new/in/i; mv new/in/deep new/moved; rm new/f; rm -r kept; mkdir kept; : > kept/n")
            .await
            .expect("", "", 0);
        let told = of_data(changes(&s, 1000).await);
        let expected = [
            "~/data",
            "~/data/kept",
            "-/data/kept/in",
            "+/data/kept/n",
            "+/data/new",
            "+/data/new/in",
            "+/data/new/in/g",
            "+/data/new/in/i",
            "+/data/new/moved",
            "+/data/new/moved/h",
            "-/data/old",
        ];
        assert_eq!(told, expected);
        for size in 1..8 {
            assert_eq!(of_data(changes(&s, size).await), expected, "{size} on a page");
        }
    }
}
