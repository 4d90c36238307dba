//! The patches that are to be verified, by the ids of their samples.

use super::CliError;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Bytes of a patch, which the server takes, and of a line with one.
const MOST_PATCH: u64 = 16 << 20;
const MOST_LINE: u64 = 64 << 20;

/// Names of fields, the usual one first.
const ID: [&str; 3] = ["instance_id", "sample_id", "id"];
const PATCH: [&str; 3] = ["model_patch", "patch", "prediction"];

/// Where a patch is.
#[derive(Debug)]
enum Place {
    File(PathBuf),
    Here(String),
}

/// All patches.
#[derive(Debug, Default)]
pub(super) struct Patches(BTreeMap<String, Place>);

impl Patches {
    /// Finds them. All mistakes are told at once.
    pub(super) fn read(source: &Path) -> Result<Self, CliError> {
        let failed = |error| CliError::option(format!("--patches {}: {error}", source.display()));
        let (mut this, mut mistakes) = (Self::default(), Vec::new());
        if fs::metadata(source).map_err(failed)?.is_dir() {
            for entry in fs::read_dir(source).map_err(failed)? {
                this.add_file(entry.map_err(failed)?.path(), &mut mistakes);
            }
        } else {
            let mut reader = BufReader::new(File::open(source).map_err(failed)?);
            for number in 1_u64.. {
                let mut line = Vec::new();
                reader.by_ref().take(MOST_LINE + 1).read_until(b'\n', &mut line).map_err(failed)?;
                if line.is_empty() {
                    break;
                }
                if line.len() as u64 > MOST_LINE {
                    mistakes.push(format!("{}:{number}: has more than {MOST_LINE} bytes", source.display()));
                    break;
                }
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let added = record(&line).and_then(|(id, patch)| this.add(id, Place::Here(patch)));
                mistakes.extend(added.err().map(|wrong| format!("{}:{number}: {wrong}", source.display())));
            }
        }
        if mistakes.is_empty() { Ok(this) } else { Err(CliError::Options(mistakes)) }
    }

    /// What has another ending is no patch.
    fn add_file(&mut self, path: PathBuf, mistakes: &mut Vec<String>) {
        let ending = path.extension().and_then(|ending| ending.to_str());
        if !matches!(ending, Some("patch" | "diff")) || !path.is_file() {
            return;
        }
        let shown = path.display().to_string();
        let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        mistakes.extend(self.add(id, Place::File(path)).err().map(|wrong| format!("{shown}: {wrong}")));
    }

    fn add(&mut self, id: String, place: Place) -> Result<(), String> {
        if self.0.contains_key(&id) {
            return Err(format!("there is another patch for {id}"));
        }
        self.0.insert(id, place);
        Ok(())
    }

    /// For which samples there are patches.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is one for a sample.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// The patch for a sample.
    pub(super) fn get(&self, id: &str) -> Result<Option<String>, CliError> {
        match self.0.get(id) {
            None => Ok(None),
            Some(Place::Here(patch)) => Ok(Some(patch.clone())),
            Some(Place::File(path)) => {
                let failed = |why: String| CliError::option(format!("{}: {why}", path.display()));
                let mut bytes = Vec::new();
                let file = File::open(path).map_err(|error| failed(error.to_string()))?;
                file.take(MOST_PATCH + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
                if bytes.len() as u64 > MOST_PATCH {
                    return Err(failed(format!("has more than {MOST_PATCH} bytes")));
                }
                String::from_utf8(bytes).map(Some).map_err(|_| failed("is not UTF-8".to_owned()))
            }
        }
    }
}

/// Which sample a line is about, and its patch. A model that gave none has null, which is a patch that changes nothing.
fn record(line: &[u8]) -> Result<(String, String), String> {
    let record: Value = serde_json::from_slice(line).map_err(|error| format!("is not JSON: {error}"))?;
    let field = |names: &[&str]| names.iter().find_map(|name| record.get(*name)).cloned();
    let Some(Value::String(id)) = field(&ID) else { return Err(format!("has no {}", ID.join(", "))) };
    match field(&PATCH) {
        Some(Value::String(patch)) if patch.len() as u64 > MOST_PATCH => {
            Err(format!("its patch has more than {MOST_PATCH} bytes"))
        }
        Some(Value::String(patch)) => Ok((id, patch)),
        Some(Value::Null) => Ok((id, String::new())),
        _ => Err(format!("has no {}", PATCH.join(", "))),
    }
}
