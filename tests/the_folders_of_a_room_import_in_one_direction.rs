//! The folders of a runtime say which process their code runs in. Who would import against the direction would bring code of one process
//! into another one. Those of the agent and of the server say what is made of what.

use crate::the_rooms_import_in_one_direction::{code, files, is_test_file, source};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A folder, and those that it may use.
type Folder = (&'static str, &'static [&'static str]);

/// For each of these rooms its folders, from those that use others down to those that use none, each with those that it may use. The files
/// beside them, which all folders may use, are the last row.
const FOLDERS: &[(&str, &[Folder])] = &[
    (
        "agent",
        &[
            ("calls", &["code", "session", "command", "host", "shell", "output"]),
            ("code", &["session", "command", "shell", "output"]),
            ("program", &["session", "command", "host", "shell"]),
            ("session", &["command", "host", "shell", "output"]),
            ("command", &["host", "shell", "output"]),
            ("host", &["file"]),
            ("file", &["shell"]),
            ("shell", &["output"]),
            ("output", &[]),
            ("", &[]),
        ],
    ),
    (
        "runtime/linux",
        &[
            ("server", &["rootfs", "storage", "cgroup"]),
            ("zygote", &["inside", "rootfs", "storage", "cgroup"]),
            ("inside", &["rootfs", "cgroup"]),
            ("rootfs", &["storage"]),
            ("storage", &["cgroup"]),
            ("cgroup", &[]),
            ("", &["cgroup"]),
        ],
    ),
    (
        "server",
        &[
            ("connections", &["layers", "web"]),
            ("services", &["relay", "request", "layers"]),
            ("relay", &["request", "layers"]),
            ("request", &[]),
            ("layers", &["web"]),
            ("web", &[]),
            ("", &["connections", "services", "relay", "layers", "web"]),
        ],
    ),
    ("runtime/docker", &[("server", &["daemon"]), ("inside", &[]), ("daemon", &[]), ("", &[])]),
];

/// All paths in a text that begin with `crate::` or `super::`, those of grouped imports one by one.
pub fn paths(text: &str) -> Vec<Vec<&str>> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = ["crate::", "super::"].iter().filter_map(|word| rest.find(word)).min() {
        let is_begin = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        rest = if is_begin { branch(&rest[at..], &[], &mut found) } else { &rest[at + 1..] };
    }
    found
}

/// Takes one path, or a group of them, and returns the rest of the text.
pub fn branch<'a>(text: &'a str, above: &[&'a str], found: &mut Vec<Vec<&'a str>>) -> &'a str {
    if let Some(group) = text.strip_prefix('{') {
        let mut rest = group.trim_start();
        while !rest.is_empty() && !rest.starts_with('}') {
            rest = branch(rest, above, found);
            // What follows is a comma, the end, or another name (`as`).
            rest = &rest[rest.find([',', '}']).unwrap_or(rest.len())..];
            rest = rest.trim_start_matches(',').trim_start();
        }
        return rest.strip_prefix('}').unwrap_or(rest);
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = [above, &[name]].concat();
    match rest.strip_prefix("::") {
        Some(below) if below.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '{' | '*')) => {
            branch(below, &path, found)
        }
        _ => {
            found.push(path);
            rest
        }
    }
}

/// The module that a file is, as a path from the crate's root.
pub fn module(file: &Path) -> Vec<String> {
    let path = file.strip_prefix(source()).unwrap().with_extension("");
    let mut names: Vec<_> = path.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    names.pop_if(|last| last == "mod");
    names
}

/// A path from the crate's root.
pub fn absolute(path: &[&str], module: &[String]) -> Vec<String> {
    let ups = path.iter().take_while(|name| **name == "super").count();
    let (above, below) =
        if ups > 0 { (&module[..module.len() - ups], &path[ups..]) } else { (&module[..0], &path[1..]) };
    above.iter().cloned().chain(below.iter().map(|name| (*name).to_owned())).collect()
}

#[test]
fn no_process_imports_the_code_of_another_one() {
    let mut wrong = Vec::new();
    for (house, folders) in FOLDERS {
        let top = source().join(house);
        let above: Vec<_> = house.split('/').map(str::to_owned).collect();
        let there: BTreeSet<_> = fs::read_dir(&top).unwrap().map(|entry| entry.unwrap().path()).collect();
        let is_folder = |name: &str| there.contains(&top.join(name)) && top.join(name).is_dir();
        let named: BTreeSet<_> = folders.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
        let found: BTreeSet<_> =
            there.iter().filter(|path| path.is_dir()).map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(named, found, "the folders of {} and this table differ", top.display());
        for (at, (folder, may_use)) in folders.iter().enumerate() {
            let below: Vec<_> = folders[at + 1..].iter().map(|(name, _)| *name).collect();
            assert!(folder.is_empty() || may_use.iter().all(|name| below.contains(name)), "{folder} uses one above it");
            // A file named as a folder is what that folder is entered by, and belongs to it.
            let own: Vec<_> = if folder.is_empty() {
                let beside = |path: &&PathBuf| path.is_file() && !path.with_extension("").is_dir();
                there.iter().filter(|path| beside(path) && !path.ends_with("mod.rs")).cloned().collect()
            } else {
                files(&top.join(folder)).into_iter().chain(files(&top.join(folder).with_extension("rs"))).collect()
            };
            for file in own.iter().filter(|file| !is_test_file(file)) {
                let text = fs::read_to_string(file).unwrap();
                let lines: Vec<_> = code(&text).into_iter().map(|(_, line)| line).collect();
                for path in paths(&lines.join("\n")) {
                    let path = absolute(&path, &module(file));
                    let Some([name, ..]) = path.strip_prefix(above.as_slice()) else { continue };
                    if name == folder || may_use.contains(&name.as_str()) {
                        continue;
                    }
                    // What is neither would come by way of `mod.rs`, and hide where it is.
                    if is_folder(name) || !top.join(name).with_extension("rs").is_file() {
                        wrong.push(format!("{}: {}", file.display(), path.join("::")));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imported against the direction:\n{}", wrong.join("\n"));
}

#[test]
fn grouped_and_relative_imports_are_seen() {
    let text = "use super::{a::{self, B as C}, super::d};\nuse crate::{\n    e,\n    f::{\n        G,\n        h::*,\n    },\n};\nlet x = crate::i::j::<T>(super::K);";
    let module: Vec<_> = ["m", "n", "o"].map(str::to_owned).to_vec();
    let mut found: Vec<_> = paths(text).iter().map(|path| absolute(path, &module).join("::")).collect();
    found.sort();
    assert_eq!(found, ["e", "f::G", "f::h::", "i::j", "m::d", "m::n::K", "m::n::a::B", "m::n::a::self"]);
}
