//! What is left in the foreground when a command has been ended: a part of a program that ignores INT (a shell that is not
//! interactive starts its background processes so), or a program that the shell was just starting when the INT came, and
//! knows nothing of any more.

use super::signals::Signals;
use crate::agent::shell::{self, Processes, Shell};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often to look whether something has happened that sends no event: at first, and in the end.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(50);

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
        end_groups(vec![group], &[libc::SIGINT, libc::SIGTERM, libc::SIGKILL], grace).await;
    }
    if ended {
        end_groups(signals.groups().to_vec(), &[libc::SIGTERM, libc::SIGKILL], grace).await;
    }
}

/// The program that a shell has left in the foreground of its terminal, although it reads our lines.
async fn forgotten(shell: &Shell) -> Option<i32> {
    let until = Instant::now() + STARTING;
    loop {
        let began = Instant::now();
        let foreground = shell.foreground();
        if foreground != shell.pid && shell::group_has_members(foreground) {
            return Some(foreground);
        }
        // It comes to the foreground by itself, when it is no background job.
        let settled = Processes::near(shell.pid, shell.pid).is_ok_and(|near| near.settled().is_some());
        if settled || Instant::now() >= until {
            return None;
        }
        sleep(pause(LOOK_EVERY, began)).await;
    }
}

/// Ends process groups, all of them at the same time: however many there are, it takes no longer than for one.
async fn end_groups(mut groups: Vec<i32>, signals: &[i32], grace: Duration) {
    for &signal in signals {
        groups.retain(|group| shell::group_has_members(*group));
        for group in &groups {
            shell::kill_group(*group, signal);
            // What is stopped takes no other signal.
            shell::kill_group(*group, libc::SIGCONT);
        }
        let until = Instant::now() + if signal == libc::SIGKILL { KILLED_WITHIN } else { grace };
        let mut wait = LOOK_EVERY;
        while !groups.is_empty() && Instant::now() < until {
            let began = Instant::now();
            groups.retain(|group| shell::group_has_members(*group));
            if !groups.is_empty() {
                sleep(pause(wait, began)).await;
                wait = LOOK_AT_LEAST_EVERY.min(wait * 2);
            }
        }
    }
}

/// How long to wait before the next look: the agent has one thread, and looking must not be most of what it does.
fn pause(usual: Duration, began: Instant) -> Duration {
    usual.max(began.elapsed() * 4)
}
