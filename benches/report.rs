//! Samples, and the table they end in.

use crate::processes;
use std::{fmt, fs, time::Duration};

/// Times of one thing, done many times.
#[derive(Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time that `percent` of all samples were at or below.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted[rank - 1]
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

/// A Markdown table of results.
#[derive(Default)]
pub(crate) struct Table(Vec<[String; 4]>);

impl Table {
    /// Times, beside those of something well known from the same minutes.
    pub(crate) fn times(&mut self, what: &str, samples: &Samples, beside: Option<(&str, &Samples)>) {
        let note = beside.map(|(name, other)| {
            let ratio = samples.percentile(50).as_secs_f64() / other.percentile(50).as_secs_f64();
            let ratio = if ratio < 0.1 { format!("1/{:.0} of", 1.0 / ratio) } else { format!("{ratio:.2} ×") };
            format!("{ratio} `{name}` ({})", milliseconds(other.percentile(50)))
        });
        self.row(
            what,
            &milliseconds(samples.percentile(50)),
            &milliseconds(samples.percentile(95)),
            &note.unwrap_or_default(),
        );
    }

    /// Times during a flood, beside those of the same without it. What the slowest in a hundred wait is what a flood shows in.
    pub(crate) fn beside_a_flood(&mut self, what: &str, loud: &Samples, quiet: &Samples) {
        let [at50, at95, at99] = [50, 95, 99].map(|percent| {
            let (loud, quiet) = (loud.percentile(percent), quiet.percentile(percent));
            (milliseconds(loud), loud.as_secs_f64() / quiet.as_secs_f64(), milliseconds(quiet))
        });
        let ratios = format!("p50, p95, p99: {:.1}, {:.1}, {:.1} × without", at50.1, at95.1, at99.1);
        let note = format!("p99 {}; {ratios} ({}, {}, {})", at99.0, at50.2, at95.2, at99.2);
        self.row(what, &at50.0, &at95.0, &note);
    }

    /// One number.
    pub(crate) fn number(&mut self, what: &str, value: &str, note: &str) {
        self.row(what, value, "", note);
    }

    fn row(&mut self, what: &str, p50: &str, p95: &str, note: &str) {
        eprintln!("  {what}: {p50} {p95} {note}");
        self.0.push([what, p50, p95, note].map(str::to_owned));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | p50 | p95 | beside it, in the same run |\n|---|---|---|---|")?;
        self.0.iter().try_for_each(|[what, p50, p95, note]| writeln!(f, "| {what} | {p50} | {p95} | {note} |"))
    }
}

/// Where the numbers come from.
pub(crate) fn machine() -> String {
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu = file("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = processes::kibibytes(&file("/proc/meminfo"), "MemTotal:") >> 20;
    let kernel = file("/proc/sys/kernel/osrelease");
    format!(
        "Measured on {} ({cores} cores, {memory} GiB), Linux {}.",
        model.unwrap_or("an unknown processor"),
        kernel.trim()
    )
}

fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 1.0 { format!("{ms:.3} ms") } else { format!("{ms:.1} ms") }
}
