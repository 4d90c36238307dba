//! One shell process, and how it is driven.
//!
//! Three kinds of channel: the *control* pipe is the shell's standard input, on which it reads our lines; the *status*
//! FIFO is opened by path for each report, so that no descriptor of ours is ever there for a user to close or to leak;
//! and each command has FIFOs of its own for what it prints. A command's text is never part of a line: it is written to
//! a file that the line sources.

mod census;
mod dialect;
mod directories;
mod directory;
mod entries;
pub(crate) mod environment;
mod fifo;
mod guard;
mod hold;
mod holder;
mod inherited;
mod launch;
mod limits;
mod loan;
mod missing;
mod order;
mod processes;
mod program;
mod quoting;
mod readiness;
mod records;
mod reports;
mod reserve;
mod saved;
mod state;
mod sweep;
mod sys;
mod terminal;
mod text;

pub(crate) use census::{Looked, Member, argument_text, census, output_files, send};
pub(crate) use dialect::Term;
use dialect::{Call, LastArgument, Seen};
pub(crate) use directories::{Directories, Private, read_file};
pub(crate) use directory::Directory;
pub(crate) use fifo::{Fifo, InputFifo, Read, ReadEnd, write};
pub(crate) use guard::bind_this_process;
pub(crate) use holder::{Event, Holder, HolderName};
pub(crate) use launch::{Launch, LaunchError, find_program};
pub(crate) use loan::{Asked, Before, Loan, MOST_KEPT};
pub(crate) use processes::{
    Halt, Image, Moment, Processes, Turns, descendants_since, group_has_members, group_members, halted, has_open,
    image, leads_its_group, minds, own_started, reads_terminal, reap, signal_group_but,
};
pub(crate) use program::{Ends, Program, Wiring};
pub(crate) use reports::{Report, Reports, Told};
use saved::Kind;
pub(crate) use saved::{Keeper, NotRestored, Saved};
pub(crate) use sys::{give_back_memory, group_lives, keep_memory, kill, kill_group, protect, watch};
pub(crate) use terminal::Terminal;

use dialect::{Dialect, LEAVE, RESTORE, RETURN, SAVED, STATUS, Taken};
use std::{
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    sync::Arc,
};
use text::TextFile;

/// How the names of all variables of ours begin.
const OUR_NAMES: &[u8] = b"SANDSHELL_";

/// How a command is to be run, beside its text. Paths are our own and need no quotes.
pub(crate) struct Streams<'a> {
    /// Where standard input comes from.
    pub(crate) input: &'a str,
    /// Where standard output goes.
    pub(crate) output: &'a str,
    /// Where standard error goes.
    pub(crate) error: &'a str,
    /// `$?` that the command should find.
    pub(crate) last_status: i32,
    /// `TERM` for this command alone.
    pub(crate) term: Option<Term<'a>>,
    /// Whether the shell ends after it, with its status, instead of reporting.
    pub(crate) leave: bool,
}

/// Parts of a pipeline that are surely few enough to be told.
const MOST_PIPES: usize = 256;

/// A running shell.
pub(crate) struct Shell {
    dialect: Dialect,
    directory: Arc<Directory>,
    control: OwnedFd,
    /// Bytes of the lines that run the last command.
    given: u64,
    text: TextFile,
    /// What it reports.
    pub(crate) reports: Reports,
    /// What it saves.
    pub(crate) keeper: Keeper,
    /// What the shell itself, not a command, writes.
    pub(crate) own_output: ReadEnd,
    /// As `own_output`.
    pub(crate) own_error: ReadEnd,
    own_ends: [OwnedFd; 2],
    /// Pipes of earlier commands that are as good as new.
    spare: Vec<Fifo>,
    /// What it did not get back of an earlier shell's state.
    pub(crate) not_restored: NotRestored,
    /// Its terminal.
    pub(crate) terminal: Terminal,
    /// Its process id.
    pub(crate) pid: i32,
    last_tag: u64,
    /// Words of ours that functions may have as names.
    taken: Taken,
    /// Whether no other shell comes after it, and so nothing of its state is saved.
    is_last: bool,
    /// Other things of the user's that it may have.
    seen: Seen,
    /// What it told with the end of its last command.
    told: Told,
    /// `$_` after its last command, where that is known without the shell.
    last_argument: Option<String>,
    /// Whether what it runs is one simple command, so that its status is all that there is to a pipeline.
    runs_plain: bool,
}

