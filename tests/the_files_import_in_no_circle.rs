//! Files that import each other in a circle can only be read together, and none of them can be moved alone. A file may use the parts that it
//! is made of (`a.rs` or `a/mod.rs` what is in `a/`): it declares them, and hands them on. These imports are not counted; all others are, those
//! of a part from above it among them.

use crate::{
    the_folders_of_a_room_import_in_one_direction::{absolute, branch, module, paths},
    the_rooms_import_in_one_direction::{code, files, is_test_file, source},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Imports that may close a circle, each from one module to another, with the reason.
const NATURAL: &[(&str, &str, &str)] = &[];

/// A path from the crate's root.
type Place = Vec<String>;

/// The files, by the module that each is, with their code.
struct House {
    files: BTreeMap<Place, String>,
    /// What a module has from elsewhere and hands on, by name.
    handed_on: BTreeMap<Place, BTreeMap<String, Place>>,
}

impl House {
    fn new(files: BTreeMap<Place, String>) -> Self {
        let handed_on = files.iter().map(|(module, text)| (module.clone(), handed_on(module, text))).collect();
        Self { files, handed_on }
    }

    /// The file that has what a path leads to: what a module only hands on is looked for where that has it from.
    fn home(&self, path: &[String]) -> Option<&Place> {
        let mut path = path.to_vec();
        // Nothing is handed on so often.
        for _ in 0..16 {
            let length = (1..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
            let (module, below) = path.split_at(length);
            let from = below.first().and_then(|name| self.handed_on.get(module)?.get(name));
            match from {
                Some(from) => path = [from, &below[1..]].concat(),
                None => return self.files.get_key_value(module).map(|(module, _)| module),
            }
        }
        None
    }

    /// Whose code uses what other files have: by file, the others, and what it is.
    fn imports(&self) -> BTreeMap<&Place, BTreeMap<&Place, BTreeSet<String>>> {
        let mut imports: BTreeMap<&Place, BTreeMap<&Place, BTreeSet<String>>> = BTreeMap::new();
        for (module, text) in &self.files {
            // For whom something is to be seen says nothing of who is used.
            for path in paths(&text.replace("(in crate::", "(in ")) {
                let path = absolute(&path, module);
                let Some(home) = self.home(&path).filter(|home| !home.starts_with(module)) else { continue };
                let is_natural = |(from, to, _): &(&str, &str, &str)| (*from, *to) == (&*name(module), &*name(home));
                if !NATURAL.iter().any(is_natural) {
                    let what = path.last().filter(|last| !last.is_empty() && *last != "self").cloned();
                    imports.entry(module).or_default().entry(home).or_default().extend(what);
                }
            }
        }
        imports
    }

    /// The imports that circles are made of, and those that lead from one circle to another.
    fn circles(&self) -> Vec<String> {
        let mut imports = self.imports();
        loop {
            let left: BTreeSet<_> = imports.keys().copied().collect();
            let used: BTreeSet<_> = imports.values().flat_map(|others| others.keys().copied()).collect();
            // Who uses nobody that is left, or is used by nobody, is in no circle.
            imports.retain(|module, others| {
                others.retain(|other, _| left.contains(other));
                !others.is_empty() && used.contains(module)
            });
            if imports.len() == left.len() {
                break;
            }
        }
        let others =
            imports.into_iter().flat_map(|(module, others)| others.into_iter().map(move |other| (module, other)));
        let told = |(module, (other, what)): (&Place, (&Place, BTreeSet<String>))| {
            format!("{} -> {}: {}", name(module), name(other), what.into_iter().collect::<Vec<_>>().join(", "))
        };
        others.map(told).collect()
    }
}

fn name(module: &Place) -> String {
    module.join("::")
}

fn handed_on(module: &[String], text: &str) -> BTreeMap<String, Place> {
    let mut found = BTreeMap::new();
    for (at, word) in text.match_indices("use ") {
        let before = text[..at].rsplit('\n').next().unwrap_or_default().trim_start();
        if !before.starts_with("pub") || !before.ends_with([' ', ')']) {
            continue;
        }
        let mut all = Vec::new();
        branch(&text[at + word.len()..], &[], &mut all);
        for path in all {
            let whole = match path[0] {
                "crate" | "super" => absolute(&path, module),
                // A part of it; or another crate's, which is in no file.
                first => {
                    let below = path.iter().skip(usize::from(first == "self"));
                    module.iter().cloned().chain(below.map(|name| (*name).to_owned())).collect()
                }
            };
            found.extend(whole.last().cloned().map(|last| (last, whole)));
        }
    }
    found
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let is_one = |file: &std::path::PathBuf| {
        !is_test_file(file) && !["lib.rs", "inside.rs", "main.rs"].iter().any(|root| *file == source().join(root))
    };
    let all = files(&source()).into_iter().filter(is_one).map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = code(&text).into_iter().map(|(_, line)| line).collect();
        (module(&file), lines.join("\n"))
    });
    let house = House::new(all.collect());
    assert!(house.files.len() > 100 && house.imports().len() > 100, "hardly any file was read");
    for (from, to, _) in NATURAL {
        let is_there = |module: &str| house.files.keys().any(|file| name(file) == module);
        assert!(is_there(from) && is_there(to), "{from} or {to} has moved: the table must follow");
    }
    let circles = house.circles();
    assert!(
        circles.is_empty(),
        "files import each other in a circle; what both need belongs in a file below them:\n{}",
        circles.join("\n")
    );
}

#[test]
fn circles_are_seen_through_what_is_handed_on() {
    let circles = |all: &[(&str, &str)]| {
        let place = |name: &str| name.split("::").map(str::to_owned).collect();
        House::new(all.iter().map(|(name, text)| (place(name), (*text).to_owned())).collect()).circles()
    };
    // A file uses its parts, and they use it.
    assert!(circles(&[("a", "mod b;\npub use b::B;\nuse crate::a::b::C;"), ("a::b", "use super::A;")]).is_empty());
    // Two parts use each other, by way of what is above them.
    let parts =
        [("a", "pub(crate) use b::{B, D};"), ("a::b", "use super::c::C;"), ("a::c", "use super::{B, super::d};")];
    assert_eq!(circles(&parts), ["a::b -> a::c: C", "a::c -> a::b: B"]);
    // What only leads to a circle, or away from it, is not told.
    let around = [("e", "use crate::a::c::E;"), ("d", "pub(in crate::a) fn f() {}")];
    assert_eq!(circles(&[parts.as_slice(), &around].concat()), ["a::b -> a::c: C", "a::c -> a::b: B"]);
    // What is above imports somebody who uses a part of it, and that uses what is above.
    let long = [("a", "use crate::d::D;"), ("a::b", "use super::A;"), ("d", "use crate::a::b::B;")];
    assert_eq!(circles(&long), ["a -> d: D", "a::b -> a: A", "d -> a::b: B"]);
}
