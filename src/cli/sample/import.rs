//! `sandshell sample import`: other benchmarks' files become samples. What has no counterpart is told, and nothing is lost quietly.

mod draft;
mod folder;
pub(super) mod parquet;
mod patch;
mod record;
mod words;

use super::super::{
    error::CliError,
    progress::Paced,
    records::{self, MOST_RECORD, Place},
    source_id, table,
};
use crate::sample::Catalogue;
use draft::Draft;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Options of `sample import`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON lines, a JSON array or a Parquet file of records, a task folder, or a directory of task folders
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// The dataset: a directory that is made if it is not there
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Image of the samples, where the source names none [default: host]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Command that runs the tests, where the source names none; {tests} stands for the test files
    /// [default: python3 -m pytest -rA -p no:cacheprovider {tests}]
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Form of the report of that command: junit, tap, cargo, nextest, pytest, go or exit_code [default: pytest]
    #[arg(long, value_name = "FORMAT")]
    report: Option<String>,
    /// Command that prepares the code base; may be repeated
    #[arg(long, value_name = "COMMAND")]
    setup: Vec<String>,
    /// Directory in the dataset with the repositories: OWNER__NAME.git
    #[arg(long, value_name = "NAME", default_value = "repositories")]
    repositories: String,
    /// Import only this id, as the source has it or as the sample is called; may be repeated
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Replace samples that are there, if they were made of the same id
    #[arg(long)]
    overwrite: bool,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// What came of an import.
struct Outcome {
    imported: Vec<String>,
    /// What the source calls otherwise than we do, with our id.
    renamed: Vec<(String, String)>,
    /// What was not imported, with the reason.
    failed: Vec<(String, String)>,
    /// What has no counterpart, and in how many samples.
    notes: BTreeMap<String, usize>,
    /// Records or folders that were looked at.
    seen: u64,
    progress: Paced,
}

/// Imports, says what came of it, and succeeds if nothing was left out.
pub(super) fn main(args: &Args) -> Result<ExitCode, CliError> {
    if let Some(report) = args.report.as_deref()
        && !(crate::sample::ReportFormat::from_name(report).is_some() && report != "command")
    {
        return Err(CliError::option(format!(
            "--report {report}: is none of junit, tap, cargo, nextest, pytest, go, exit_code"
        )));
    }
    let kind = fs::metadata(&args.source).map_err(|source| CliError::io("read the source", source))?;
    fs::create_dir_all(&args.into).map_err(|source| CliError::io("make the dataset", source))?;
    let mut outcome = Outcome {
        imported: Vec::new(),
        renamed: Vec::new(),
        failed: Vec::new(),
        notes: BTreeMap::new(),
        seen: 0,
        progress: Paced::new(),
    };
    if kind.is_dir() {
        folders(args, &mut outcome)?;
    } else {
        records(args, &mut outcome)?;
    }
    outcome.progress.clear();
    tell(args, &outcome)?;
    let is_good = outcome.failed.is_empty() && !outcome.imported.is_empty();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One folder, or each of those in it.
fn folders(args: &Args, outcome: &mut Outcome) -> Result<(), CliError> {
    let mut all = Vec::new();
    if folder::is_whole(&args.source) {
        all.push(args.source.clone());
    } else {
        let failed = |source| CliError::io("read the source", source);
        for entry in fs::read_dir(&args.source).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if folder::is_task(&path) {
                all.push(path);
            }
        }
        all.sort();
    }
    // It is one itself, and something is missing in it.
    if all.is_empty() && folder::is_task(&args.source) {
        all.push(args.source.clone());
    }
    if all.is_empty() {
        return Err(CliError::option(format!(
            "{} has no task folder: one has task.toml and instruction.md, or task.yaml",
            args.source.display()
        )));
    }
    for path in all {
        let id = folder::id(&path);
        take(args, outcome, &id, Some(&id), || folder::draft(&path, args));
    }
    Ok(())
}

/// Each record of a file in one of its forms.
fn records(args: &Args, outcome: &mut Outcome) -> Result<(), CliError> {
    let failed = |source| CliError::io("read the source", source);
    let mut reader = BufReader::new(File::open(&args.source).map_err(failed)?);
    if parquet::is_one(reader.fill_buf().map_err(failed)?) {
        rows(args, reader.into_inner(), outcome);
    } else {
        records::each(&args.source, reader, |place, record| one(args, outcome, place, record))?;
    }
    if outcome.seen == 0 && outcome.failed.is_empty() {
        return Err(CliError::option(format!("{} has no record", args.source.display())));
    }
    Ok(())
}

