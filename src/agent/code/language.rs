//! The languages that are known, and what runs them.

use crate::{agent::environment::Variables, agent::shell};
use std::path::PathBuf;

/// A language.
pub(super) struct Language {
    /// Its name.
    pub(super) name: &'static str,
    /// Other names.
    pub(super) aliases: &'static [&'static str],
    /// Programs that run it, the best first, and the arguments before the code.
    runners: &'static [(&'static str, &'static [&'static str])],
    /// What keeps its interpreter, if that can be kept: this then stands in the place of the code.
    pub(super) driver: Option<&'static str>,
}

/// All of them, by name.
pub(super) const LANGUAGES: [Language; 9] = [
    plain("bash", &[], &[("bash", &["-c"])]),
    Language {
        name: "javascript",
        aliases: &["js", "node"],
        runners: &[("node", &["-e"]), ("nodejs", &["-e"])],
        driver: Some(include_str!("driver.js")),
    },
    plain("lua", &[], &[("lua", &["-e"]), ("lua5.4", &["-e"]), ("lua5.3", &["-e"])]),
    plain("perl", &["pl"], &[("perl", &["-e"])]),
    plain("php", &[], &[("php", &["-r"])]),
    Language {
        name: "python",
        aliases: &["python3", "py"],
        runners: &[("python3", &["-c"]), ("python", &["-c"])],
        driver: Some(include_str!("driver.py")),
    },
    plain("ruby", &["rb"], &[("ruby", &["-e"])]),
    plain("sh", &["shell"], &[("sh", &["-c"])]),
    plain("typescript", &["ts"], &[("tsx", &["-e"]), ("bun", &["-e"]), ("deno", &["eval", "--ext=ts"])]),
];

const fn plain(
    name: &'static str,
    aliases: &'static [&'static str],
    runners: &'static [(&'static str, &'static [&'static str])],
) -> Language {
    Language { name, aliases, runners, driver: None }
}

impl Language {
    /// The one that a client means.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        let name = name.to_ascii_lowercase();
        LANGUAGES.iter().find(|language| language.name == name || language.aliases.contains(&name.as_str()))
    }

    /// The program that runs it in this environment, and its arguments before the code.
    pub(super) fn runner(&self, environment: &Variables) -> Option<(PathBuf, &'static [&'static str])> {
        let path = environment.get("PATH").map_or("", String::as_str);
        self.runners.iter().find_map(|(program, arguments)| Some((shell::find_program(program, path)?, *arguments)))
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
