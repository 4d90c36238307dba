//! The languages that are known, and what runs them.

use crate::agent::shell::{self, environment::Variables};
use std::path::PathBuf;

/// A language.
pub(super) struct Language {
    /// Its name.
    pub(super) name: &'static str,
    /// Other names.
    pub(super) aliases: &'static [&'static str],
    /// Programs that run it, the best first.
    runners: &'static [Runner],
    /// What keeps its interpreter, if that can be kept: this then stands in the place of the code.
    pub(super) driver: Option<&'static str>,
}

/// A program that runs a language.
pub(super) enum Runner {
    /// A program, and its arguments before the code.
    Takes(&'static str, &'static [&'static str]),
    /// A program that takes no code as an argument, and a script of the shell that runs it: the program is `$0`, and the code `$1`.
    By(&'static str, &'static str),
}

use Runner::{By, Takes};

/// Compiles in a directory that is removed again. The modules and the cache are elsewhere only if the environment says so.
const GO: &str = r#"d=$(mktemp -d) || exit 125
trap 'rm -rf "$d"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
printf %s "$1" >"$d/main.go" || exit 125
GOCACHE=${GOCACHE-$d/cache} GOPATH=${GOPATH-${HOME-$d}/go} "$0" build -o "$d/main" "$d/main.go" || exit 1
"$d/main""#;

/// All of them, by name.
pub(super) const LANGUAGES: [Language; 10] = [
    plain("bash", &[], &[Takes("bash", &["-c"])]),
    plain("go", &["golang"], &[By("go", GO)]),
    Language {
        name: "javascript",
        aliases: &["js", "node"],
        runners: &[Takes("node", &["-e"]), Takes("nodejs", &["-e"])],
        driver: Some(include_str!("driver.js")),
    },
    plain("lua", &[], &[Takes("lua", &["-e"]), Takes("lua5.4", &["-e"]), Takes("lua5.3", &["-e"])]),
    plain("perl", &["pl"], &[Takes("perl", &["-e"])]),
    plain("php", &[], &[Takes("php", &["-r"])]),
    Language {
        name: "python",
        aliases: &["python3", "py"],
        runners: &[Takes("python3", &["-c"]), Takes("python", &["-c"])],
        driver: Some(include_str!("driver.py")),
    },
    plain("ruby", &["rb"], &[Takes("ruby", &["-e"])]),
    plain("sh", &["shell"], &[Takes("sh", &["-c"])]),
    plain("typescript", &["ts"], &[Takes("tsx", &["-e"]), Takes("bun", &["-e"]), Takes("deno", &["eval", "--ext=ts"])]),
];

const fn plain(name: &'static str, aliases: &'static [&'static str], runners: &'static [Runner]) -> Language {
    Language { name, aliases, runners, driver: None }
}

impl Language {
    /// The one that a client means.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        let name = name.to_ascii_lowercase();
        LANGUAGES.iter().find(|language| language.name == name || language.aliases.contains(&name.as_str()))
    }

    /// What runs it in this environment, and the path of that program.
    pub(super) fn runner(&self, environment: &Variables) -> Option<(&'static Runner, PathBuf)> {
        let path = environment.get("PATH").map_or("", String::as_str);
        self.runners.iter().find_map(|runner| {
            let (Takes(program, _) | By(program, _)) = runner;
            Some((runner, shell::find_program(program, path)?))
        })
    }

    /// The program that runs this code, with its arguments.
    pub(super) fn argv(&self, environment: &Variables, code: &str) -> Option<Vec<String>> {
        let (runner, program) = self.runner(environment)?;
        let program = program.to_string_lossy().into_owned();
        Some(match runner {
            Takes(_, arguments) => {
                // Shells, and some other programs, would take such code for an option. A space before it means nothing in any language.
                let space = if code.starts_with(['-', '+']) { " " } else { "" };
                let before = std::iter::once(program).chain(arguments.iter().map(|argument| (*argument).to_owned()));
                before.chain([format!("{space}{code}")]).collect()
            }
            By(_, script) => {
                let path = environment.get("PATH").map_or("", String::as_str);
                let shell = shell::find_program("sh", path)?.to_string_lossy().into_owned();
                vec![shell, "-c".to_owned(), (*script).to_owned(), program, code.to_owned()]
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_has_several_names() {
        for (name, found) in [("python", "python"), ("Python3", "python"), ("JS", "javascript"), ("sh", "sh")] {
            assert_eq!(Language::find(name).map(|language| language.name), Some(found));
        }
        assert!(Language::find("cobol").is_none() && Language::find("").is_none());
        let names: Vec<_> = LANGUAGES.iter().flat_map(|l| l.aliases.iter().chain([&l.name])).collect();
        let different: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(names.len(), different.len(), "no name means two languages");
        assert!(LANGUAGES.windows(2).all(|two| two[0].name < two[1].name));
    }
}
