//! The processes of a session as a client sees them: which there are, which command started each, and a signal for one.

use super::{Known, Session, sessions::Sessions};
use crate::{
    agent::{
        command::Command,
        output::{Budget, Charge},
        shell::{self, Looked, Member, Moment},
    },
    api::v1::{self, Process, process::State, session::State as SessionState},
    error::{Error, Kind, Reason, Result},
    rpc::paging::{self, Page},
    sync::lock,
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Processes that are over and remembered.
const MOST_OVER: usize = 100;

/// Processes that are remembered because a client was shown them, and what of their arguments, in bytes.
const MOST_SHOWN: usize = 256;
const MOST_REMEMBERED_TEXT: usize = 1024;

/// What is kept of a process that is remembered, beside its arguments.
const ENTRY_COST: usize = 256;

/// Processes that are described before other tasks of the agent have their turn.
const AT_ONE_TIME: usize = 16;

/// How often background processes are looked for where they count as use.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often what forks is looked at again while all of it is stopped.
const MOST_STOPS: usize = 20;

/// What was shown of a session's processes.
#[derive(Default)]
pub(in crate::agent) struct Programs(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    shown: HashMap<(i32, Moment), Process>,
    over: VecDeque<(u64, Process)>,
    charge: Option<Charge>,
}

/// All processes below the holders of a session.
struct Below {
    all: HashMap<i32, Member>,
    /// Those of the session, but for its shell and its holders.
    members: Vec<Member>,
    holders: HashSet<i32>,
    known: Known,
}

/// Finds out which command started a process.
struct Origins<'a> {
    below: &'a Below,
    commands: &'a [Arc<Command>],
    pipes: HashMap<(u64, u64), &'a Arc<Command>>,
    found: HashMap<i32, Option<&'a Arc<Command>>>,
}

