//! What a shell saves, so that the next one gets it back.
//!
//! ```text
//! shell ── sections of listings, ended by NUL ──▶ Reader ──▶ Saved: items ──▶ script of pieces ──▶ next shell
//!          (EXIT trap, or while it is idle)        cuts and bounds              each evaluated alone
//! ```
//! Anybody inside can write to the pipe, and a shell may hold more than there is room for. So what is kept has a bound; what
//! does not fit costs only itself, and is told by name.

mod bodies;
mod keeper;
mod not_restored;
mod reader;
mod statements;

pub(crate) use keeper::Keeper;
pub(crate) use not_restored::NotRestored;

use crate::agent::output::Charge;
use std::{path::PathBuf, sync::Arc};

/// State that is kept of a shell, in bytes.
pub(super) const MOST_SAVED: usize = 4 << 20;

/// What an ended shell left for the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Where it was.
    pub(crate) directory: PathBuf,
    pub(super) items: Vec<Item>,
    /// Whether functions may be cut in the wrong places. All of them together are what was listed.
    pub(super) functions_doubtful: bool,
    /// What was not kept.
    pub(super) lost: NotRestored,
    /// What is charged for it.
    pub(super) charge: Charged,
}

/// What is charged for a state, until its last copy is dropped. It is no part of the state itself.
#[derive(Clone)]
pub(super) struct Charged(#[expect(dead_code, reason = "holds what is charged until it is dropped")] Arc<Charge>);

impl PartialEq for Charged {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Charged {}

impl std::fmt::Debug for Charged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Charged")
    }
}

/// One thing that a shell has saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: Kind,
    /// As the shell lists it.
    pub(super) text: Vec<u8>,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A variable that programs see, with its value and attributes.
    Exported,
    /// That a variable may not be changed, with its value.
    Readonly,
    /// Any other variable.
    Variable,
    /// A function.
    Function,
    /// Attributes of a function.
    Attributes,
    /// An alias.
    Alias,
    /// An option of the shell.
    Option,
    /// What is done on a signal.
    Trap,
    /// The file mode creation mask.
    Umask,
    /// Which shell zsh takes itself for.
    Emulation,
    /// A positional parameter.
    Parameter,
}

/// A thing in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// All of it.
    Whole(Vec<u8>),
    /// Its beginning: it is longer than what may be kept.
    TooLong(Vec<u8>),
}

impl Item {
    /// What it counts of what may be kept.
    fn cost(&self) -> usize {
        self.text.len() + size_of::<Self>()
    }
}
