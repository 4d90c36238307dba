//! `sandshell sample list` and `show`.

use super::{
    super::table::{self, Table},
    CliError, ListArgs, ShowArgs, named,
};
use crate::api::v1::{Dataset, GetSampleRequest, ListDatasetsRequest, ListSamplesRequest, Sample, codebase::Kind};
use serde_json::{Value, json};

/// Items that are asked for at one time.
const PAGE: i32 = 1000;

pub(super) fn list(args: &ListArgs) -> Result<(), CliError> {
    if args.datasets {
        return print_datasets(&datasets(args)?, args.json);
    }
    let samples = samples(args)?;
    if args.json {
        let all: Vec<Value> = samples.iter().map(as_json).collect();
        return table::print(&format!("{}\n", Value::from(all)));
    }
    let mut table = Table::new(["SAMPLE", "LANGUAGE", "TAGS", "TITLE"]);
    for sample in samples {
        let name = format!("{}/{}", sample.dataset, sample.sample_id);
        table.add([name, sample.language, sample.tags.join(","), sample.title].map(|word| plain(&word)));
    }
    table::print(&table.to_string())
}

fn datasets(args: &ListArgs) -> Result<Vec<Dataset>, CliError> {
    super::super::block_on(async {
        let mut client = args.remote.connect().await?.samples;
        let mut request = ListDatasetsRequest { page_size: PAGE, page_token: String::new() };
        let mut all = Vec::new();
        loop {
            let page = client.list_datasets(request.clone()).await?.into_inner();
            all.extend(page.datasets);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(all);
            }
        }
    })
}

fn samples(args: &ListArgs) -> Result<Vec<Sample>, CliError> {
    super::super::block_on(async {
        let mut client = args.remote.connect().await?.samples;
        let mut request = ListSamplesRequest {
            dataset: args.dataset.clone(),
            language: args.language.clone(),
            tags: args.tag.clone(),
            text: args.text.clone(),
            page_size: PAGE,
            page_token: String::new(),
        };
        let mut all = Vec::new();
        loop {
            let page = client.list_samples(request.clone()).await?.into_inner();
            all.extend(page.samples);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(all);
            }
        }
    })
}

fn print_datasets(datasets: &[Dataset], json: bool) -> Result<(), CliError> {
    if json {
        let all: Vec<Value> = datasets
            .iter()
            .map(|dataset| {
                json!({
                    "name": dataset.name,
                    "title": dataset.title,
                    "description": dataset.description,
                    "sample_count": dataset.sample_count,
                    "languages": dataset.languages,
                    "broken_count": dataset.broken_count,
                })
            })
            .collect();
        return table::print(&format!("{}\n", Value::from(all)));
    }
    let mut table = Table::new(["DATASET", "SAMPLES", "BROKEN", "LANGUAGES", "TITLE"]);
    for dataset in datasets {
        let mut languages: Vec<_> = dataset.languages.keys().filter(|name| !name.is_empty()).cloned().collect();
        languages.sort_unstable();
        let (samples, broken) = (dataset.sample_count.to_string(), dataset.broken_count.to_string());
        let row = [dataset.name.clone(), samples, broken, languages.join(","), dataset.title.clone()];
        table.add(row.map(|word| plain(&word)));
    }
    table::print(&table.to_string())
}

pub(super) fn show(args: &ShowArgs) -> Result<(), CliError> {
    let (dataset, sample_id) = named(&args.sample);
    let sample = super::super::block_on(async {
        let mut client = args.remote.connect().await?.samples;
        Ok(client.get_sample(GetSampleRequest { dataset, sample_id }).await?.into_inner())
    })?;
    if args.json {
        return table::print(&format!("{}\n", as_json(&sample)));
    }
    let codebase = sample.codebase.clone().unwrap_or_default();
    let codebase = match codebase.commit.as_str() {
        "" => kind(codebase.kind()).to_owned(),
        commit => format!("{} at {commit}", kind(codebase.kind())),
    };
    let timeout = sample.verification_timeout.map_or_else(String::new, |time| format!("{}s", time.seconds));
    let mut text = String::new();
    for (name, value) in [
        ("sample", format!("{}/{}", sample.dataset, sample.sample_id)),
        ("title", sample.title),
        ("language", sample.language),
        ("tags", sample.tags.join(", ")),
        ("image", sample.image),
        ("version", sample.version),
        ("code base", codebase),
        ("setup", sample.setup.join("; ")),
        ("verified within", timeout),
        ("protected", sample.protected_paths.join(", ")),
    ] {
        if !value.is_empty() {
            text += &format!("{name}: {}\n", plain(&value));
        }
    }
    table::print(&format!("{text}\n{}\n", printable(sample.description.trim_end())))
}

fn as_json(sample: &Sample) -> Value {
    let codebase = sample.codebase.clone().unwrap_or_default();
    json!({
        "dataset": sample.dataset,
        "sample_id": sample.sample_id,
        "title": sample.title,
        "language": sample.language,
        "tags": sample.tags,
        "image": sample.image,
        "version": sample.version,
        "description": sample.description,
        "codebase": { "kind": kind(codebase.kind()), "commit": codebase.commit },
        "setup": sample.setup,
        "verification_timeout_seconds": sample.verification_timeout.as_ref().map(|time| time.seconds),
        "protected_paths": sample.protected_paths,
        "fingerprint": sample.fingerprint,
    })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Git => "git",
        Kind::Directory => "directory",
        Kind::Archive => "archive",
        Kind::Unspecified => "unknown",
    }
}

/// One line that can be printed to a terminal.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Lines that can be printed to a terminal: a description comes from anywhere, and its control characters must not do anything.
fn printable(text: &str) -> String {
    let keeps = |c: &char| matches!(c, '\n' | '\t');
    text.chars().map(|c| if c.is_control() && !keeps(&c) { '\u{fffd}' } else { c }).collect()
}
