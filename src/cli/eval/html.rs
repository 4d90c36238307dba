//! The report as one HTML page that needs nothing else: no script, no other file, no network.

use super::{
    super::table::is_obeyed,
    CliError,
    patches::Patches,
    results::Row,
    score::{Entry, Score},
};
use std::fmt::Write;

/// Bytes of a patch that are shown, and tests of one sample.
const MOST_PATCH: usize = 256 << 10;
const MOST_TESTS: usize = 2000;

const STYLE: &str = include_str!("report.css");

/// All of it.
pub(super) fn report(score: &Score<'_>, patches: &Patches) -> Result<String, CliError> {
    let (dataset, line) = (text(score.dataset), text(&score.line()));
    // What a sandbox has printed is escaped below, and even if it were not, a browser would execute and load nothing.
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{dataset}: {:.1} %</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{dataset}</h1>\n<p>{line}</p>\n",
        score.percent()
    );
    bar(&mut page, score);
    languages(&mut page, score);
    overview(&mut page, score);
    for entry in &score.entries {
        let patch = patches.get(&entry.sample.sample_id)?;
        details(&mut page, entry, patch.as_deref());
    }
    strangers(&mut page, score);
    page += "</body>\n</html>\n";
    Ok(page)
}

/// Writing to a String cannot fail.
macro_rules! put {
    ($page:expr, $($part:tt)*) => { let _ = writeln!($page, $($part)*); };
}

fn bar(page: &mut String, score: &Score<'_>) {
    *page += "<div class=\"bar\" role=\"img\" aria-label=\"shares of the samples\">";
    for (class, count) in [
        ("succeeded", score.succeeded),
        ("failed", score.failed),
        ("error", score.errors),
        ("none", score.without_patch + score.not_yet),
    ] {
        if count > 0 {
            let _ = write!(page, "<span class=\"{class}\" style=\"flex:{count}\">{count}</span>");
        }
    }
    *page += "</div>\n";
}

fn languages(page: &mut String, score: &Score<'_>) {
    let languages = score.languages();
    if languages.len() < 2 {
        return;
    }
    *page += "<table>\n<tr><th>language</th><th>succeeded</th></tr>\n";
    for (language, (succeeded, all)) in languages {
        put!(page, "<tr><td>{}</td><td>{succeeded} of {all}</td></tr>", text(language));
    }
    *page += "</table>\n";
}

fn overview(page: &mut String, score: &Score<'_>) {
    *page += "<h2>Samples</h2>\n<table>\n<tr><th>sample</th><th>title</th><th>language</th><th>status</th><th>passed/reported</th>\
              <th>seconds</th><th>reason</th></tr>\n";
    for entry in &score.entries {
        let (id, row) = (text(&entry.sample.sample_id), entry.row);
        let seconds = row.and_then(|row| row.seconds).map_or_else(String::new, |seconds| format!("{seconds:.2}"));
        put!(
            page,
            "<tr><td><a href=\"#{id}\">{id}</a></td><td>{}</td><td>{}</td><td class=\"{}\">{}</td><td>{}</td><td>{seconds}</td><td>{}</td></tr>",
            text(&entry.sample.title),
            text(&entry.sample.language),
            class(entry),
            entry.status(),
            entry.tests(),
            text(row.map_or("", |row| &row.reason)),
        );
    }
    *page += "</table>\n";
}

fn strangers(page: &mut String, score: &Score<'_>) {
    let (strangers, more) = score.strangers();
    if strangers.is_empty() {
        return;
    }
    *page += "<h2>Predictions without a sample</h2>\n<ul>\n";
    for id in strangers {
        put!(page, "<li>{}</li>", text(&id));
    }
    *page += "</ul>\n";
    if more > 0 {
        put!(page, "<p>and {more} more</p>");
    }
}

