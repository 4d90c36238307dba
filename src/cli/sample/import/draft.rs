//! A sample that is about to be written: all of it or nothing.

use super::words::{string, strings};
use std::{
    fmt::Write,
    fs, io,
    os::unix::fs::symlink,
    path::{Component, Path, PathBuf},
};

/// What a dataset has beside its samples.
const NO_IDS: [&str; 2] = ["dataset.toml", "sample.toml"];

/// Files and directories of a tree that is copied.
const MOST_COPIED: usize = 100_000;

/// What goes into a sample's directory.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) id: String,
    /// Lines of `sample.toml`.
    pub(super) toml: String,
    /// Small files, by their paths in the directory.
    pub(super) files: Vec<(&'static str, String)>,
    /// Trees that are copied: from where, to where, and which entries of the first level are left out.
    pub(super) trees: Vec<(PathBuf, &'static str, Vec<String>)>,
    /// What has no counterpart.
    pub(super) notes: Vec<String>,
}

impl Draft {
    /// A line with a text. One that is empty is left out.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(self.toml, "{key} = {}", string(value));
        }
    }

    /// A line with texts.
    pub(super) fn texts(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            let _ = writeln!(self.toml, "{key} = {}", strings(values));
        }
    }

    /// A line as it stands.
    pub(super) fn line(&mut self, line: &str) {
        self.toml += line;
        self.toml.push('\n');
    }

    /// Something without a counterpart.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Writes it beside its place, and moves it there when it is whole.
    pub(super) fn write(&self, dataset: &Path, overwrite: bool) -> Result<(), String> {
        let target = dataset.join(&self.id);
        let is_there = target.symlink_metadata().is_ok();
        // The id is a stranger's, and nothing else may be replaced because it is called like that.
        if NO_IDS.contains(&self.id.as_str()) || (is_there && !target.join("sample.toml").is_file()) {
            return Err("is the name of something in the dataset that is no sample".to_owned());
        }
        if is_there && !overwrite {
            return Err("is there already; --overwrite replaces it".to_owned());
        }
        let partial = dataset.join(format!(".{}.{}.partial", self.id, std::process::id()));
        let written = self.fill(&partial).and_then(|()| {
            if is_there {
                fs::remove_dir_all(&target)?;
            }
            fs::rename(&partial, &target)
        });
        written.map_err(|error| {
            // What is left has a hidden name and is no sample.
            let _ = fs::remove_dir_all(&partial);
            format!("cannot be written: {error}")
        })
    }

    fn fill(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir(directory)?;
        for (from, to, without) in &self.trees {
            let to = directory.join(to);
            fs::create_dir_all(&to)?;
            copy(from, &to, without, &mut 0)?;
        }
        for (name, content) in &self.files {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap_or(directory))?;
            fs::write(path, content)?;
        }
        fs::write(directory.join("sample.toml"), &self.toml)
    }
}

/// Copies what is in a directory. Links are copied as links, but those that lead out of the tree are refused: whoever made the task is a
/// stranger, and it is not for the tree to say which of our files others see.
fn copy(from: &Path, to: &Path, without: &[String], copied: &mut usize) -> io::Result<()> {
    let mut waiting = vec![(from.to_owned(), to.to_owned(), 0_usize)];
    while let Some((from, to, depth)) = waiting.pop() {
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            if depth == 0 && without.iter().any(|name| entry.file_name() == name.as_str()) {
                continue;
            }
            *copied += 1;
            if *copied > MOST_COPIED {
                return Err(io::Error::other(format!("more than {MOST_COPIED} files")));
            }
            let (path, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
            if kind.is_dir() {
                fs::create_dir(&target)?;
                waiting.push((path, target, depth + 1));
            } else if kind.is_file() {
                fs::copy(&path, &target)?;
            } else if kind.is_symlink() {
                let link = fs::read_link(&path)?;
                if !stays(&link, depth) {
                    return Err(io::Error::other(format!("{} is a link that leads out of the task", path.display())));
                }
                symlink(link, target)?;
            } else {
                return Err(io::Error::other(format!("{} is neither a file nor a directory", path.display())));
            }
        }
    }
    Ok(())
}

/// Whether a link in a directory at this depth stays in the tree. Steps upwards come first: behind a name, which may be a link itself,
/// nobody knows where they lead.
fn stays(link: &Path, depth: usize) -> bool {
    let (mut up, mut named) = (0, false);
    link.components().all(|part| match part {
        Component::ParentDir => {
            up += 1;
            !named && up <= depth
        }
        Component::Normal(_) => {
            named = true;
            true
        }
        Component::CurDir => true,
        Component::RootDir | Component::Prefix(_) => false,
    })
}

/// An id of ours that is as near as possible to that of others.
pub(super) fn id(text: &str) -> Option<String> {
    let fits = |c: char| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' };
    let id: String = text.trim().chars().map(fits).take(200).collect();
    let id = id.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_tree() {
        for (link, depth, stay) in
            [("a", 0, true), ("../a", 1, true), ("../a", 0, false), ("/etc", 3, false), ("a/../b", 1, false)]
        {
            assert_eq!(stays(Path::new(link), depth), stay, "{link}");
        }
    }

    #[test]
    fn ids_are_made_to_fit() {
        assert_eq!(id("owner/name#5").as_deref(), Some("owner-name-5"));
        assert_eq!(id("../../x").as_deref(), Some("x"));
        assert_eq!(id(" / "), None);
    }
}
