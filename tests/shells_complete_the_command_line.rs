//! Completions and manual pages are made from the command line itself, and know what people use.

use crate::kit::cli::{prints, refuses, sandshell};
use std::{fs, process::Command};

const FOR_PEOPLE: [&str; 12] =
    ["serve", "run", "exec", "shell", "attach", "ps", "logs", "stats", "rm", "cp", "key", "completions"];
const OURS: [&str; 3] = ["zygote", "janitor", "relay"];

#[test]
fn each_shell_has_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let text = prints(&["completions", shell]);
        for name in FOR_PEOPLE {
            assert!(text.contains(name), "{shell} does not know {name}");
        }
        for name in OURS {
            assert!(!text.contains(name), "{shell} knows {name}");
        }
        assert!(text.contains("merge-stderr") && text.contains("label"), "{shell} knows no options");
    }
    refuses(&["completions", "nosuch"], &["nosuch", "bash"]);
}

/// What is printed for bash works there.
#[test]
fn bash_completes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("completions");
    fs::write(&path, prints(&["completions", "bash"])).unwrap();
    let complete = |words: &str, last: &str| {
        let script = format!(
            "source {}; COMP_WORDS=({words} '{last}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _sandshell sandshell '{last}' \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo \"${{COMPREPLY[@]}}\"",
            path.display()
        );
        let got = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        assert!(got.status.success() && got.stderr.is_empty(), "{got:?}");
        String::from_utf8(got.stdout).unwrap()
    };
    assert_eq!(complete("sandshell", "sta"), "stats\n");
    assert_eq!(complete("sandshell run", "--mem"), "--memory\n");
    assert!(complete("sandshell run --network", "").contains("host"));
}

#[test]
fn there_is_a_page_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("new/man1");
    prints(&["man", pages.to_str().unwrap()]);
    let names: Vec<_> =
        fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.contains(&"sandshell.1".to_owned()), "{names:?}");
    for name in FOR_PEOPLE {
        assert!(names.contains(&format!("sandshell-{name}.1")), "{name}: {names:?}");
    }
    for name in OURS {
        assert!(!names.contains(&format!("sandshell-{name}.1")), "{name}: {names:?}");
    }
    let run = fs::read_to_string(pages.join("sandshell-run.1")).unwrap();
    assert!(run.contains(".TH") && run.contains("memory") && run.contains("512M"), "{run}");
    assert!(!sandshell(&["man", "/proc/nowhere"]).status.success());
}
