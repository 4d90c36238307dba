//! `sandshell sample import`: other benchmarks' files become samples. What has no counterpart is told, and nothing is lost quietly.

mod draft;
mod folder;
pub(super) mod parquet;
mod patch;
mod record;
mod words;

use super::super::{error::CliError, table};
use crate::sample::Catalogue;
use draft::Draft;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Bytes of one record. One has a task and two patches.
const MOST_RECORD: u64 = 64 << 20;

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
    /// Import only this id; may be repeated
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Replace samples that are there
    #[arg(long)]
    overwrite: bool,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// What came of an import.
#[derive(Debug, Default)]
struct Outcome {
    imported: Vec<String>,
    /// What was not imported, with the reason.
    failed: Vec<(String, String)>,
    /// What has no counterpart, and in how many samples.
    notes: BTreeMap<String, usize>,
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
    let mut outcome = Outcome::default();
    if kind.is_dir() {
        folders(args, &mut outcome)?;
    } else {
        records(args, &mut outcome)?;
    }
    tell(args, &outcome)?;
    let is_good = outcome.failed.is_empty() && !outcome.imported.is_empty();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One folder, or each of those in it.
fn folders(args: &Args, outcome: &mut Outcome) -> Result<(), CliError> {
    let mut all = Vec::new();
    if folder::is_task(&args.source) {
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
    if all.is_empty() {
        return Err(CliError::option(format!(
            "{} has no task folder: one has task.toml and instruction.md, or task.yaml",
            args.source.display()
        )));
    }
    for path in all {
        let id = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        take(args, outcome, &id, || folder::draft(&path, args));
    }
    Ok(())
}

/// Each line, or each entry of the one array that the file is.
fn records(args: &Args, outcome: &mut Outcome) -> Result<(), CliError> {
    let failed = |source| CliError::io("read the source", source);
    let mut reader = BufReader::new(File::open(&args.source).map_err(failed)?);
    let first = reader.fill_buf().map_err(failed)?;
    if parquet::is_one(first) {
        rows(args, reader.into_inner(), outcome);
        return Ok(());
    }
    if first.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let all: Vec<Value> = serde_json::from_reader(reader.take(16 * MOST_RECORD))
            .map_err(|error| CliError::option(format!("{}: {error}", args.source.display())))?;
        for (number, record) in all.into_iter().enumerate() {
            one(args, outcome, &format!("entry {}", number + 1), Ok(record));
        }
        return Ok(());
    }
    for number in 1_u64.. {
        let mut line = Vec::new();
        reader.by_ref().take(MOST_RECORD + 1).read_until(b'\n', &mut line).map_err(failed)?;
        if line.is_empty() {
            break;
        }
        if line.len() as u64 > MOST_RECORD {
            return Err(CliError::option(format!("line {number} has more than {MOST_RECORD} bytes")));
        }
        if !line.trim_ascii().is_empty() {
            let record = serde_json::from_slice(&line).map_err(|error| format!("is not JSON: {error}"));
            one(args, outcome, &format!("line {number}"), record);
        }
    }
    Ok(())
}

/// Each row of a Parquet file. What keeps it from being read on is told beside what was imported before.
fn rows(args: &Args, file: File, outcome: &mut Outcome) {
    let mut number = 0_u64;
    let read = parquet::each_row(file, |record| {
        number += 1;
        one(args, outcome, &format!("row {number}"), Ok(record));
    });
    if let Err(why) = read {
        outcome.failed.push((args.source.display().to_string(), why));
    }
}

fn one(args: &Args, outcome: &mut Outcome, at: &str, record: Result<Value, String>) {
    let id = record.as_ref().ok().and_then(record::id).unwrap_or_else(|| at.to_owned());
    take(args, outcome, &id, || record.and_then(|record| record::draft(record, args)));
}

fn take(args: &Args, outcome: &mut Outcome, id: &str, draft: impl FnOnce() -> Result<Draft, String>) {
    if !args.only.is_empty() && !args.only.iter().any(|only| only == id) {
        return;
    }
    let written = draft().and_then(|draft| draft.write(&args.into, args.overwrite).map(|()| draft));
    match written {
        Ok(draft) => {
            outcome.imported.push(draft.id);
            for note in draft.notes {
                *outcome.notes.entry(note).or_default() += 1;
            }
        }
        Err(why) => outcome.failed.push((id.to_owned(), why)),
    }
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
        let all = json!({ "imported": outcome.imported, "failed": failed, "notes": notes, "problems": problems });
        return table::print(&format!("{all}\n"));
    }
    for (id, why) in &outcome.failed {
        eprintln!("{}", format!("not imported: {id}: {why}").escape_debug());
    }
    let mut text = format!("{} samples imported into {}\n", outcome.imported.len(), args.into.display());
    for (note, samples) in &outcome.notes {
        text += &format!("note, for {samples} of them: {note}\n");
    }
    for problem in problems {
        text += &format!("still to be mended: {problem}\n");
    }
    table::print(&text)
}
