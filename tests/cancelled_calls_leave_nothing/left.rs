//! What is there before and after: as clients see it, and as the host does.

use super::stage::Stage;
use crate::kit::{Runtime, Server, docker::shared_docker, host};
use std::{collections::BTreeMap, fs, path::Path};

/// Descriptors that may be kept for later: three more connections to the database, each with two files, and the pipes for the
/// output of commands of one session that overlapped.
const KEPT: usize = 12;

/// All others: a connection to the daemon, for example. What is lost with each call, or with each tenth, is far more.
const OTHERS: usize = 4;

/// What is counted before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    server_descriptors: Descriptors,
    agent_descriptors: Descriptors,
    processes: usize,
    private_directories: Vec<String>,
    sandboxes: usize,
    sessions: usize,
}

impl Left {
    pub(super) fn is_no_more_than(&self, before: &Self) -> bool {
        self.server_descriptors.are_no_more_than(&before.server_descriptors)
            && self.agent_descriptors.are_no_more_than(&before.agent_descriptors)
            && self.processes <= before.processes
            && self.private_directories == before.private_directories
            && (self.sandboxes, self.sessions) == (before.sandboxes, before.sessions)
    }
}

/// How many descriptors of each kind a process has: the kinds say what was forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Descriptors(BTreeMap<String, usize>);

impl Descriptors {
    fn of(pid: u32) -> Self {
        let mut kinds = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(link) = fs::read_link(entry.path()) else { continue };
            let kind = link.to_string_lossy().replace(|letter: char| letter.is_ascii_digit(), "");
            *kinds.entry(kind).or_default() += 1;
        }
        Self(kinds)
    }

    fn are_no_more_than(&self, before: &Self) -> bool {
        let ((kept, others), (kept_before, others_before)) = (self.count(), before.count());
        kept <= kept_before + KEPT && others <= others_before + OTHERS
    }

    /// Those that may be kept, and all others.
    fn count(&self) -> (usize, usize) {
        let may_be_kept = |kind: &str| kind.contains("/sandshell.db") || ["//out", "//err"].contains(&kind);
        let kept = self.0.iter().filter(|(kind, _)| may_be_kept(kind)).map(|(_, count)| count).sum();
        (kept, self.0.values().sum::<usize>() - kept)
    }
}

impl Left {
    /// Looks.
    pub(super) async fn now(stage: &Stage, server: &Server, agent: u32) -> Self {
        Self {
            server_descriptors: Descriptors::of(server.pid()),
            agent_descriptors: Descriptors::of(agent),
            processes: inside(agent),
            private_directories: names(Path::new(&format!("/proc/{agent}/root/run/sandshell"))),
            sandboxes: stage.sandbox_ids().await.len(),
            sessions: stage.session_ids().await.len(),
        }
    }
}

/// Processes in the process namespace of an agent.
pub(super) fn inside(agent: u32) -> usize {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(agent);
    host::pids().into_iter().filter(|pid| namespace(*pid) == own).count()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What the host would show of a sandbox that was left.
pub(super) fn left_of_sandboxes(runtime: Runtime, dir: &Path) -> Vec<String> {
    let mut left = host::mounts_with(&dir.to_string_lossy());
    left.extend(walk(dir).into_iter().filter(|path| path.contains("sbx-")));
    match runtime {
        Runtime::Linux => {
            let instance = fs::read_to_string(dir.join("instance")).expect("the name of the control groups");
            let own = format!("sandshell-{instance}/");
            left.extend(host::cgroups_with("sbx-").into_iter().filter(|path| path.contains(&own)));
        }
        Runtime::Docker => {
            let instance = fs::read_to_string(dir.join("docker/instance")).expect("the word of the containers");
            let label = format!("label=sandshell.instance={instance}");
            left.extend(shared_docker().run(&["ps", "-aq", "--filter", &label]).lines().map(str::to_owned));
        }
    }
    left
}

fn walk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&entry.path()));
        }
    }
    found
}