/// A page of what runs and of what was shown before and is over.
pub(in crate::agent) async fn list(
    session: &Session,
    only: Option<&Command>,
    budget: &Arc<Budget>,
    (page_size, page_token): (i32, &str),
) -> Result<Page<Process>> {
    let below = Below::look(session).await?;
    let over = session.programs.note_ended(&below);
    let commands = session.commands();
    let mut origins = Origins::new(&below, &commands);
    let mut items: Vec<(u64, Item)> = Vec::new();
    for (n, member) in below.members.iter().enumerate() {
        // Only when it decides: what a process has open takes long to find out.
        if only.is_none_or(|only| origins.of(member).is_some_and(|command| command.id == only.id)) {
            items.push((key(member), Item::There(*member)));
        }
        if only.is_some() && n % AT_ONE_TIME == AT_ONE_TIME - 1 {
            tokio::task::yield_now().await;
        }
    }
    let wanted = |process: &Process| only.is_none_or(|only| process.command_id == only.id);
    items.extend(over.into_iter().filter(|(_, process)| wanted(process)).map(|(key, over)| (key, Item::Over(over))));
    items.sort_by_key(|(key, _)| *key);
    let page = paging::page(items, page_size, page_token)?;
    let mut described = VecDeque::new();
    for (n, item) in page.items.iter().enumerate() {
        described.push_back(match item {
            Item::There(member) => {
                let process = below.describe(member, origins.of(member));
                session.programs.note_shown(member, &process, budget);
                process
            }
            Item::Over(process) => process.clone(),
        });
        if n % AT_ONE_TIME == AT_ONE_TIME - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(page.map(|_| described.pop_front().unwrap_or_default()).fitting())
}

enum Item {
    There(Member),
    Over(Process),
}

/// Processes have no number of their own, but no two of one id begin at one time.
fn key(member: &Member) -> u64 {
    member.began.ticks() << 22 | member.pid.unsigned_abs() as u64 & ((1 << 22) - 1)
}

/// Keeps the sandbox from being idle while a session has a process in the background. Ends never.
pub(in crate::agent) async fn count_background(sessions: Arc<Sessions>) {
    let activity = sessions.activity();
    loop {
        activity.background_is_to_be_looked_at().await;
        let commands = activity.now().commands;
        match any_in_background(&sessions).await {
            Ok(false) => activity.no_background(commands),
            Ok(true) => {}
            // What could not be looked at may be there.
            Err(error) => tracing::warn!(%error, "background processes cannot be looked for"),
        }
        // Nothing tells of their end: only the shell that has started them knows it.
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn any_in_background(sessions: &Sessions) -> Result<bool> {
    let open = sessions.open_ones();
    let all = shell::census().await.map_err(not_looked)?;
    Ok(open.iter().any(|session| {
        let below = Below::among(&all, session.known());
        below.members.iter().any(|member| !member.has_ended())
    }))
}

/// Sends a signal to one process of the session, and to its descendants if wanted. Returns how many got it.
pub(in crate::agent) async fn signal(session: &Session, request: &v1::SignalProcessRequest) -> Result<usize> {
    let unknown = || {
        let hint = Some(format!(": no process of session \"{}\" has this id now", session.about.id));
        Error::NotFound { kind: Kind::Process, id: request.pid.to_string(), hint }
    };
    let known = session.known();
    let target = match Member::look(request.pid).map_err(not_looked)? {
        Looked::There(member) if !member.has_ended() && is_below(&member, &known).map_err(not_looked)? => member,
        Looked::There(_) | Looked::Gone => return Err(unknown()),
    };
    let start_time = prost_types::Timestamp::from(target.start_time());
    if request.start_time.is_some_and(|wanted| wanted != start_time) {
        return Err(unknown());
    }
    let signal = if request.signal == 0 { libc::SIGTERM } else { request.signal };
    let send = |member: &Member| {
        shell::send(member, signal).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::WrongState {
                reason: Reason::NotAllowed,
                message: format!("process {} belongs to a user whom the agent may not signal", member.pid),
            },
            _ => Error::internal("signal a process", error),
        })
    };
    if !request.tree {
        return if send(&target)? { Ok(1) } else { Err(unknown()) };
    }
    let mut tree = vec![target];
    for round in 0..MOST_STOPS {
        let before = tree.len();
        descendants(&mut tree, &shell::census().await.map_err(not_looked)?);
        if signal != libc::SIGKILL {
            break;
        }
        // What is stopped cannot fork: when nothing is new, all of it is there.
        for member in &tree {
            let _ = shell::send(member, libc::SIGSTOP);
        }
        if tree.len() == before && round > 0 {
            break;
        }
    }
    if signal == libc::SIGKILL {
        // The youngest first: the kernel would end what is stopped in another way as soon as its parent is gone.
        tree.reverse();
    }
    let mut sent = 0;
    let mut failed = None;
    for member in &tree {
        match send(member) {
            Ok(true) => sent += 1,
            Ok(false) => {}
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) => Err(error),
        None if sent == 0 => Err(unknown()),
        None => Ok(sent),
    }
}

fn not_looked(error: io::Error) -> Error {
    Error::internal("look at the processes of a session", error)
}

/// Adds what descends from any of them.
fn descendants(tree: &mut Vec<Member>, all: &[Member]) {
    let mut children: HashMap<i32, Vec<&Member>> = HashMap::new();
    for member in all {
        children.entry(member.parent).or_default().push(member);
    }
    let mut ids: HashSet<i32> = tree.iter().map(|member| member.pid).collect();
    let mut at = 0;
    while at < tree.len() {
        let parent = tree[at].pid;
        for child in children.get(&parent).into_iter().flatten() {
            if ids.insert(child.pid) {
                tree.push(**child);
            }
        }
        at += 1;
    }
}

/// Whether a process descends from one of a session's holders, and is none itself.
fn is_below(member: &Member, known: &Known) -> io::Result<bool> {
    let holders: HashSet<i32> = known.holders.iter().filter_map(|holder| holder.pid()).collect();
    let mut parent = member.parent;
    // A chain of ancestors that changes meanwhile might lead in a circle.
    for _ in 0..4096 {
        if holders.contains(&parent) {
            return Ok(true);
        }
        parent = match Member::look(parent)? {
            Looked::There(member) if parent > 1 => member.parent,
            Looked::There(_) | Looked::Gone => return Ok(false),
        };
    }
    Ok(false)
}

impl Below {
    async fn look(session: &Session) -> Result<Self> {
        let all = shell::census().await.map_err(not_looked)?;
        Ok(Self::among(&all, session.known()))
    }

    fn among(all: &[Member], known: Known) -> Self {
        let holders: HashSet<i32> = known.holders.iter().filter_map(|holder| holder.pid()).collect();
        let mut tree: Vec<Member> = all.iter().filter(|member| holders.contains(&member.pid)).copied().collect();
        descendants(&mut tree, all);
        tree.retain(|member| !holders.contains(&member.pid) && member.pid != known.shell_pid);
        let all = all.iter().map(|member| (member.pid, *member)).collect();
        Self { all, members: tree, holders, known }
    }

    /// The process group in the foreground of the session's terminal, while a command runs.
    fn foreground(&self) -> Option<i32> {
        let busy = self.known.state == SessionState::Busy;
        let of_shell = self.all.get(&self.known.shell_pid).map(|shell| shell.foreground);
        // Without a terminal it is the program's own group that gets signals.
        let of_program = || {
            let program = self.all.get(&self.known.program)?;
            Some(if program.foreground > 0 { program.foreground } else { program.group })
        };
        of_shell.or_else(of_program).filter(|_| busy)
    }

    fn describe(&self, member: &Member, command: Option<&Arc<Command>>) -> Process {
        let state = match member.state {
            'R' => State::Running,
            'T' | 't' => State::Stopped,
            'Z' | 'X' => State::Zombie,
            _ => State::Sleeping,
        };
        let (exit_code, signal) = if state == State::Zombie { member.end() } else { (None, 0) };
        Process {
            pid: member.pid,
            command_id: command.map(|command| command.id.clone()).unwrap_or_default(),
            command: shell::argument_text(member.pid),
            state: state.into(),
            start_time: Some(member.start_time().into()),
            exit_code,
            signal,
            parent_pid: member.parent,
            foreground: state != State::Zombie && self.foreground() == Some(member.group),
        }
    }
}

impl<'a> Origins<'a> {
    fn new(below: &'a Below, commands: &'a [Arc<Command>]) -> Self {
        let pipes = commands.iter().flat_map(|command| command.pipes().map(move |pipe| (pipe, command))).collect();
        Self { below, commands, pipes, found: HashMap::new() }
    }

    /// The command that started it. What cannot be known is `None`.
    fn of(&mut self, member: &Member) -> Option<&'a Arc<Command>> {
        if self.below.known.program != 0 {
            // A program that was started without a shell is the only command there is.
            return self.commands.first();
        }
        // From the process to an ancestor of which it is known.
        let mut way = Vec::new();
        let mut at = *member;
        let found = loop {
            if let Some(found) = self.found.get(&at.pid) {
                break *found;
            }
            way.push(at.pid);
            if let Some(command) = shell::output_files(at.pid).find_map(|file| self.pipes.get(&file)) {
                break Some(*command);
            }
            if at.parent == self.below.known.shell_pid {
                break self.by_turn(at.began);
            }
            // What has lost its parent may be in the group of one that has not.
            let next = if self.below.holders.contains(&at.parent) {
                [at.group, at.session].into_iter().find(|leader| !way.contains(leader))
            } else {
                Some(at.parent)
            };
            match next.and_then(|next| self.below.all.get(&next)).filter(|next| !way.contains(&next.pid)) {
                Some(next) if next.pid != self.below.known.shell_pid => at = *next,
                _ => break None,
            }
        };
        self.found.extend(way.into_iter().map(|pid| (pid, found)));
        found
    }

    /// The shell itself starts processes only in a command's turn. When the clock is too coarse to tell two turns apart, it is
    /// not known which.
    fn by_turn(&self, began: Moment) -> Option<&'a Arc<Command>> {
        let mut candidates = self.commands.iter().filter(|command| command.had_its_turn_at(began));
        candidates.next().filter(|_| candidates.next().is_none())
    }
}

