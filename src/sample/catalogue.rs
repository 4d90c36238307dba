//! All samples of the directories that an operator has named, as they were at one moment.

use super::{
    PageToken, Sample,
    document::{self, Mistakes},
    places,
    problem::Problem,
    read::{self, Place, SAMPLE},
};
use crate::error::{Error, Kind, Result};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file that a dataset may have.
const DATASET: &str = "dataset.toml";

const MOST_TOML: u64 = 64 << 10;

/// Entries of a directory that are looked at, so that a directory of something else is not searched for a long time.
const MOST_ENTRIES: usize = 100_000;

/// A set of samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// What it is called.
    pub name: String,
    /// One line.
    pub title: String,
    /// A few lines; may be empty.
    pub description: String,
    /// Where it is.
    pub directory: PathBuf,
    /// By id.
    pub samples: BTreeMap<String, Arc<Sample>>,
    /// How many more there are that have mistakes.
    pub broken: usize,
}

/// All datasets, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    datasets: BTreeMap<String, Dataset>,
    problems: Vec<Problem>,
}

/// Which samples are wanted. What is empty is not looked at.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The name of a dataset.
    pub dataset: String,
    /// A programming language, in any case.
    pub language: String,
    /// All of these.
    pub tags: Vec<String>,
    /// Part of the id, the title or the description, in any case.
    pub text: String,
}

/// A page of samples.
#[derive(Debug)]
pub struct Listing {
    /// By dataset and id.
    pub samples: Vec<Arc<Sample>>,
    /// Whether there are more behind it.
    pub more: bool,
    /// How many match in all.
    pub total: usize,
}

impl Catalogue {
    /// Reads it. Each directory is a dataset, or has datasets in it.
    pub fn load<P: AsRef<Path>>(directories: &[P]) -> Self {
        let mut this = Self::default();
        for named in directories {
            let named = named.as_ref();
            match named.canonicalize() {
                Ok(directory) => this.add(&directory),
                Err(error) => this.problems.push(Problem::of(named, error.to_string())),
            }
        }
        this.problems.sort();
        this.problems.dedup();
        this
    }

    /// By name.
    pub fn datasets(&self) -> impl ExactSizeIterator<Item = &Dataset> {
        self.datasets.values()
    }

    /// One of them.
    pub fn dataset(&self, name: &str) -> Result<&Dataset> {
        self.datasets.get(name).ok_or_else(|| Error::not_found(Kind::Dataset, name))
    }

    /// All mistakes, by file and line.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// A sample of a dataset; of any if `dataset` is empty and only one has this id.
    pub fn sample(&self, dataset: &str, id: &str) -> Option<Arc<Sample>> {
        self.find(dataset, id).ok()
    }

    /// The same, with what a client is told when there is none.
    pub fn find(&self, dataset: &str, id: &str) -> Result<Arc<Sample>> {
        if !dataset.is_empty() {
            let sample = self.dataset(dataset)?.samples.get(id).cloned();
            return sample.ok_or_else(|| Error::not_found(Kind::Sample, format!("{dataset}/{id}")));
        }
        let mut found = self.datasets.values().filter_map(|dataset| dataset.samples.get(id));
        match (found.next(), found.next()) {
            (Some(sample), None) => Ok(Arc::clone(sample)),
            (Some(first), Some(second)) => {
                let message = format!(
                    "is required here: {id:?} is in more than one dataset, in {:?} and in {:?}",
                    first.dataset, second.dataset
                );
                Err(Error::invalid("dataset", message))
            }
            (None, _) => Err(Error::not_found(Kind::Sample, id)),
        }
    }

    /// Samples that match, at most so many, behind the last of the page before.
    pub fn list(&self, filter: &Filter, most: usize, after: Option<&PageToken>) -> Listing {
        let (mut samples, mut more, mut total) = (Vec::new(), false, 0);
        let text = filter.text.to_lowercase();
        for sample in self.datasets.values().flat_map(|dataset| dataset.samples.values()) {
            if !filter.wants(sample, &text) {
                continue;
            }
            total += 1;
            if after.is_some_and(|after| (&sample.dataset, &sample.id) <= (&after.dataset, &after.id)) {
                continue;
            }
            if samples.len() < most { samples.push(Arc::clone(sample)) } else { more = true }
        }
        Listing { samples, more, total }
    }

    /// A directory that is a dataset, or has datasets in it.
    fn add(&mut self, directory: &Path) {
        if is_dataset(directory) {
            return self.add_dataset(directory, directory);
        }
        match subdirectories(directory) {
            Ok(below) => {
                for dataset in below.iter().filter(|below| is_dataset(below)) {
                    self.add_dataset(dataset, directory);
                }
            }
            Err(error) => self.problems.push(Problem::of(directory, error.to_string())),
        }
    }

