//! The patches that are to be verified, by the ids of their samples.

use super::{
    super::{records, source_id},
    CliError,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// Bytes of a patch, which the server takes.
const MOST_PATCH: u64 = 16 << 20;

/// Names of fields, the usual one first.
const PATCH: [&str; 3] = ["model_patch", "patch", "prediction"];

/// Where a patch is.
#[derive(Debug)]
enum Place {
    File(PathBuf),
    Here(String),
}

/// All patches, by the ids that they are given with until `settle` has found their samples.
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
            records::each(source, File::open(source).map_err(failed)?, |at, given| {
                let added = given.and_then(record).and_then(|(id, patch)| this.add(id, Place::Here(patch)));
                mistakes.extend(added.err().map(|wrong| format!("{}: {at}: {wrong}", source.display())));
            })?;
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
            return Err(format!("there is another patch for {}", source_id::shown(&id)));
        }
        self.0.insert(id, place);
        Ok(())
    }

    /// Finds the sample of each patch: the one of its id, or else the one that an import has made of this id, if that makes no folder's name. What
    /// it gives back are the ids for which there is no sample, in order.
    pub(super) fn settle(&mut self, is_sample: impl Fn(&str) -> bool) -> Result<Settled, CliError> {
        let (known, others) = std::mem::take(&mut self.0).into_iter().partition(|(id, _)| is_sample(id));
        self.0 = known;
        let (mut settled, mut taken, mut mistakes) =
            (Settled::default(), BTreeMap::<String, String>::new(), Vec::new());
        let others: BTreeMap<_, _> = others;
        for (id, place) in others {
            match source_id::ours(&id).filter(|ours| is_sample(ours)) {
                // Two predictions for one sample: nobody knows which one is meant.
                Some(ours) if taken.contains_key(&ours) => {
                    let [one, other] = [&taken[&ours], &id].map(|id| source_id::shown(id));
                    mistakes.push(format!("{one} and {other}: both would be for the sample {ours}"));
                }
                Some(ours) if !self.has(&ours) => {
                    self.0.insert(ours.clone(), place);
                    taken.insert(ours, id);
                }
                _ => settled.without_sample.push(id),
            }
        }
        settled.renamed = taken.into_iter().map(|(ours, id)| (id, ours)).collect();
        if mistakes.is_empty() { Ok(settled) } else { Err(CliError::Options(mistakes)) }
    }

    /// Whether there is none at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
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

/// What became of patches that are given for no sample's id.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Settled {
    /// Ids that no sample has, in order.
    pub(super) without_sample: Vec<String>,
    /// Ids that an import has changed, each with that of the sample.
    pub(super) renamed: Vec<(String, String)>,
}

/// Which sample a record is about, and its patch. A model that gave none has null, which is a patch that changes nothing.
fn record(record: Value) -> Result<(String, String), String> {
    let Value::Object(mut record) = record else {
        return Err(format!("is {}, and must be a JSON object", source_id::kind(&record)));
    };
    let id = source_id::of(&record)?;
    let Some((name, patch)) = PATCH.iter().find_map(|name| Some((name, record.remove(*name)?))) else {
        return Err("has no model_patch, patch or prediction".to_owned());
    };
    match patch {
        Value::String(patch) if patch.len() as u64 > MOST_PATCH => {
            Err(format!("its {name} has more than {MOST_PATCH} bytes"))
        }
        Value::String(patch) => Ok((id, patch)),
        Value::Null => Ok((id, String::new())),
        other => Err(format!("its {name} is {}, and must be text or null", source_id::kind(&other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given(ids: &[&str]) -> Patches {
        Patches(ids.iter().map(|id| ((*id).to_owned(), Place::Here((*id).to_owned()))).collect())
    }

    #[test]
    fn a_patch_is_for_the_sample_that_an_import_makes_of_its_id() {
        let is_sample = |id: &str| ["x-y-2", "plain"].contains(&id);
        let mut patches = given(&["x/y-2", "plain", "stranger", "é"]);
        let settled = patches.settle(is_sample).unwrap();
        assert_eq!(settled.without_sample, ["stranger", "é"]);
        assert_eq!(settled.renamed, [("x/y-2".to_owned(), "x-y-2".to_owned())]);
        assert_eq!(patches.get("x-y-2").unwrap().as_deref(), Some("x/y-2"));
        // The sample's own id is nearer, and of two others nobody knows which is meant.
        let mut patches = given(&["x/y-2", "x-y-2"]);
        assert_eq!(patches.settle(is_sample).unwrap().without_sample, ["x/y-2"]);
        assert_eq!(patches.get("x-y-2").unwrap().as_deref(), Some("x-y-2"));
        let both = given(&["x/y-2", "x y-2"]).settle(is_sample).unwrap_err().to_string();
        assert_eq!(both, "x y-2 and x/y-2: both would be for the sample x-y-2");
    }

    #[test]
    fn what_is_wrong_with_a_prediction_is_said() {
        for (value, wrong) in [
            (json!(5), "is a number, and must be a JSON object"),
            (json!({ "model_patch": "" }), "has no instance_id, sample_id or id"),
            (json!({ "id": "a" }), "has no model_patch, patch or prediction"),
            (json!({ "id": "a", "model_patch": 5 }), "its model_patch is a number, and must be text or null"),
        ] {
            assert_eq!(record(value).unwrap_err(), wrong);
        }
        assert_eq!(record(json!({ "id": 7, "model_patch": null })), Ok(("7".to_owned(), String::new())));
    }
}
