//! What is left in the foreground when a command has been ended: a part of a program that ignores INT (a shell that is not
//! interactive starts its background processes so), or a program that the shell was just starting when the INT came, and
//! knows nothing of any more.

use super::{
    shell::{self, Processes, Shell},
    signals::Signals,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often to look whether something has happened that sends no event.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long a program that is about to begin may take to come to the foreground.
const STARTING: Duration = Duration::from_millis(50);

/// How long to wait for what was killed.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

/// Ends them: TERM, and KILL after the grace. `ended` tells whether it was us who ended the command, and not a program.
/// Waits no longer than they live.
pub(super) async fn end(signals: &Signals, ended: bool, shell: &Shell, grace: Duration) {
    if signals.shell_had()
        && let Some(group) = forgotten(shell).await
        && !signals.groups().contains(&group)
    {
        // It has had no signal yet.
        end_group(group, &[libc::SIGINT, libc::SIGTERM, libc::SIGKILL], grace).await;
    }
    if ended {
        for &group in signals.groups() {
            end_group(group, &[libc::SIGTERM, libc::SIGKILL], grace).await;
        }
    }
}

/// The program that a shell has left in the foreground of its terminal, although it reads our lines.
async fn forgotten(shell: &Shell) -> Option<i32> {
    let until = Instant::now() + STARTING;
    loop {
        let processes = Processes::now();
        let foreground = shell.foreground();
        if foreground != shell.pid && processes.members(foreground).next().is_some() {
            return Some(foreground);
        }
        // It comes to the foreground by itself, when it is no background job.
        if processes.settled(shell.pid, shell.pid).is_some() || Instant::now() >= until {
            return None;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn end_group(group: i32, signals: &[i32], grace: Duration) {
    for &signal in signals {
        let mut left: Vec<i32> = Processes::now().members(group).collect();
        for pid in &left {
            shell::kill(*pid, signal);
            // What is stopped takes no other signal.
            shell::kill(*pid, libc::SIGCONT);
        }
        let until = Instant::now() + if signal == libc::SIGKILL { KILLED_WITHIN } else { grace };
        while !left.is_empty() && Instant::now() < until {
            sleep(LOOK_EVERY).await;
            left = Processes::now().members(group).collect();
        }
        if left.is_empty() {
            return;
        }
    }
}