impl Programs {
    /// What was shown and is not there any more is over. Returns all that is over and remembered.
    fn note_ended(&self, below: &Below) -> Vec<(u64, Process)> {
        let mut remembered = lock(&self.0);
        let Remembered { shown, over, charge } = &mut *remembered;
        let is_there = |(pid, began): &(i32, Moment)| below.all.get(pid).is_some_and(|member| member.began == *began);
        for ((pid, began), mut process) in shown.extract_if(|name, _| !is_there(name)) {
            process.state = State::Exited.into();
            process.foreground = false;
            over.push_back((began.ticks() << 22 | pid.unsigned_abs() as u64 & ((1 << 22) - 1), process));
        }
        while over.len() > MOST_OVER {
            over.pop_front();
        }
        if let Some(charge) = charge {
            charge.set(shown.values().chain(over.iter().map(|(_, process)| process)).map(cost).sum());
        }
        over.iter().cloned().collect()
    }

    /// Remembers what a client was shown, if there is room for it.
    fn note_shown(&self, member: &Member, process: &Process, budget: &Arc<Budget>) {
        let mut remembered = lock(&self.0);
        let Remembered { shown, charge, .. } = &mut *remembered;
        let name = (member.pid, member.began);
        let mut process = process.clone();
        process.command.truncate(process.command.floor_char_boundary(MOST_REMEMBERED_TEXT));
        if let Some(known) = shown.get_mut(&name) {
            if process.state() == State::Zombie {
                // It has no arguments any more, and its pipes are closed.
                (known.exit_code, known.signal) = (process.exit_code, process.signal);
            } else {
                let more = cost(&process).saturating_sub(cost(known));
                if more == 0 || charge.as_mut().is_some_and(|charge| charge.try_grow(more)) {
                    *known = process;
                }
            }
            return;
        }
        let charge = charge.get_or_insert_with(|| budget.nothing());
        if shown.len() < MOST_SHOWN && charge.try_grow(cost(&process)) {
            shown.insert(name, process);
        }
    }
}

fn cost(process: &Process) -> usize {
    ENTRY_COST + process.command.len() + process.command_id.len()
}
