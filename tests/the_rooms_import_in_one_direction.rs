//! The house has four rooms and one direction. What must be absent is listed here.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// In which part of `src`, which words must not occur, and why.
const ABSENT: &[(&str, &[&str], &str)] = &[
    (
        "sandbox",
        &[
            "tonic::Status",
            "Status::",
            "Status}",
            "Status,",
            "tonic::Code",
            "bollard",
            "clap",
            "crate::server",
            "crate::cli",
        ],
        "the domain knows neither its edge nor its tools",
    ),
    (
        "runtime",
        &["tonic", "crate::server", "crate::sandbox", "crate::agent", "crate::cli", "crate::api", "crate::rpc"],
        "a runtime starts, reaches and ends an agent, and knows nothing else",
    ),
    (
        "agent",
        &["crate::server", "crate::sandbox", "crate::runtime", "crate::cli", "bollard", "clap"],
        "the agent lives in the sandbox, alone",
    ),
    (
        "agent",
        &["tonic"],
        "sessions and shells know no gRPC: what the service is told and answers is translated in service.rs",
    ),
    (
        "server",
        &["runtime::linux", "dyn Runtime", "crate::cli", "crate::agent", "bollard", "clap"],
        "the edge speaks with the domain only",
    ),
    (
        "rpc",
        &["crate::server", "crate::sandbox", "crate::runtime", "crate::agent", "crate::cli"],
        "what server and agent share depends on neither",
    ),
    (
        "tenant",
        &["tonic", "clap", "sqlx", "crate::server", "crate::cli", "crate::rpc", "crate::api", "crate::sandbox"],
        "who may is the domain's, and knows neither its edge nor its tools",
    ),
    (
        "sample",
        &[
            "tonic",
            "clap",
            "sqlx",
            "crate::server",
            "crate::cli",
            "crate::rpc",
            "crate::api",
            "crate::sandbox",
            "crate::runtime",
        ],
        "samples are files of the operator's, and know nobody who uses them",
    ),
    (
        "verification",
        &[
            "tonic",
            "clap",
            "sqlx",
            "crate::server",
            "crate::cli",
            "crate::rpc",
            "crate::agent",
            "runtime::linux",
            "runtime::docker",
        ],
        "verifications are the domain's, and know neither its edge nor its tools",
    ),
    (
        "volume",
        &[
            "tonic",
            "clap",
            "sqlx",
            "bollard",
            "crate::server",
            "crate::cli",
            "crate::rpc",
            "crate::api",
            "crate::agent",
            "crate::sandbox",
            "runtime::linux",
            "runtime::docker",
        ],
        "volumes are the domain's, and know neither their edge nor who uses them",
    ),
    (
        "image",
        &[
            "tonic",
            "clap",
            "sqlx",
            "bollard",
            "crate::server",
            "crate::cli",
            "crate::rpc",
            "crate::api",
            "crate::agent",
            "crate::sandbox",
            "crate::runtime",
            "crate::store",
        ],
        "what an image is called is the domain's, and knows neither who asks for one nor who brings it",
    ),
    ("proc", &["tonic", "clap", "tokio", "crate::"], "what the kernel tells of processes is for all, and knows nobody"),
    ("runtime/common", &["bollard", "tonic", "linux::", "docker::"], "what both runtimes share knows neither"),
    ("runtime/linux", &["docker::", "bollard"], "a runtime knows nothing of the other one"),
    ("runtime/docker", &["linux::"], "a runtime knows nothing of the other one"),
    (
        "store",
        &["tonic", "clap", "crate::server", "crate::cli", "crate::rpc", "crate::api"],
        "the store keeps rows and knows nobody who asks for them",
    ),
    (
        "archive",
        &["tonic", "clap", "crate::server", "crate::cli", "crate::rpc", "crate::api", "crate::agent", "crate::sandbox"],
        "archives are a tool of two programs, and know neither",
    ),
    ("error.rs", &["tonic", "http::", "crate::"], "errors are the domain's"),
];

/// The files of a part that the words are for.
const PLACES: &[(&str, &str)] = &[
    ("agent/calls/service.rs", "tonic"),
    ("agent/file/service.rs", "tonic"),
    ("agent/code/service.rs", "tonic"),
    ("agent/asked.rs", "tonic"),
];

/// Longer than any file should be; files that may be longer, with the reason.
const LONGEST: usize = 400;
const LONGER: &[(&str, &str)] = &[];

pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

pub fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() || entry.path().extension().is_some_and(|e| e == "rs") {
            found.extend(files(&entry.path()));
        }
    }
    found.sort();
    found
}

/// Lines of code with their numbers: no comments, and nothing that is compiled for tests only.
pub fn code(text: &str) -> Vec<(usize, &str)> {
    let mut lines = text.lines().enumerate().map(|(n, line)| (n + 1, line));
    let mut found = Vec::new();
    while let Some((n, line)) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            skip_item(&mut lines, indentation(line));
        } else if !line.trim_start().starts_with("//") {
            found.push((n, line.split("// ").next().unwrap_or(line)));
        }
    }
    found
}

