//! Signals for what runs in the foreground of a command: each comes to whom it is for, and comes there once.
//!
//! Three moments need care. Before and after the command's text the shell reads our lines, and would lose the signal: it
//! waits then. When the shell itself is in the foreground it may have just started a program, which the signal was meant
//! for. And a program that is not yet executed is a copy of the shell that starts it: has that shell's handlers, and
//! forgets the signal with them: the signal waits a little for the program. Waiting has an end, and there is always a
//! moment between a look and a signal; so who has had one is remembered, as what it had it, and looked at again.

use crate::agent::shell::{self, Image, Processes, Shell};
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// The first look after a signal; each further one waits twice as long.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// What comes later than this look, about half a second after the signal, is not what the signal was meant for.
const LAST_LOOK: Duration = Duration::from_millis(256);

/// How often a signal that cannot be given yet is tried.
const TRY_EVERY: Duration = Duration::from_millis(1);

/// How long a signal waits for programs that are about to begin, which could lose it until then (a shell that is starting
/// one may, too), and one that a shell may end by for a program that the shell may start.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a shell may take to abandon a command by itself: half of this, and the looks before.
const INSIST_AFTER: Duration = Duration::from_millis(16);

/// Signals that stop who gets them.
const STOPS: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// What became of the signals for a command.
#[derive(Default)]
pub(super) struct Signals {
    /// The one on its way.
    under_way: Option<UnderWay>,
    /// Those to be given after it, in order.
    waiting: VecDeque<(i32, bool)>,
    /// Whether the shell itself got an INT.
    shell_had: bool,
    /// All groups that got one, but for the shell's.
    groups: Vec<i32>,
}

/// A signal until it has come to all whom it is for.
struct UnderWay {
    signal: i32,
    /// Whether the command is to end, whatever the program does.
    ending: bool,
    since: Instant,
    /// What was there at the last look, when nothing seemed to be just starting.
    settled: Option<Vec<(i32, Option<Image>)>>,
    /// Who got it.
    had: Vec<i32>,
    /// Who got it as a copy of its parent.
    copies: Vec<Copy>,
    wait: Duration,
    at: Instant,
}

struct Copy {
    pid: i32,
    image: Image,
    /// Whether it surely was one when it got the signal.
    sure: bool,
}

impl Signals {
    /// Sends one, as soon as it can be taken.
    pub(super) fn send(&mut self, signal: i32, ending: bool, shell: &Shell) {
        match &mut self.under_way {
            // A signal that waits already comes once, as the kernel does it.
            Some(first) if first.had.is_empty() && first.signal == signal => first.ending |= ending,
            Some(first) if first.had.is_empty() => match self.waiting.iter_mut().find(|(other, _)| *other == signal) {
                Some((_, other_ends)) => *other_ends |= ending,
                None => self.waiting.push_back((signal, ending)),
            },
            _ => {
                self.under_way = Some(UnderWay::new(signal, ending));
                self.look(shell);
            }
        }
    }

    /// Notes one that the terminal is about to send, because its key is typed.
    pub(super) fn typed(&mut self, signal: i32, shell: &Shell) {
        let mut under_way = UnderWay::new(signal, false);
        let group = shell.foreground();
        if group != shell.pid || shell.is_inside_command() {
            let copies = Processes::near(group, shell.pid).map_or_else(|_| Vec::new(), |near| near.copies());
            under_way.note(group, copies);
            self.got(signal, group, shell);
        }
        under_way.at = Instant::now() + FIRST_LOOK;
        self.under_way = Some(under_way);
    }

    /// The shell is told to abandon the command, so that it goes on with nothing after a program that is ended; with
    /// `insisting`, in every way there is.
    pub(super) fn abandon(&mut self, insisting: bool, shell: &Shell) {
        if !shell.is_inside_command() {
            return;
        }
        let told = shell.abandon();
        if !told && shell.ignores_interrupts() {
            // There is no other way to keep it from going on with the list.
            shell::kill(shell.pid, libc::SIGKILL);
        } else if !told || insisting && !(shell.forgets_interrupts() || shell.ends_by_interrupts()) {
            // zsh that waits would go on waiting when an INT comes after our own signal.
            shell::kill(shell.pid, libc::SIGINT);
        }
        self.shell_had = true;
    }

    /// A group of the foreground got a signal.
    pub(super) fn got(&mut self, signal: i32, group: i32, shell: &Shell) {
        if group == shell.pid {
            self.shell_had |= signal == libc::SIGINT;
        } else if !self.groups.contains(&group) {
            self.groups.push(group);
        }
    }

    /// What was on its way is overtaken by something stronger.
    pub(super) fn forget(&mut self) {
        self.under_way = None;
        self.waiting.clear();
    }