/// The tags of what an idle shell reports when it is asked for its state.
pub(crate) struct Saving {
    /// That it has told its state.
    pub(crate) saved: u64,
    /// How long it waits for a line, if it would end for want of one.
    pub(crate) patience: u64,
}

impl Shell {
    /// Gives the shell a command. Its report comes under the tag that is returned.
    pub(crate) fn run(&mut self, text: &[u8], streams: &Streams<'_>) -> io::Result<u64> {
        self.note_taken(text)?;
        self.seen.note(text);
        let told = std::mem::take(&mut self.told);
        let quiet = !told.traced && !told.shown && !told.debug;
        let is_whole = self.dialect != Dialect::Posix && dialect::is_surely_whole(text);
        let plain = dialect::last_word(text).filter(|_| {
            // zsh leaves `$_` as a function's last command made it, and there may be functions.
            self.dialect == Dialect::Bash && !streams.leave && quiet && !self.seen.traps && !self.seen.aliases
        });
        let asks_last = self.seen.last_argument || dialect::mentions_last_argument(text);
        let last_argument = match std::mem::take(&mut self.last_argument) {
            _ if told.debug || told.pipes.is_empty() || !asks_last => None,
            word => Some(word),
        };
        let call = Call {
            text,
            input: streams.input,
            output: streams.output,
            error: streams.error,
            last_status: streams.last_status,
            term: streams.term,
            leave: streams.leave,
            taken: self.taken,
            last_argument: last_argument.as_ref().map(|word| match word {
                Some(word) => LastArgument::Word(word),
                None => LastArgument::Noted,
            }),
            pipes: if dialect::mentions_pipes(text) { &told.pipes } else { &[] },
            tells_end: quiet && is_whole && plain.is_none() && !streams.leave,
            has_many_pipes: self.seen.aliases || text.iter().filter(|byte| **byte == b'|').count() > MOST_PIPES,
            is_plain: plain.is_some(),
            may_start_jobs: dialect::may_start_jobs(text),
            asks_traps: self.seen.traps,
            traced: told.traced && !told.shown,
            at_top: told.debug
                || (told.traced || !is_whole && dialect::needs_top(text)) && !dialect::speaks_at_top(text),
            in_lines: self.dialect == Dialect::Zsh && dialect::changes_reading(text),
        };
        // Literal words are ASCII.
        self.last_argument = plain.and_then(|word| std::str::from_utf8(word).ok()).map(str::to_owned);
        self.runs_plain = plain.is_some();
        let tag = self.next_tag();
        let directory = self.directory.path();
        self.text.write(&self.directory, &self.dialect.file(&call, tag, directory))?;
        if call.leave {
            self.directory.write(LEAVE, self.dialect.leave_script(call.taken).as_bytes())?;
        }
        if call.last_status != 0 {
            let script = self.dialect.return_script(call.last_status, call.taken);
            self.directory.write(RETURN, script.as_bytes())?;
        }
        let lines = self.worded(&self.dialect.run(&call, tag, directory));
        self.given = lines.len() as u64;
        self.tell(&lines)?;
        self.keeper.given_a_command();
        Ok(tag)
    }

