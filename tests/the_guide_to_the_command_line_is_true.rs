//! What `docs/command-line.md` shows works as it stands there.

use crate::kit::{Options, Server, guide};

#[test]
fn each_line_runs() {
    let (server, here) = (Server::start(Options::default()), tempfile::tempdir().unwrap());
    let said = guide::run(include_str!("../docs/command-line.md"), &server, here.path(), &[]);
    for part in ["/usr\n10\n/usr\nready\nstarted\n", "STATE", "COMMAND_ID", "CPU_SECONDS", "/usr\n"] {
        assert!(said[0].contains(part), "{part:?}: {said:?}");
    }
    assert!(here.path().join("sandshell.bash").exists() && here.path().join("man1/sandshell-run.1").exists());
}
