//! A sample that is about to be written: all of it or nothing.

use super::{
    super::super::source_id::shown,
    words::{string, strings},
};
use std::{
    fmt::Write,
    fs, io,
    os::unix::fs::symlink,
    path::{Component, Path, PathBuf},
};

/// What a dataset has beside its samples.
const NO_IDS: [&str; 2] = ["dataset.toml", "sample.toml"];

/// Bytes of a `sample.toml` that is read for whose it is: as many as one may have.
const MOST_TOML: u64 = 1 << 20;

/// Files and directories of a tree that is copied.
const MOST_COPIED: usize = 100_000;

/// What goes into a sample's directory.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) id: String,
    /// What it is called where it is from.
    pub(super) source_id: String,
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
        if is_there {
            // Two ids of others may become the same one of ours.
            let other = made_of(&target)?;
            if other != self.source_id {
                return Err(format!(
                    "would be imported as {}, where the sample made of {:?} is already: neither is the other one, and nothing is replaced",
                    self.id,
                    shown(&other)
                ));
            }
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

/// What the sample in this directory was called where it is from. One that does not say so has always been called as it is now.
fn made_of(directory: &Path) -> Result<String, String> {
    let path = directory.join("sample.toml");
    let unknown = |why: String| {
        format!("what is there already was made of another id or not, nobody knows: {}: {why}", path.display())
    };
    let about = fs::metadata(&path).map_err(|error| unknown(error.to_string()))?;
    if about.len() > MOST_TOML {
        return Err(unknown(format!("has more than {MOST_TOML} bytes")));
    }
    let text = fs::read_to_string(&path).map_err(|error| unknown(error.to_string()))?;
    let toml: toml::Table = text.parse().map_err(|error: toml::de::Error| unknown(mistake(&text, &error)))?;
    let from = toml.get("source").and_then(|source| source.get("id")).and_then(toml::Value::as_str);
    let folder = || directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(from.map_or_else(folder, str::to_owned))
}

/// Where a text is no TOML, and why, in one line.
pub(super) fn mistake(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = &text[..text.floor_char_boundary(at)];
    let (line, column) =
        (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    format!("line {line}, column {column}: {}", error.message().trim_end().replace('\n', ", "))
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
    fn a_mistake_is_one_line_with_its_place() {
        let text = "a = 1\n[é\nb = ";
        let error = text.parse::<toml::Table>().unwrap_err();
        let told = mistake(text, &error);
        assert!(told.starts_with("line 2, column 3: ") && !told.contains('\n'), "{told}");
    }
}
