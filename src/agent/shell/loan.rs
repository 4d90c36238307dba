//! Variables and a directory that a session's shell has for one command.

use super::{
    Fifo, Shell,
    dialect::{Errand, WAS, Was},
    environment::Variables,
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The variable that a change of the directory changes too, beside `PWD`, which follows the directory.
const OLDPWD: &str = "OLDPWD";

/// What variables may be, all together, in bytes. What is longer is not set for a command, because nobody could put it back.
pub(crate) const MOST_KEPT: usize = 8 << 20;

/// What a command is to have while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loan {
    /// Variables, exported.
    pub(crate) env: Variables,
    /// Where it runs, if not where the session is.
    pub(crate) directory: Option<PathBuf>,
}

/// A script that was given to the shell.
pub(crate) struct Asked {
    /// The tag of the report that all of it was done.
    pub(crate) done: u64,
    /// The tag of the report that the shell is through with it.
    pub(crate) over: u64,
    /// Where it prints to.
    pub(crate) printed: Option<Fifo>,
}

/// What the shell had before.
#[derive(Debug)]
pub(crate) struct Before {
    was: Vec<Was>,
    /// Where it was, when the loan changes that.
    pub(crate) directory: Option<PathBuf>,
}

impl Loan {
    /// Nothing, when there is nothing in it.
    pub(crate) fn new(env: Variables, directory: &str) -> Option<Self> {
        let directory = (!directory.is_empty()).then(|| PathBuf::from(directory));
        (!env.is_empty() || directory.is_some()).then_some(Self { env, directory })
    }

    /// Says where its directory begins, when that is relative: where the session is when the command's turn comes.
    pub(crate) fn begin_at(&mut self, directory: &Path) {
        self.directory = self.directory.take().map(|relative| directory.join(relative));
    }

    /// How much of it there is, in bytes.
    pub(crate) fn length(&self) -> usize {
        let env: usize = self.env.iter().map(|(name, value)| name.len() + value.len()).sum();
        env + self.directory.as_ref().map_or(0, |directory| directory.as_os_str().len())
    }

    fn names(&self) -> Vec<String> {
        let changed = self.directory.as_ref().filter(|_| !self.env.contains_key(OLDPWD)).map(|_| OLDPWD.to_owned());
        self.env.keys().cloned().chain(changed).collect()
    }
}

impl Shell {
    /// The first variable of a loan that this shell does not let be set for a command.
    pub(crate) fn refuses<'a>(&self, loan: &'a Loan) -> Option<&'a str> {
        loan.env.keys().map(String::as_str).find(|name| !self.dialect.lends(name))
    }

    /// Asks what the variables of a loan are now.
    pub(crate) fn look(&mut self, loan: &Loan) -> io::Result<Asked> {
        let printed = self.pipe(WAS)?;
        let script = self.dialect.look_script(&loan.names());
        Ok(Asked { printed: Some(printed), ..self.send(Errand::Look, &script)? })
    }

    /// What they were, from what was printed. `None` when it is not whole.
    pub(crate) fn before(&self, loan: &Loan, printed: &[u8], directory: &Path) -> Option<Before> {
        let was = self.dialect.was(&loan.names(), printed)?;
        Some(Before { was, directory: loan.directory.as_ref().map(|_| directory.to_owned()) })
    }

    /// Gives the shell what a command is to have.
    pub(crate) fn lend(&mut self, loan: &Loan, before: &Before) -> io::Result<Asked> {
        let variables = loan.env.iter().zip(&before.was).map(|((name, value), was)| (&**name, &**value, was));
        let script = self.dialect.lend_script(variables, loan.directory.as_deref());
        self.send(Errand::Lend, &script)
    }

    /// Has the shell put back what it had before.
    pub(crate) fn reclaim(&mut self, before: &Before) -> io::Result<Asked> {
        let script = self.dialect.reclaim_script(before.was.iter(), before.directory.as_deref());
        self.send(Errand::Reclaim, &script)
    }

    fn send(&mut self, errand: Errand, script: &[u8]) -> io::Result<Asked> {
        let (done, over) = (self.next_tag(), self.next_tag());
        let last = self.dialect.all_done(done, self.directory.path());
        self.directory.write(errand.file(), &[script, last.as_bytes()].concat())?;
        self.say(&self.dialect.errand(errand, over, self.directory.path()))?;
        Ok(Asked { done, over, printed: None })
    }

    /// Removes a script that the shell has run: what is in it may be a secret, and takes memory of the sandbox's.
    pub(crate) fn errand_over(&mut self) {
        for errand in [Errand::Look, Errand::Lend, Errand::Reclaim] {
            self.directory.remove(errand.file());
        }
    }
}