/// Takes the lines of one item with its attributes, as rustfmt sets them: what lies inside it is indented further, and
/// a line at its own depth ends it that closes a bracket and ends with a brace, a semicolon or, for a field, a comma.
fn skip_item<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, indent: usize) {
    let mut is_first = true;
    for (_, line) in lines.filter(|(_, line)| !line.is_empty() && indentation(line) == indent) {
        let text = line.trim_start();
        if text.starts_with("#[") || text.starts_with("//") {
            continue;
        }
        if (is_first || text.starts_with(['}', ')', ']'])) && text.ends_with(['}', ';', ',']) {
            return;
        }
        is_first = false;
    }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether a file is compiled for tests only, because its name says so or the module above it does.
pub fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let above =
        ["mod.rs", "lib.rs", "inside.rs"].iter().find_map(|up| fs::read_to_string(path.with_file_name(up)).ok());
    let declared = above.unwrap_or_default();
    let lines: Vec<_> = declared.lines().map(str::trim).collect();
    let for_tests = lines.windows(2).any(|l| l[0] == "#[cfg(test)]" && l[1].ends_with(&format!("mod {name};")));
    name == "tests"
        || for_tests
        || path.strip_prefix(source()).is_ok_and(|p| p.components().any(|part| part.as_os_str() == "tests"))
}

#[test]
fn nothing_is_imported_upwards() {
    let mut found = Vec::new();
    for (part, words, why) in ABSENT {
        let part = source().join(part);
        assert!(part.exists(), "{} has moved: this table must follow", part.display());
        for file in files(&part).iter().filter(|f| !is_test_file(f)) {
            let text = fs::read_to_string(file).unwrap();
            let is_place = |word: &str| PLACES.iter().any(|(place, words)| file.ends_with(place) && *words == word);
            for (n, line) in code(&text) {
                // Grouped imports: `use crate::{agent::…}` counts as crate::agent.
                for word in words.iter().filter(|word| !is_place(word)) {
                    let grouped = word.strip_prefix("crate::").is_some_and(|room| {
                        let inside = line.trim_start();
                        inside.starts_with(&format!("{room}::")) || line.contains(&format!("crate::{{{room}::"))
                    });
                    if line.contains(word) || (grouped && in_crate_group(&text, n)) {
                        found.push(format!("{}:{n}: {word}: {why}\n    {}", file.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether a line lies within `use crate::{` … `};`.
fn in_crate_group(text: &str, line: usize) -> bool {
    let before: Vec<_> = text.lines().take(line).collect();
    let open = before.iter().rposition(|l| l.trim_start().starts_with("use crate::{"));
    open.is_some_and(|at| !before[at..line - 1].iter().any(|l| l.contains("};")))
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for file in files(&source()) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        let name = file.strip_prefix(source()).unwrap().display().to_string();
        if lines > LONGEST && !LONGER.iter().any(|(allowed, _)| *allowed == name) {
            long.push(format!("src/{name}: {lines} lines"));
        }
    }
    assert!(long.is_empty(), "longer than {LONGEST} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_panics_on_purpose() {
    let mut found = Vec::new();
    for file in files(&source()).iter().filter(|f| !is_test_file(f)) {
        let text = fs::read_to_string(file).unwrap();
        for (n, line) in code(&text) {
            for word in [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!("] {
                // The lints of the build know `expect`; an allowed one carries its reason there.
                let allowed = word == ".expect(" || word == "unreachable!(";
                if line.contains(word) && !allowed {
                    found.push(format!("{}:{n}: {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn unsafe_says_why() {
    let mut found = Vec::new();
    for file in files(&source()) {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let block = line.contains("unsafe {") || line.contains("unsafe impl");
            let said = lines[n.saturating_sub(6)..=n].iter().any(|l| l.contains("SAFETY"));
            if block && !said && !line.trim_start().starts_with("//") {
                found.push(format!("{}:{}: {}", file.display(), n + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "without a SAFETY line:\n{}", found.join("\n"));
}

/// What these tests read of a file is all of it but what is compiled for tests only.
#[test]
fn what_follows_a_part_for_tests_is_read() {
    let text = "\
use a;
#[cfg(test)]
mod tests;
use b; // not this
#[cfg(test)]
#[path = \"x.rs\"]
mod more {
    use c;
    fn f() {
        let all = \"\\
of lines;
\";
    }
}
impl D {
    #[cfg(test)]
    pub fn e(&self) {
        use f;
    }
    // nor this
    fn g() {}
    #[cfg(test)]
    h: u32,
    i: u32,
    #[cfg(test)]
    fn j() -> u32 { 1 }
}
#[cfg(test)]
pub(crate) fn of_many_lines(
    k: u32,
) -> u32 {
    1
}
use l;";
    let read: Vec<_> = code(text).into_iter().map(|(n, line)| (n, line.trim())).collect();
    let expected =
        [(1, "use a;"), (4, "use b;"), (15, "impl D {"), (21, "fn g() {}"), (24, "i: u32,"), (27, "}"), (34, "use l;")];
    assert_eq!(read, expected);
}