    /// Notes what it told at the end of a command, which nobody has disturbed or somebody has. Returns the status of each part of the command's last pipeline.
    pub(crate) fn note_told(&mut self, mut told: Told, status: i32, undisturbed: bool) -> Vec<i32> {
        if self.runs_plain && undisturbed {
            told.pipes = vec![status];
        }
        self.told = told;
        self.told.pipes.clone()
    }

    /// Notes which words of ours a text seems to define, before the shell reads it.
    fn note_taken(&mut self, text: &[u8]) -> io::Result<()> {
        let before = self.taken;
        self.taken.note(text);
        if self.taken == before {
            return Ok(());
        }
        self.dialect.write_scripts(&self.directory, self.taken, self.is_last)
    }

    /// A pipe for what a command prints, under a name.
    pub(crate) fn pipe(&mut self, name: &'static str) -> io::Result<Fifo> {
        let spare = self.spare.iter().position(|pipe| pipe.name() == name).map(|at| self.spare.swap_remove(at));
        spare.filter(Fifo::is_there).map_or_else(|| Fifo::create(&self.directory, name), Ok)
    }

    /// Takes a pipe back that has been read to its end just now. Making one takes ten system calls.
    pub(crate) fn take_back(&mut self, mut pipe: Fifo) {
        if pipe.renew() {
            self.spare.push(pipe);
        }
    }

    /// Asks an idle shell to save its state, and under a tag that is returned for how long it will stay idle.
    pub(crate) fn save(&mut self) -> io::Result<Saving> {
        self.keep_traps()?;
        let (saved, patience) = (self.next_tag(), self.next_tag());
        self.say(&self.dialect.save(saved, self.directory.path()))?;
        self.keeper.asked();
        if let Some(lines) = self.dialect.patience(patience, self.directory.path()) {
            self.say(&lines)?;
        }
        Ok(Saving { saved, patience })
    }

    /// Makes sure that no signal of ours is still on its way.
    pub(crate) fn settle(&mut self) -> io::Result<u64> {
        let tag = self.next_tag();
        self.have_signals_taken();
        self.say(&self.dialect.settle(tag, self.directory.path()))?;
        Ok(tag)
    }

    /// Asks for `$?` as it is.
    pub(crate) fn ask(&mut self) -> io::Result<u64> {
        let tag = self.next_tag();
        self.say(&self.dialect.report(tag, self.directory.path()))?;
        Ok(tag)
    }

    /// Asks for a report that did not come. `$?` is lost.
    pub(crate) fn ask_again(&self, tag: u64) -> io::Result<()> {
        self.say(&self.dialect.settle(tag, self.directory.path()))
    }

    /// Whether somebody inside removed or moved what the shell reports to.
    pub(crate) fn is_damaged(&self) -> bool {
        !self.directory.is_in_place() || !self.reports.fifo.is_there() || !self.keeper.fifo.is_there()
    }

    /// Makes what was removed again.
    pub(crate) fn repair(&mut self) -> io::Result<()> {
        self.directory.private().all().fill_reserve();
        if !self.is_damaged() {
            return Ok(());
        }
        let directory = Directory::make(self.directory.private())?;
        self.dialect.write_scripts(&directory, self.taken, self.is_last)?;
        let (status, saved) = (Fifo::create(&directory, STATUS)?, Fifo::create(&directory, SAVED)?);
        self.reports.reads_from(status);
        self.keeper.reads_from(saved);
        // They are in the directory that was there before, which may be gone.
        self.spare.clear();
        self.text = TextFile::default();
        self.directory = directory;
        Ok(())
    }

    /// The command's text was run.
    pub(crate) fn text_was_run(&mut self) {
        self.text.was_run();
    }

    /// Drops what the shell itself has written: prompts, notices of jobs.
    pub(crate) fn forget_own_output(&self) {
        for pipe in [&self.own_output, &self.own_error] {
            pipe.take_what_is_there(drop);
        }
    }

