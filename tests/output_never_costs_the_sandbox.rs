//! What programs print, and what clients send, never costs a sandbox its agent: its memory goes to programs first, and it
//! keeps what is asked of it within a bound.

use crate::kit::{Runtime, create_sandbox};

crate::in_every_runtime!(programs_are_ended_before_the_agent);

/// The kernel ends the process with the highest score when the memory limit is reached.
async fn programs_are_ended_before_the_agent(on: Runtime) {
    let sandbox = create_sandbox(on.shared(), on.request()).await;
    for shell in ["/bin/dash", "/bin/bash", "/bin/zsh", "/bin/busybox"] {
        let s = sandbox.session(shell).await;
        let look = "for p in /proc/[0-9]*; do echo \"$(cat $p/comm) $(cat $p/oom_score_adj)\"; done";
        let got = s.run(format!("sleep 1000 & (setsid sleep 1000 &); nohup sleep 1000 >/dev/null 2>&1 & {look}")).await;
        let (mut programs, mut ours) = (0, 0);
        for line in got.out().lines().filter(|line| !line.trim().is_empty()) {
            let (name, score) = line.split_once(' ').unwrap_or_else(|| panic!("{shell}: {line:?} in {got:?}"));
            if name.contains("sandshell") {
                ours += 1;
                assert!(score.parse::<i32>().expect("a score") < 1000, "{shell}: {line:?}");
            } else {
                programs += 1;
                assert_eq!(score, "1000", "{shell}: {line:?}");
            }
        }
        assert!(programs >= 4 && ours >= 2, "{shell}: {got:?}");
        s.close().await;
    }
}