    /// When to look.
    pub(super) fn at(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|under_way| under_way.at)
    }

    /// Whether the shell itself got an INT.
    pub(super) fn shell_had(&self) -> bool {
        self.shell_had
    }

    /// Groups that got a signal, but for the shell's.
    pub(super) fn groups(&self) -> &[i32] {
        &self.groups
    }

    /// Gives the signal to whom it is for and who has not had it.
    pub(super) fn look(&mut self, shell: &Shell) {
        let Some(mut under_way) = self.under_way.take() else { return };
        let began = Instant::now();
        let group = shell.foreground();
        // When nothing can be seen, or the foreground changed while it was looked at, the next look may know more.
        let near = Processes::near(group, shell.pid).ok().filter(|_| shell.foreground() == group);
        if under_way.is_for(group, shell, near.as_ref()) {
            let given = under_way.give(group, near.as_ref(), shell);
            self.got(given, group, shell);
            self.shell_had |= under_way.ending;
            if under_way.ending && shell.forgets_interrupts() && near.is_none_or(|near| near.is_pipeline()) {
                // zsh may go on with the list when a pipeline is interrupted, depending on who ended first.
                shell::kill(shell.pid, libc::SIGINT);
            }
        } else {
            under_way.insist(shell);
        }
        under_way.follow_copies();
        let given = !under_way.had.is_empty();
        self.under_way = match given.then(|| self.waiting.pop_front()).flatten() {
            Some((signal, ending)) => Some(UnderWay::new(signal, ending)),
            None => under_way.again(shell, began.elapsed()),
        };
    }
}

impl UnderWay {
    fn new(signal: i32, ending: bool) -> Self {
        let now = Instant::now();
        Self {
            signal,
            ending,
            since: now,
            settled: None,
            had: Vec::new(),
            copies: Vec::new(),
            wait: FIRST_LOOK,
            at: now,
        }
    }

    fn is_for(&mut self, group: i32, shell: &Shell, near: Option<&Processes>) -> bool {
        let patient = self.since.elapsed() < PATIENCE;
        let settled = near.and_then(Processes::settled);
        let unchanged = settled.is_some() && settled == self.settled;
        self.settled = settled;
        if patient && !unchanged {
            return false;
        }
        if group == shell.pid {
            // A program comes first, and once one has had it the shell sees how that ends.
            let willing = self.signal == libc::SIGINT || !patient;
            // A shell that does not come to the command can be killed all the same.
            let stuck = self.signal == libc::SIGKILL && self.since.elapsed() > PATIENCE * 10;
            return self.had.is_empty() && willing && (stuck || shell.is_inside_command());
        }
        // A group that has ended takes nothing; the shell is about to go on.
        let meant = self.had.is_empty() || self.had == [shell.pid];
        meant && near.is_none_or(|near| near.members().next().is_some())
    }

    /// Gives it to a group, and returns which signal that was.
    fn give(&mut self, group: i32, near: Option<&Processes>, shell: &Shell) -> i32 {
        let copies = near.map(Processes::copies).unwrap_or_default();
        let alone = group == shell.pid && near.is_none_or(|near| near.members().all(|pid| pid == shell.pid));
        // Before the program ends: what follows it must not begin. zsh that waits for background jobs takes an INT first,
        // and this a little later.
        let told = self.ending && !(alone && shell.forgets_interrupts()) && shell.abandon();
        let signal = if told && self.signal == libc::SIGINT && shell.ends_by_interrupts() {
            // It would end by an INT of its own, and when a program ends by one.
            shell::signal_group_but(group, libc::SIGTERM, shell.pid);
            libc::SIGTERM
        } else {
            shell::kill_group(group, self.signal);
            self.signal
        };
        if group == shell.pid && !STOPS.contains(&signal) {
            // What is stopped takes no other signal.
            shell.resume();
        }
        self.note(group, copies);
        // Who began between the look and the signal. Its parent may be gone, so it is not known by that.
        if let (Some(near), Ok(later)) = (near, Processes::near(group, shell.pid)) {
            let new = later.new_copies(near);
            self.copies.extend(new.into_iter().map(|(pid, image)| Copy { pid, image, sure: true }));
        }
        self.wait = FIRST_LOOK;
        signal
    }

    /// Has a shell abandon the command that has had an INT itself and goes on: it waits for background jobs, or has a trap
    /// of the user's.
    fn insist(&self, shell: &Shell) {
        let had = self.signal == libc::SIGINT && self.had == [shell.pid] && self.wait >= INSIST_AFTER;
        if had && (self.ending || shell.sleeps_through_interrupts()) {
            shell.abandon();
        }
    }

    fn note(&mut self, group: i32, copies: Vec<(i32, Image)>) {
        self.had.push(group);
        self.copies.retain(|copy| !copies.iter().any(|(pid, _)| *pid == copy.pid));
        let noted = |(pid, image)| Copy { pid, image, sure: shell::image(pid) == Some(Some(image)) };
        self.copies.extend(copies.into_iter().map(noted));
    }

    /// Gives it again to those that have become another program since, without it.
    fn follow_copies(&mut self) {
        let signal = self.signal;
        self.copies.retain(|copy| match shell::image(copy.pid) {
            Some(None) => true,
            Some(Some(now)) if now == copy.image => true,
            Some(Some(_)) => {
                if copy.sure || !shell::minds(copy.pid, signal) {
                    shell::kill(copy.pid, signal);
                }
                false
            }
            None => false,
        });
    }

    /// The next look while one may still be of use. The last one took `took`: the agent has one thread, and looking must
    /// not be most of what it does.
    fn again(mut self, shell: &Shell, took: Duration) -> Option<Self> {
        if self.had.is_empty() {
            let now = Instant::now();
            let usual = if now - self.since < PATIENCE * 10 { TRY_EVERY } else { PATIENCE };
            self.at = now + usual.max(took * 4);
            return Some(self);
        }
        let open = self.had == [shell.pid] || !self.copies.is_empty();
        self.at = Instant::now() + self.wait;
        self.wait *= 2;
        (open && self.wait <= LAST_LOOK * 2).then_some(self)
    }
}
