//! What an image has brought can be renamed like what a sandbox has made, files and directories, and keeps its content.

use crate::kit::Runtime;
use std::fs;

/// Renames by the system call alone. `mv` would copy where that is refused.
fn rename(from: &str, to: &str) -> String {
    format!("/usr/bin/python3 -c 'import os; os.rename(\"{from}\", \"{to}\")'")
}

/// The image `host`: of its programs, of its own directories, and of what was made in both.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn directories_of_the_hosts_image_can_be_renamed() {
    let sandbox = Runtime::Linux.sandbox().await;
    sandbox.run("mkdir -p /usr/local /opt").await.expect("", "", 0);
    let list = async |directory: &str| sandbox.run(&format!("cd {directory} && find . | sort | cksum")).await.out();
    for (from, to) in [("/usr/share/zsh", "/usr/local/zsh"), ("/etc/alternatives", "/opt/alternatives")] {
        let before = list(from).await;
        sandbox.run(&format!("touch {from}/own && rm {from}/own && {}", rename(from, to))).await.expect("", "", 0);
        assert_eq!(list(to).await, before, "{from}");
        sandbox
            .run(&format!("test ! -e {from} && touch {to}/own && {} && ls {from}/own", rename(to, from)))
            .await
            .expect(format!("{from}/own\n").as_str(), "", 0);
    }
    // Nothing of it comes to the host or to others.
    assert!(fs::metadata("/usr/share/zsh/own").is_err() && fs::metadata("/usr/share/zsh").is_ok());
    Runtime::Linux.sandbox().await.run("ls -d /usr/share/zsh && ls /usr/share/zsh/own 2>/dev/null").await.expect(
        "/usr/share/zsh\n",
        "",
        2,
    );
}

/// Between the host's programs and the rest is a border, which `mv` crosses by copying, as between two disks.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn between_the_hosts_programs_and_the_rest_files_are_moved_by_copying() {
    let sandbox = Runtime::Linux.sandbox().await;
    let text = "mkdir -p /usr/local /root/made/below && echo content >/root/made/below/file && mv /root/made /usr/local/made && cat /usr/local/made/below/file && ls -d /root/made 2>/dev/null";
    sandbox.run(text).await.expect("content\n", "", 2);
    let link = "/usr/bin/python3 -c 'import errno, os; open(\"/root/f\", \"w\")
try: os.link(\"/root/f\", \"/usr/local/f\")
except OSError as e: print(errno.errorcode[e.errno])'";
    sandbox.run(link).await.expect("EXDEV\n", "", 0);
}