fn class(entry: &Entry<'_>) -> &'static str {
    match entry.status() {
        "succeeded" => "succeeded",
        "failed" => "failed",
        "error" => "error",
        _ => "none",
    }
}

fn details(page: &mut String, entry: &Entry<'_>, patch: Option<&str>) {
    let id = text(&entry.sample.sample_id);
    put!(
        page,
        "<section id=\"{id}\">\n<h2>{id} <small class=\"{}\">{}</small></h2>\n<p>{}</p>",
        class(entry),
        entry.status(),
        text(&entry.sample.title)
    );
    if let Some(row) = entry.row {
        if !row.message.is_empty() {
            put!(page, "<pre class=\"message\">{}</pre>", text(&row.message));
        }
        tests(page, row);
        for (name, output) in [("standard output", &row.stdout), ("standard error", &row.stderr)] {
            block(page, name, output);
        }
        block(page, "changed files", &row.changes.join("\n"));
    }
    match patch {
        Some(patch) if !patch.trim().is_empty() => diff(page, patch),
        Some(_) => *page += "<p>The patch is empty.</p>\n",
        None => *page += "<p>There is no patch.</p>\n",
    }
    *page += "</section>\n";
}

fn tests(page: &mut String, row: &Row) {
    if row.tests.is_empty() {
        return;
    }
    // A column in which nothing is only takes room.
    let (has_seconds, has_messages) =
        (row.tests.iter().any(|test| test.seconds.is_some()), row.tests.iter().any(|test| !test.message.is_empty()));
    *page += "<table>\n<tr><th>test</th><th>outcome</th>";
    *page += if has_seconds { "<th>seconds</th>" } else { "" };
    *page += if has_messages { "<th>message</th>" } else { "" };
    *page += "</tr>\n";
    for test in row.tests.iter().take(MOST_TESTS) {
        let class = match test.outcome.as_str() {
            "passed" => "succeeded",
            "failed" => "failed",
            _ => "none",
        };
        let _ = write!(page, "<tr><td>{}</td><td class=\"{class}\">{}</td>", text(&test.name), text(&test.outcome));
        if has_seconds {
            let seconds = test.seconds.map_or_else(String::new, |seconds| format!("{seconds:.3}"));
            let _ = write!(page, "<td>{seconds}</td>");
        }
        if has_messages {
            let _ = write!(page, "<td>{}</td>", text(&test.message));
        }
        *page += "</tr>\n";
    }
    *page += "</table>\n";
    if let Some(more) = row.tests.len().checked_sub(MOST_TESTS).filter(|more| *more > 0) {
        put!(page, "<p>and {more} more</p>");
    }
}

fn block(page: &mut String, name: &str, content: &str) {
    if !content.trim().is_empty() {
        put!(page, "<details><summary>{name}</summary><pre>{}</pre></details>", text(content));
    }
}

fn diff(page: &mut String, patch: &str) {
    let shown = &patch[..patch.floor_char_boundary(MOST_PATCH)];
    *page += "<details><summary>patch</summary><pre class=\"diff\">";
    for line in shown.lines() {
        let class = match line.as_bytes().first() {
            _ if line.starts_with("+++") || line.starts_with("---") || line.starts_with("diff ") => "head",
            Some(b'+') => "added",
            Some(b'-') => "removed",
            Some(b'@') => "hunk",
            _ => "same",
        };
        let _ = write!(page, "<span class=\"{class}\">{}\n</span>", text(line));
    }
    *page += "</pre>";
    if shown.len() < patch.len() {
        put!(page, "<p>{} bytes more are left out</p>", patch.len() - shown.len());
    }
    *page += "</details>\n";
}

/// Text that means nothing in HTML, neither between tags nor in an attribute. What no font shows is shown as what it is not.
fn text(plain: &str) -> String {
    let mut escaped = String::with_capacity(plain.len());
    for character in plain.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(character),
            _ if is_obeyed(character) => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::text;

    proptest::proptest! {
        #[test]
        fn nothing_means_anything(plain in "(?s).*") {
            let escaped = text(&plain);
            proptest::prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
            for (at, _) in escaped.match_indices('&') {
                proptest::prop_assert!(entities.iter().any(|entity| escaped[at..].starts_with(entity)));
            }
        }
    }
}
