//! Images that the operator gives names: `--image NAME=SOURCE`, or the table `image` of the configuration file.

use super::launch::RuntimeKind;
use crate::image::{ImageNames, NamedImage};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What stands behind a name, in the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Source {
    /// `code-space = "host"`
    Plain(String),
    /// `code-space = { source = "host", description = "…" }`
    Described {
        source: String,
        #[serde(default)]
        description: String,
    },
}

/// Reads one flag.
pub(super) fn parse(text: &str) -> Result<(String, Source), String> {
    match text.split_once('=') {
        Some((name, source)) if !name.is_empty() && !source.is_empty() => {
            Ok((name.to_owned(), Source::Plain(source.to_owned())))
        }
        _ => Err("needs a name and what it stands for, as code-space=host or python=/srv/images/python".to_owned()),
    }
}

/// Those of the file and of the flags, which win.
pub(super) fn all(
    file: Option<BTreeMap<String, Source>>,
    flags: Vec<(String, Source)>,
    runtime: RuntimeKind,
    mistakes: &mut Vec<String>,
) -> BTreeMap<String, NamedImage> {
    let names = match runtime {
        RuntimeKind::Linux => ImageNames::Files,
        RuntimeKind::Docker => ImageNames::References,
    };
    let mut sources = file.unwrap_or_default();
    sources.extend(flags);
    let mut named = BTreeMap::new();
    for (name, source) in sources {
        let (source, description) = match &source {
            Source::Plain(source) => (source.as_str(), ""),
            Source::Described { source, description } => (source.as_str(), description.as_str()),
        };
        match NamedImage::new(&name, source, description, names) {
            Ok(image) => drop(named.insert(name, image)),
            Err(reason) => mistakes.push(format!("--image {name}={source}: {reason}")),
        }
    }
    named
}
