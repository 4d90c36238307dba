//! `go test -json`: an event in each line. What is not JSON was printed by something else, as a build that failed, and does not count.

use super::{BadReport, Gathered, MOST_MESSAGE, MOST_TESTS, Outcome, Report, cut};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Happening {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    test: String,
    elapsed: Option<f64>,
    #[serde(default)]
    output: String,
}

pub(super) fn read(text: &str) -> Result<Report, BadReport> {
    let mut gathered = Gathered::default();
    // What tests that are not over have printed.
    let mut open: BTreeMap<(String, String), String> = BTreeMap::new();
    let (mut failing_packages, mut failed_in, mut any) = (BTreeSet::new(), BTreeSet::new(), false);
    for line in text.lines().map(str::trim).filter(|line| line.starts_with('{')) {
        let Ok(happening) = serde_json::from_str::<Happening>(line) else { continue };
        any = true;
        let Happening { action, package, test, elapsed, output } = happening;
        let outcome = match action.as_str() {
            "pass" => Outcome::Passed,
            "fail" => Outcome::Failed,
            "skip" => Outcome::Skipped,
            "run" if !test.is_empty() => {
                if open.len() >= MOST_TESTS {
                    return Err(BadReport::TooManyTests);
                }
                open.insert((package, test), String::new());
                continue;
            }
            "output" => {
                if let Some(told) = open.get_mut(&(package, test)) {
                    let room = MOST_MESSAGE.saturating_sub(told.len());
                    told.push_str(cut(&output, room));
                }
                continue;
            }
            _ => continue,
        };
        if test.is_empty() {
            if outcome == Outcome::Failed {
                failing_packages.insert(package);
            }
            continue;
        }
        let told = open.remove(&(package.clone(), test.clone())).unwrap_or_default();
        let told = if outcome == Outcome::Passed { "" } else { &told };
        let duration = elapsed.and_then(|elapsed| Duration::try_from_secs_f64(elapsed).ok());
        gathered.add(&name(&package, &test), outcome, duration, told)?;
        if outcome == Outcome::Failed {
            failed_in.insert(package);
        }
    }
    if !any {
        let what = "it has no event; perhaps the tests were not compiled".to_owned();
        return Err(BadReport::Malformed { form: "what go test -json prints", what });
    }
    for ((package, test), told) in open {
        gathered.add(&name(&package, &test), Outcome::Failed, None, &format!("it did not end\n{told}"))?;
        failed_in.insert(package);
    }
    for package in failing_packages.difference(&failed_in) {
        gathered.add(package, Outcome::Failed, None, "the package failed, and no test of it")?;
    }
    Ok(gathered.finish(None))
}

fn name(package: &str, test: &str) -> String {
    if package.is_empty() { test.to_owned() } else { format!("{package}.{test}") }
}