    /// What the shell itself has written, without the traces of our own lines.
    pub(crate) fn own_words(&self) -> (Vec<u8>, Vec<u8>) {
        let all = |pipe: &ReadEnd| {
            let mut all = Vec::new();
            pipe.take_what_is_there(|data| all.extend_from_slice(&data));
            all
        };
        let path = self.directory.path().as_bytes();
        let has = |line: &[u8], text: &[u8]| line.windows(text.len()).any(|part| part == text);
        let ours = |line: &&[u8]| has(line, path) || has(line, OUR_NAMES) || has(line, dialect::UNTRACE);
        let error = all(&self.own_error);
        let error: Vec<u8> =
            error.split_inclusive(|byte| *byte == b'\n').filter(|line| !ours(line)).flatten().copied().collect();
        (all(&self.own_output), error)
    }

    /// Has the shell source what an earlier one saved. Returns the names of the pieces of that.
    fn restore(&mut self, saved: &Saved) -> io::Result<Vec<String>> {
        let (mut script, labels) = self.dialect.restore_script(saved, self.directory.path());
        // The saved value may be older than the directory; `cd` would also set OLDPWD.
        script.extend_from_slice(b"PWD=");
        script.extend_from_slice(&quoting::quoted(saved.directory.as_os_str().as_bytes()));
        script.push(b'\n');
        self.directory.write(RESTORE, &script)?;
        self.say(&self.dialect.restore(self.directory.path()))?;
        self.note_restored(saved);
        // The lines after that find these functions defined.
        for name in labels.iter().filter_map(|label| label.strip_prefix("function ")) {
            self.note_taken(format!("{name} ()").as_bytes())?;
        }
        Ok(labels)
    }

    /// Notes what it may have by what an earlier shell has saved.
    fn note_restored(&mut self, saved: &Saved) {
        for item in &saved.items {
            let is_ours = || item.text.windows(OUR_NAMES.len()).any(|part| part == OUR_NAMES);
            match item.kind {
                Kind::Function => self.seen.note(&item.text),
                Kind::Alias => self.seen.aliases = true,
                Kind::Trap if !is_ours() => self.seen.traps = true,
                _ if self
                    .dialect
                    .label(item.kind, &item.text)
                    .is_some_and(|label| label.ends_with("PROMPT_COMMAND")) =>
                {
                    self.seen.note_other_code();
                }
                _ => {}
            }
        }
    }

    /// Notes what it did not get back: what was not kept, and what it has just said to have failed.
    fn restored(&mut self, saved: &Saved, labels: &[String]) {
        self.directory.remove(RESTORE);
        self.keeper.take();
        self.not_restored = saved.lost.clone();
        for failed in self.keeper.take_failed() {
            if let Some(label) = labels.get(failed) {
                self.not_restored.add(label.clone());
            }
        }
    }

    /// The process group that a signal of the user's is for.
    pub(crate) fn foreground(&self) -> i32 {
        // A shell may leave the terminal to a group that has ended.
        self.terminal.foreground().filter(|group| sys::group_lives(*group)).unwrap_or(self.pid)
    }

    /// Where its files are. Lines of its own error output that name it are ours.
    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    fn next_tag(&mut self) -> u64 {
        self.last_tag = self.last_tag.wrapping_add(1);
        self.last_tag
    }

    /// Gives it lines, all or none of them. They are short, and it has read all those before.
    fn say(&self, lines: &str) -> io::Result<()> {
        self.tell(&self.worded(lines))
    }

    /// Lines of ours in words that it takes for what we mean.
    fn worded(&self, lines: &str) -> String {
        self.dialect.unremembered(&self.dialect.reworded(lines, self.taken)).into()
    }

    fn tell(&self, lines: &str) -> io::Result<()> {
        let said = fifo::write_whole(&self.control, lines.as_bytes());
        if said.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WriteZero) {
            // It would take the beginning of a line for all of it.
            sys::kill(self.pid, libc::SIGKILL);
        }
        said
    }
}
