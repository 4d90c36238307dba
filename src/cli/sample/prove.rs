//! `sandshell sample check --prove`: each sample is verified as it is, which must not succeed, and with its reference patch, which must.

use super::{
    super::{
        client::Client,
        eval,
        table::{Table, is_obeyed},
        verify::name_of_reason,
    },
    CliError,
};
use crate::{
    api::v1::{StartVerificationRequest, Verification, verification_error, verification_result},
    sample::{Catalogue, Sample},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::{fs, sync::Arc};
use uuid::Uuid;

/// Samples that are proved at one time. The server has a limit of its own.
const AT_ONCE: usize = 8;

/// Lines of each output of a command, and characters of a line.
const MOST_LINES: usize = 10;
const MOST_CHARACTERS: usize = 500;

/// Bytes of a patch that a server takes.
const MOST_PATCH: u64 = 16 << 20;

/// What the verifications of a sample have shown.
pub(super) struct Proof {
    name: String,
    /// What came of the sample as it is, and with its patch, in a word.
    as_it_is: String,
    with_patch: String,
    /// Why the sample is not good.
    problem: Option<String>,
    /// The last lines of what the command printed, where no test came of it.
    printed: Vec<String>,
}

/// Proves all of them.
pub(super) async fn prove(client: &Client, catalogue: &Catalogue) -> Result<Vec<Proof>, CliError> {
    let samples: Vec<_> = catalogue.datasets().flat_map(|dataset| dataset.samples.values().cloned()).collect();
    let proofs: Vec<Result<Proof, CliError>> =
        stream::iter(samples).map(|sample| one(client, sample)).buffered(AT_ONCE).collect().await;
    proofs.into_iter().collect()
}

async fn one(client: &Client, sample: Arc<Sample>) -> Result<Proof, CliError> {
    let name = sample.name();
    let before = verify(client, &sample, String::new()).await?;
    let as_it_is = word(&before);
    let mut proof = Proof { name, as_it_is, with_patch: "-".to_owned(), problem: None, printed: last_lines(&before) };
    if let Some(problem) = not_carried_out(&before) {
        return Ok(Proof { problem: Some(problem), ..proof });
    }
    if is_success(&before) {
        proof.problem =
            Some("succeeds as it is: its verification does not see that there is anything to do".to_owned());
    }
    let Some(path) = &sample.hidden.patch else {
        proof
            .problem
            .get_or_insert_with(|| "has no reference patch, so nobody knows whether it can succeed".to_owned());
        return Ok(proof);
    };
    let is_small = fs::metadata(path).is_ok_and(|about| about.len() <= MOST_PATCH);
    let Some(patch) = fs::read_to_string(path).ok().filter(|_| is_small) else {
        let problem = format!("{} cannot be read as text of at most {MOST_PATCH} bytes", path.display());
        return Ok(Proof { problem: Some(problem), ..proof });
    };
    let after = verify(client, &sample, patch).await?;
    proof.with_patch = word(&after);
    proof.printed = last_lines(&after);
    if !is_success(&after) && proof.problem.is_none() {
        let said = after.result.as_ref().map(|result| result.message.clone());
        let said = said.or_else(|| not_carried_out(&after)).unwrap_or_default();
        proof.problem = Some(format!("does not succeed with its reference patch: {said}"));
    }
    Ok(proof)
}

async fn verify(client: &Client, sample: &Sample, patch: String) -> Result<Verification, CliError> {
    let request = StartVerificationRequest {
        dataset: sample.dataset.clone(),
        sample_id: sample.id.clone(),
        patch,
        request_id: format!("prove-{}", Uuid::new_v4()),
        ..Default::default()
    };
    eval::carry_out(client.verifications.clone(), request).await
}

/// The end of what the command printed, if it was no success and reported no test: there is why.
fn last_lines(ended: &Verification) -> Vec<String> {
    let Some(result) = ended.result.as_ref().filter(|result| result.total == 0 && !result.is_success) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for printed in [&result.stdout, &result.stderr] {
        let lines: Vec<_> = printed.trim_end().lines().collect();
        let last = lines.iter().skip(lines.len().saturating_sub(MOST_LINES));
        all.extend(last.map(|line| line.chars().take(MOST_CHARACTERS).collect()));
    }
    all
}

fn is_success(ended: &Verification) -> bool {
    ended.result.as_ref().is_some_and(|result| result.is_success)
}

fn not_carried_out(ended: &Verification) -> Option<String> {
    let error = ended.error.as_ref()?;
    let reason = verification_error::Reason::try_from(error.reason).unwrap_or_default();
    Some(format!("could not be verified: {}: {}", name_of_reason(reason.as_str_name()), error.message))
}

fn word(ended: &Verification) -> String {
    match &ended.result {
        Some(result) if result.is_success => "success".to_owned(),
        Some(result) => {
            let reason = verification_result::Reason::try_from(result.reason).unwrap_or_default();
            name_of_reason(reason.as_str_name()).to_owned()
        }
        None => "ERROR".to_owned(),
    }
}

impl Proof {
    pub(super) fn is_good(&self) -> bool {
        self.problem.is_none()
    }

    pub(super) fn as_json(&self) -> Value {
        json!({ "sample": self.name, "as_it_is": self.as_it_is, "with_patch": self.with_patch, "problem": self.problem, "printed": self.printed })
    }
}

/// For a terminal. What tests have said is shown without what a terminal would obey.
pub(super) fn table(proofs: &[Proof]) -> String {
    let mut table = Table::new(["SAMPLE", "AS_IT_IS", "WITH_PATCH", "PROVED"]);
    for proof in proofs {
        let proved = if proof.is_good() { "yes" } else { "no" };
        table.add([&proof.name, &proof.as_it_is, &proof.with_patch, proved].map(|word: &str| word.to_owned()));
    }
    let problems = proofs.iter().filter_map(|proof| {
        let problem = proof.problem.as_ref()?;
        let plain = |text: &str| text.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).collect::<String>();
        let printed = proof.printed.iter().map(|line| format!("    {}\n", plain(line)));
        Some(format!("{}: {}\n{}", proof.name, plain(problem), printed.collect::<String>()))
    });
    format!("{table}{}", problems.collect::<String>())
}
