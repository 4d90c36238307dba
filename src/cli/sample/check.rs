//! `sandshell sample check`: the mistakes of all samples in a directory, and whether they can be told right from wrong.

use super::{
    super::{client::Prepared, table},
    CheckArgs, CliError,
    prove::{self, Proof},
};
use crate::sample::Catalogue;
use serde_json::{Value, json};
use std::process::ExitCode;

pub(super) fn check(args: &CheckArgs) -> Result<ExitCode, CliError> {
    let catalogue = Catalogue::load(&args.directories);
    let samples: usize = catalogue.datasets().map(|dataset| dataset.samples.len()).sum();
    let proofs = if args.prove && samples > 0 { Some(prove(args, &catalogue)?) } else { None };
    let is_proved = proofs.iter().flatten().all(Proof::is_good);
    if args.json {
        table::print(&format!("{}\n", as_json(&catalogue, proofs.as_deref())))?;
    } else {
        let lines = catalogue.problems().iter().map(|problem| format!("{problem}\n"));
        let mut text: String = lines.collect();
        if samples == 0 && text.is_empty() {
            text = "there are no samples: a sample is a directory with a sample.toml, and a dataset is a directory of samples\n".into();
        } else {
            text += &proofs.as_deref().map(prove::table).unwrap_or_default();
            let (datasets, problems) = (catalogue.datasets().len(), catalogue.problems().len());
            text += &format!("{samples} good samples in {datasets} datasets, {problems} mistakes\n");
        }
        table::print(&text)?;
    }
    let is_good = catalogue.problems().is_empty() && samples > 0 && is_proved;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// By a private server, which ends with this.
fn prove(args: &CheckArgs, catalogue: &Catalogue) -> Result<Vec<Proof>, CliError> {
    let kind = args.runtime.unwrap_or_default();
    let prepared = Prepared::with_samples(kind, &args.runtime_option, args.directories.clone())?;
    super::super::block_on(async {
        let client = prepared.connect().await?;
        let proofs = prove::prove(&client, catalogue).await;
        client.close().await?;
        proofs
    })
}

fn as_json(catalogue: &Catalogue, proofs: Option<&[Proof]>) -> Value {
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
    let proofs: Option<Vec<_>> = proofs.map(|proofs| proofs.iter().map(Proof::as_json).collect());
    json!({ "datasets": datasets, "problems": problems, "proofs": proofs })
}