/// Each row of a Parquet file. What keeps it from being read on is told beside what was imported before.
fn rows(args: &Args, file: File, outcome: &mut Outcome) {
    let mut number = 0_u64;
    let read = parquet::each_row(file, |record| {
        number += 1;
        one(args, outcome, Place::Row(number), Ok(record));
    });
    if let Err(why) = read {
        outcome.failed.push((args.source.display().to_string(), why));
    }
}

fn one(args: &Args, outcome: &mut Outcome, at: Place, record: Result<Value, String>) {
    let record = record.and_then(|record| match record {
        Value::Object(record) => Ok(record),
        other => Err(format!("is {}, and must be a JSON object", source_id::kind(&other))),
    });
    let id = record.as_ref().ok().and_then(|record| source_id::of(record).ok());
    // What makes no id of ours may be hard to find by what it is.
    let label = id.clone().filter(|id| source_id::ours(id).is_some()).unwrap_or_else(|| at.to_string());
    take(args, outcome, &label, id.as_deref(), || record.and_then(|record| record::draft(record, args)));
}

/// Imports one, unless others are wanted. `label` is how people find it in the source.
fn take(
    args: &Args,
    outcome: &mut Outcome,
    label: &str,
    source_id: Option<&str>,
    draft: impl FnOnce() -> Result<Draft, String>,
) {
    outcome.seen += 1;
    let is_wanted = |only: &String| {
        only == label || source_id.is_some_and(|id| only == id || source_id::ours(id).as_ref() == Some(only))
    };
    if args.only.is_empty() || args.only.iter().any(is_wanted) {
        match draft().and_then(|draft| draft.write(&args.into, args.overwrite).map(|()| draft)) {
            Ok(draft) => {
                if draft.source_id != draft.id {
                    outcome.renamed.push((draft.source_id, draft.id.clone()));
                }
                outcome.imported.push(draft.id);
                for note in draft.notes {
                    *outcome.notes.entry(note).or_default() += 1;
                }
            }
            Err(why) => outcome.failed.push((label.to_owned(), why)),
        }
    }
    let (seen, imported) = (outcome.seen, outcome.imported.len());
    outcome.progress.show(|| format!("{seen} read, {imported} imported"));
}

/// The mistakes of what was imported are told too: a repository that is not there yet is one.
fn tell(args: &Args, outcome: &Outcome) -> Result<(), CliError> {
    let catalogue = Catalogue::load(&[&args.into]);
    let top = args.into.canonicalize().unwrap_or_else(|_| args.into.clone());
    let imported: Vec<PathBuf> = outcome.imported.iter().map(|id| top.join(id)).collect();
    let is_ours = |file: &Path| imported.iter().any(|directory| file.starts_with(directory));
    let problems: Vec<_> = catalogue.problems().iter().filter(|problem| is_ours(&problem.file)).collect();
    if args.json {
        let failed: Vec<Value> = outcome.failed.iter().map(|(id, why)| json!({ "id": id, "error": why })).collect();
        let notes: Vec<Value> =
            outcome.notes.iter().map(|(note, samples)| json!({ "note": note, "samples": samples })).collect();
        let problems: Vec<Value> = problems
            .iter()
            .map(|problem| json!({ "file": problem.file, "line": problem.line, "message": problem.message }))
            .collect();
        let renamed: Vec<Value> =
            outcome.renamed.iter().map(|(from, id)| json!({ "source_id": from, "id": id })).collect();
        let all = json!({
            "imported": outcome.imported, "renamed": renamed, "failed": failed, "notes": notes, "problems": problems,
        });
        return table::print(&format!("{all}\n"));
    }
    for (id, why) in &outcome.failed {
        eprintln!("not imported: {}: {}", source_id::shown(id), why.escape_debug());
    }
    let mut text = format!("{} samples imported into {}\n", outcome.imported.len(), args.into.display());
    for (from, id) in &outcome.renamed {
        text += &format!("renamed: {} is imported as {id}\n", source_id::shown(from));
    }
    for (note, samples) in &outcome.notes {
        text += &format!("note, for {samples} of them: {note}\n");
    }
    for problem in problems {
        text += &format!("still to be mended: {problem}\n");
    }
    table::print(&text)
}
