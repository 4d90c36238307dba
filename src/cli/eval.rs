//! `sandshell eval`: the patches for a dataset, verified, with a report that can be sent to others.

mod follow;
mod html;
mod markdown;
mod patches;
mod results;
mod run;
mod score;

pub(super) use follow::carry_out;

use super::{
    client::{Client, Remote},
    error::CliError,
    follow::Signals,
    log::{self, LogFormat},
    source_id, table,
};
use crate::api::v1::{ListSamplesRequest, Sample};
use patches::{Patches, Settled};
use results::{Results, Row};
use score::Score;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::ExitCode,
};

/// Samples that are asked for at one time.
const PAGE: i32 = 1000;

const AFTER_HELP: &str = "\
Results are written to results.jsonl while they come, a line for each sample, and report.html and report.md at the end. What is stopped, in whichever way,
goes on with --resume: samples whose patch and files are as they were are not verified again. The exit code is 0 when all patches were
verified, whatever came of that, 1 when some could not be or are for no sample of the dataset, 130 after ^C, and 125 when the evaluation
could not begin. With --only, patches for other samples are not looked at.";

/// Ids in a message on standard error.
const MOST_TOLD: usize = 20;

/// Options of `eval`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// A dataset of the server
    #[arg(value_name = "DATASET")]
    dataset: String,
    /// A directory of ID.patch or ID.diff files, or JSON lines or a JSON array with instance_id and model_patch (or sample_id and patch)
    #[arg(long, value_name = "DIR|FILE")]
    patches: PathBuf,
    /// Verifications that are asked for at one time; the server has a limit of its own
    #[arg(long, short, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    jobs: u16,
    /// Only this sample; may be repeated
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Directory of the results, made if it is not there [default: eval-DATASET]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Go on with the results that are there
    #[arg(long)]
    resume: bool,
    /// Print JSON: one object, what came of it in all
    #[arg(long)]
    json: bool,
}

/// Verifies all patches, and reports.
pub(super) fn main(args: &Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let mut patches = Patches::read(&args.patches)?;
    let into = args.into.clone().unwrap_or_else(|| PathBuf::from(format!("eval-{}", args.dataset)));
    super::block_on(async {
        // Before anything begins, so that no signal is missed.
        let mut signals = Signals::new()?;
        let client = args.remote.connect().await?;
        let mut samples = samples(&client, &args.dataset).await?;
        let only = asked(&args.only, &samples)?;
        let mut settled = patches.settle(|id| samples.contains_key(id))?;
        if only.is_empty() {
            tell(&settled, patches.is_empty())?;
        } else {
            samples.retain(|id, _| only.contains(id));
            settled.without_sample.clear();
        }
        let (mut results, had) = Results::open(&into, args.resume)?;
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        let mut jobs = Vec::new();
        for (id, sample) in &samples {
            let Some(patch) = patches.get(id)? else { continue };
            let digest = results::digest(&patch);
            match had.iter().rev().find(|row| row.sample_id == *id && row.is_of(sample, &digest)) {
                Some(row) => drop(rows.insert(id.clone(), row.clone())),
                None => jobs.push(sample.clone()),
            }
        }
        let stopped = run::run(
            run::Work { client: &client, patches: &patches, jobs: usize::from(args.jobs) },
            jobs,
            &mut signals,
            |row| {
                results.add(&row)?;
                rows.insert(row.sample_id.clone(), row);
                Ok(())
            },
        )
        .await?;
        let score = Score::new(&args.dataset, &samples, &rows, |id| patches.has(id), settled.without_sample);
        for (name, text) in [("report.html", html::report(&score, &patches)?), ("report.md", markdown::report(&score))]
        {
            write_whole(&into.join(name), &text)?;
        }
        if args.json {
            table::print(&format!("{}\n", as_json(&score, &into, stopped.is_some())))?;
        } else {
            table::print(&score.table())?;
            table::print(&format!("{}\nreport: {}\n", score.line(), into.join("report.html").display()))?;
        }
        Ok(match stopped {
            Some(code) => ExitCode::from(code),
            None if score.errors == 0 && score.without_sample.is_empty() => ExitCode::SUCCESS,
            None => ExitCode::FAILURE,
        })
    })
}

/// The samples that are asked for by `--only`, by their own ids. None: all of them.
fn asked(only: &[String], samples: &BTreeMap<String, Sample>) -> Result<BTreeSet<String>, CliError> {
    let (mut found, mut mistakes) = (BTreeSet::new(), Vec::new());
    for id in only {
        let ours = source_id::ours(id).filter(|ours| samples.contains_key(ours));
        match Some(id.clone()).filter(|id| samples.contains_key(id)).or(ours) {
            Some(id) => drop(found.insert(id)),
            None => mistakes.push(format!("--only {}: no sample has this id", source_id::shown(id))),
        }
    }
    if mistakes.is_empty() { Ok(found) } else { Err(CliError::Options(mistakes)) }
}

/// Says which predictions are for no sample, and for which one a prediction is taken that is for another id. If all are for none, the dataset is not
/// the one that is meant.
fn tell(settled: &Settled, are_all: bool) -> Result<(), CliError> {
    let strangers = settled.without_sample.iter();
    let mut lines: Vec<_> = strangers
        .take(MOST_TOLD)
        .map(|id| format!("{}: no sample has this id, and there is a patch for it", source_id::shown(id)))
        .collect();
    if let Some(more) = settled.without_sample.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        lines.push(format!("and so it is with {more} more"));
    }
    if are_all && !lines.is_empty() {
        return Err(CliError::Options(lines));
    }
    if let [(from, ours), more @ ..] = &settled.renamed[..] {
        let more = if more.is_empty() { String::new() } else { format!(", and {} more like this", more.len()) };
        lines.push(format!(
            "the patch for {} is taken for the sample {ours}, as an import calls it{more}",
            source_id::shown(from)
        ));
    }
    lines.iter().for_each(|line| eprintln!("sandshell: {line}"));
    Ok(())
}

/// All samples of a dataset, by id.
async fn samples(client: &Client, dataset: &str) -> Result<BTreeMap<String, Sample>, CliError> {
    let mut request = ListSamplesRequest { dataset: dataset.to_owned(), page_size: PAGE, ..Default::default() };
    let mut service = client.samples.clone();
    let mut all = BTreeMap::new();
    loop {
        let page = service.list_samples(request.clone()).await?.into_inner();
        all.extend(page.samples.into_iter().map(|sample| (sample.sample_id.clone(), sample)));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// Whoever reads a report reads a whole one.
fn write_whole(path: &std::path::Path, text: &str) -> Result<(), CliError> {
    let failed = |source| CliError::io("write the report", source);
    let draft = path.with_extension("partial");
    fs::write(&draft, text).map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}

fn as_json(score: &Score, into: &std::path::Path, was_stopped: bool) -> serde_json::Value {
    let samples: Vec<_> = score
        .entries
        .iter()
        .map(|entry| {
            json!({ "sample_id": entry.sample.sample_id, "status": entry.status(), "reason": entry.row.map(|row| &row.reason) })
        })
        .collect();
    json!({
        "dataset": score.dataset,
        "samples": samples,
        "total": score.entries.len(),
        "succeeded": score.succeeded,
        "failed": score.failed,
        "errors": score.errors,
        "without_patch": score.without_patch,
        "not_yet": score.not_yet,
        "predictions_without_sample": score.without_sample,
        "stopped": was_stopped,
        "directory": into,
    })
}
