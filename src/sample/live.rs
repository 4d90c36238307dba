//! The catalogue as it is now: read at the start, and again whenever one of its files changes.

use super::{Catalogue, watch};
use crate::sync::lock;
use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// Mistakes that are logged at one time.
const MOST_LOGGED: usize = 100;

/// The catalogue of a server. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    current: Arc<Mutex<Arc<Catalogue>>>,
    /// Whoever watches ends with the last clone.
    _watcher: Option<Arc<watch::Watcher>>,
}

impl Samples {
    /// Reads the catalogue in these directories, and watches them from then on.
    pub fn open(directories: Vec<PathBuf>) -> Self {
        if directories.is_empty() {
            return Self::default();
        }
        let current = Arc::new(Mutex::new(Arc::<Catalogue>::default()));
        let known = Arc::clone(&current);
        let mut logged = HashSet::new();
        let watcher = watch::Watcher::start(directories, move |catalogue| {
            log(&catalogue, &mut logged);
            *lock(&known) = Arc::new(catalogue);
        });
        Self { current, _watcher: watcher.map(Arc::new) }
    }

    /// As it was read last.
    pub fn current(&self) -> Arc<Catalogue> {
        Arc::clone(&lock(&self.current))
    }
}

/// Tells mistakes that were not there before.
fn log(catalogue: &Catalogue, logged: &mut HashSet<super::Problem>) {
    let problems: HashSet<_> = catalogue.problems().iter().cloned().collect();
    let mut new: Vec<_> = problems.difference(logged).collect();
    new.sort();
    for problem in new.iter().take(MOST_LOGGED) {
        tracing::warn!("{problem}");
    }
    if let Some(more) = new.len().checked_sub(MOST_LOGGED).filter(|more| *more > 0) {
        tracing::warn!("and {more} more mistakes in samples; `sandshell sample check DIR` tells all of them");
    }
    let datasets = catalogue.datasets().len();
    let samples: usize = catalogue.datasets().map(|dataset| dataset.samples.len()).sum();
    tracing::info!(datasets, samples, problems = problems.len(), "read the catalogue");
    *logged = problems;
}