    fn add_dataset(&mut self, directory: &Path, catalogue: &Path) {
        let Some(mut dataset) = self.describe(directory) else { return };
        let folders = match subdirectories(directory) {
            Ok(folders) => folders,
            Err(error) => return self.problems.push(Problem::of(directory, error.to_string())),
        };
        for folder in folders.iter().filter(|folder| folder.join(SAMPLE).symlink_metadata().is_ok()) {
            match read::sample(&Place { dataset: &dataset.name, directory: folder, catalogue }) {
                Ok((sample, line)) => match dataset.samples.entry(sample.id.clone()) {
                    Entry::Vacant(free) => drop(free.insert(Arc::new(sample))),
                    Entry::Occupied(had) => {
                        let other = had.get().directory.display();
                        let message = format!("id: {:?} is the id of {other} already", sample.id);
                        self.problems.push(Problem { file: folder.join(SAMPLE), line, message });
                        dataset.broken += 1;
                    }
                },
                Err(problems) => {
                    self.problems.extend(problems);
                    dataset.broken += 1;
                }
            }
        }
        match self.datasets.entry(dataset.name.clone()) {
            Entry::Vacant(free) => drop(free.insert(dataset)),
            Entry::Occupied(had) => {
                let other = had.get().directory.display();
                let message = format!("this dataset is called {:?}, as {other} already is", dataset.name);
                self.problems.push(Problem::of(directory, message));
            }
        }
    }

    /// What is said of a dataset as a whole. Mistakes there do not hide its samples, but without a name it cannot be used.
    fn describe(&mut self, directory: &Path) -> Option<Dataset> {
        let folder = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut dataset = Dataset {
            title: String::new(),
            name: folder,
            description: String::new(),
            directory: directory.to_owned(),
            samples: BTreeMap::new(),
            broken: 0,
        };
        let file = directory.join(DATASET);
        if file.symlink_metadata().is_ok() {
            match places::text(&file, MOST_TOML) {
                Ok(text) => {
                    let (section, mut mistakes) = document::read(&file, &text);
                    if let Some(section) = section {
                        about(&mut dataset, section, &mut mistakes);
                    }
                    self.problems.extend(mistakes.finish());
                }
                Err(wrong) => self.problems.push(Problem::of(&file, wrong)),
            }
        }
        if let Err(wrong) = read::is_name(&dataset.name) {
            let message = format!("the name {:?} {wrong}; {DATASET} can give the dataset another name", dataset.name);
            self.problems.push(Problem::of(directory, message));
            return None;
        }
        if dataset.title.is_empty() {
            dataset.title.clone_from(&dataset.name);
        }
        Some(dataset)
    }
}

fn about(dataset: &mut Dataset, mut section: document::Section<'_>, mistakes: &mut Mistakes<'_>) {
    if let Some(name) = section.take::<String>("name", mistakes) {
        match read::is_name(&name.value) {
            Ok(()) => dataset.name = name.value,
            Err(wrong) => mistakes.add(name.at, format!("name: {:?} {wrong}", name.value)),
        }
    }
    for (key, value) in [("title", &mut dataset.title), ("description", &mut dataset.description)] {
        if let Some(text) = section.take::<String>(key, mistakes) {
            *value = text.value;
        }
    }
    section.finish(&["name", "title", "description"], mistakes);
}

/// It says so, or there is a sample in it.
fn is_dataset(directory: &Path) -> bool {
    directory.join(DATASET).symlink_metadata().is_ok()
        || subdirectories(directory)
            .is_ok_and(|below| below.iter().any(|folder| folder.join(SAMPLE).symlink_metadata().is_ok()))
}

/// In the order of their names, without hidden ones.
fn subdirectories(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for (number, entry) in fs::read_dir(directory)?.enumerate() {
        if number >= MOST_ENTRIES {
            return Err(io::Error::other(format!("has more than {MOST_ENTRIES} entries")));
        }
        let entry = entry?;
        if entry.file_type()?.is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

impl Filter {
    /// `text` is that of the filter in small letters.
    fn wants(&self, sample: &Sample, text: &str) -> bool {
        let has = |part: &str| part.to_lowercase().contains(text);
        (self.dataset.is_empty() || self.dataset == sample.dataset)
            && (self.language.is_empty() || self.language.eq_ignore_ascii_case(&sample.language))
            && self.tags.iter().all(|tag| sample.tags.contains(tag))
            && (text.is_empty() || has(&sample.id) || has(&sample.title) || has(&sample.description))
    }
}
