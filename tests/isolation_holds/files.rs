//! Files: the host's are not there, and what is written stays inside.

use super::python;
use crate::kit::{Runtime, token};
use std::fs;

crate::in_every_runtime!(
    files_of_the_host_are_not_there,
    what_it_writes_stays_inside,
    the_program_file_of_the_host_is_safe,
);

async fn files_of_the_host_are_not_there(on: Runtime) {
    let word = token();
    let dir = tempfile::tempdir().unwrap();
    let places = [
        dir.path().join(&word),
        format!("/root/{word}").into(),
        format!("/etc/{word}").into(),
        format!("/var/tmp/{word}").into(),
        format!("/dev/shm/{word}").into(),
    ];
    for place in &places {
        fs::write(place, "secret").unwrap_or_else(|e| panic!("these tests run as root: {}: {e}", place.display()));
    }
    let s = on.sandbox().await;
    for place in &places {
        for root in ["", "/proc/1/root", "/proc/self/root", "/../..", "/proc/1/cwd/..", "/proc/self/cwd/../../.."] {
            let got = s.run(&format!("cat {root}{}", place.display())).await;
            assert!(!got.out().contains("secret") && got.exit_code() != 0, "{got:?}");
        }
    }
    let got = s.run(&format!("find / -name {word} -not -path '/proc/*' 2>/dev/null")).await;
    assert_eq!(got.out(), "", "the file is somewhere");
    // What only the operator may read.
    for path in [
        "/etc/shadow",
        "/root/.ssh",
        "/root/.cargo",
        "/root/.bash_history",
        "/home",
        "/var/lib",
        "/var/log",
        "/run",
        "/boot",
        "/srv",
        "/mnt",
        "/opt",
        "/media",
    ] {
        let outside: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
        let inside = s.run(&format!("ls -A {path} 2>/dev/null")).await.out();
        for name in outside {
            let name = name.to_string_lossy();
            // Directories that every system has, empty ones of its own.
            let of_its_own =
                ["sandshell", "lock", "tmp", "user", "shm", "lib", "log", "cache", "dpkg", "apt"].contains(&&*name);
            assert!(of_its_own || !inside.lines().any(|line| line == name), "{path}/{name} of the host is visible");
        }
    }
    let shadow = s.run("cat /etc/shadow 2>/dev/null").await.out();
    assert!(!shadow.contains("$y$") && !shadow.contains("$6$"), "password hashes of the host");
    for place in &places {
        let _ = fs::remove_file(place);
    }
}

async fn what_it_writes_stays_inside(on: Runtime) {
    let s = on.sandbox().await;
    let word = token();
    for dir in ["/usr/bin", "/usr/lib", "/etc", "/root", "/tmp", "/var/tmp", "/home", "/dev/shm", "/workspace", "/"] {
        s.run(&format!("echo x >{dir}/{word}; mkdir {dir}/{word}.d")).await;
        for name in [word.clone(), format!("{word}.d")] {
            assert!(fs::symlink_metadata(format!("{dir}/{name}")).is_err(), "{dir}/{name} came to the host");
        }
    }
    let before = fs::metadata("/usr/bin/env").expect("/usr/bin/env").modified().ok();
    s.run("echo changed >/usr/bin/env; rm -f /usr/bin/true; chmod 777 /usr/bin; mv /usr/bin/id /usr/bin/id2").await;
    assert_eq!(fs::metadata("/usr/bin/env").expect("/usr/bin/env").modified().ok(), before);
    assert!(fs::metadata("/usr/bin/true").is_ok() && fs::metadata("/usr/bin/id").is_ok());
    let other = on.sandbox().await;
    let got = other
        .run(&format!(
            "ls /usr/bin/{word} /etc/{word} /tmp/{word}; /usr/bin/env >/dev/null && /usr/bin/true && echo fine"
        ))
        .await;
    assert_eq!(got.out(), "fine\n", "{got:?}");
}

async fn the_program_file_of_the_host_is_safe(on: Runtime) {
    let program = crate::kit::server::BINARY;
    let before = fs::read(program).unwrap();
    let s = on.sandbox().await;
    let got = s.run("for p in /proc/1/exe /proc/self/exe /proc/$PPID/exe; do echo evil >$p; echo evil >>$p; cp /bin/true $p; chmod 777 $p; rm -f $p; done 2>/dev/null; cat /proc/1/exe >/dev/null").await;
    let _ = got;
    let reopened = python(
        &s,
        "
import os
for p in ('/proc/1/exe', '/proc/%d/exe' % os.getppid()):
    for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        try: os.write(os.open(p, flags), b'evil'); print('written', p)
        except OSError: pass
",
    )
    .await;
    // The shell's own program is the sandbox's copy; the agent's is nobody's.
    assert!(!reopened.out().contains("/proc/1/"), "{reopened:?}");
    assert!(fs::read(program).unwrap() == before, "{program} was changed from inside");
    s.run("echo alive").await.expect("alive\n", "", 0);
}
