//! What `docs/command-line.md` shows works as it stands there.

use crate::kit::{Options, Server, cli::program, server::BINARY};
use std::{path::Path, process::Command};

#[test]
fn each_line_runs() {
    let guide = include_str!("../docs/command-line.md");
    let text: Vec<_> = guide.split("```sh\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    let (server, here) = (Server::start(Options::default()), tempfile::tempdir().unwrap());
    let binaries = Path::new(BINARY).parent().unwrap().display().to_string();
    let mut shell = Command::new("sh");
    for (name, value) in program(&[]).get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.args(["-ec", &text.concat()]).current_dir(&here);
    shell.env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap())).env("SANDSHELL_SERVER", server.url());
    let out = shell.output().unwrap();
    let said = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said:?}");
    for part in ["/usr\n10\n/usr\nready\nstarted\n", "STATE", "COMMAND_ID", "CPU_SECONDS", "/usr\n"] {
        assert!(said.0.contains(part), "{part:?}: {said:?}");
    }
    assert!(here.path().join("sandshell.bash").exists() && here.path().join("man1/sandshell-run.1").exists());
}
