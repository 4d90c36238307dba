//! `sandshell sample check`: the mistakes of all samples in a directory.

use super::{super::table, CheckArgs, CliError};
use crate::sample::Catalogue;
use serde_json::{Value, json};
use std::process::ExitCode;

pub(super) fn check(args: &CheckArgs) -> Result<ExitCode, CliError> {
    let catalogue = Catalogue::load(&args.directories);
    let samples: usize = catalogue.datasets().map(|dataset| dataset.samples.len()).sum();
    let is_good = catalogue.problems().is_empty() && samples > 0;
    if args.json {
        table::print(&format!("{}\n", as_json(&catalogue)))?;
    } else {
        let lines = catalogue.problems().iter().map(|problem| format!("{problem}\n"));
        let mut text: String = lines.collect();
        if samples == 0 && text.is_empty() {
            text = "there are no samples: a sample is a directory with a sample.toml, and a dataset is a directory of samples\n".into();
        } else {
            let (datasets, problems) = (catalogue.datasets().len(), catalogue.problems().len());
            text += &format!("{samples} good samples in {datasets} datasets, {problems} mistakes\n");
        }
        table::print(&text)?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(catalogue: &Catalogue) -> Value {
    let datasets: Vec<Value> = catalogue
        .datasets()
        .map(|dataset| {
            let samples: Vec<_> = dataset.samples.keys().collect();
            json!({ "name": dataset.name, "directory": dataset.directory, "samples": samples, "broken": dataset.broken })
        })
        .collect();
    let problems: Vec<Value> = catalogue
        .problems()
        .iter()
        .map(|problem| json!({ "file": problem.file, "line": problem.line, "message": problem.message }))
        .collect();
    json!({ "datasets": datasets, "problems": problems })
}
