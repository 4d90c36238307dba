//! The pages of `docs/`, whose lines for a shell are run as they stand there.

use super::{Server, cli::program, server::BINARY};
use std::{path::Path, process::Command};

/// The programs of a page that are in this language.
pub fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    page.split(&format!("```{language}\n")).skip(1).map(|part| part.split("```").next().unwrap()).collect()
}

/// Runs all lines of a page in one shell in this directory, where a server is known; it must succeed. What it has printed on standard
/// output and standard error.
pub fn run(page: &str, server: &Server, here: &Path, environment: &[(&str, &str)]) -> [String; 2] {
    let lines = blocks(page, "sh");
    let mut shell = Command::new("sh");
    // The environment that a program of ours gets in tests, with what the page takes for granted.
    for (name, value) in program(&[]).get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let programs = Path::new(BINARY).parent().unwrap().display();
    shell.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()));
    shell.env("SANDSHELL_SERVER", server.url()).envs(environment.iter().copied());
    let out = shell.args(["-exc", &lines.concat()]).current_dir(here).output().expect("sh");
    let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(out.status.success(), "{said:?}");
    said
}
