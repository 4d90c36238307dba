//! The report as Markdown: the overview, and for each sample that was no success why not.

use super::{super::table::is_obeyed, score::Score};

/// Characters of a message.
const MOST_MESSAGE: usize = 500;

/// All of it.
pub(super) fn report(score: &Score<'_>) -> String {
    let mut text = format!("# {}\n\n{}\n\n", plain(score.dataset), plain(&score.line()));
    let languages = score.languages();
    if languages.len() > 1 {
        text += "| language | succeeded |\n|---|---|\n";
        for (language, (succeeded, all)) in languages {
            text += &format!("| {} | {succeeded} of {all} |\n", plain(language));
        }
        text.push('\n');
    }
    text += "| sample | title | status | passed/reported | seconds |\n|---|---|---|---|---|\n";
    for entry in &score.entries {
        let seconds = entry.row.and_then(|row| row.seconds).map_or_else(String::new, |seconds| format!("{seconds:.1}"));
        text += &format!(
            "| {} | {} | {} | {} | {seconds} |\n",
            plain(&entry.sample.sample_id),
            plain(&entry.sample.title),
            entry.status(),
            entry.tests()
        );
    }
    let unhappy = score.entries.iter().filter_map(|entry| entry.row).filter(|row| !row.reason.is_empty());
    for (number, row) in unhappy.enumerate() {
        if number == 0 {
            text += "\n## Not successful\n\n";
        }
        let message: String = row.message.chars().take(MOST_MESSAGE).collect();
        text += &format!("- {}: {}: {}\n", plain(&row.sample_id), plain(&row.reason), plain(&message));
    }
    let (strangers, more) = score.strangers();
    if !strangers.is_empty() {
        text += "\n## Predictions without a sample\n\n";
        text.extend(strangers.iter().map(|id| format!("- {}\n", plain(id))));
    }
    if more > 0 {
        text += &format!("\nand {more} more\n");
    }
    text
}

/// Text that means nothing in Markdown and in the HTML that it becomes: part of it comes from strangers.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => plain += "&lt;",
            '>' => plain += "&gt;",
            '&' => plain += "&amp;",
            _ if character.is_control() => plain.push(' '),
            _ if is_obeyed(character) => plain.push('\u{fffd}'),
            _ if "\\`*_{}[]()#+!|~".contains(character) => plain.extend(['\\', character]),
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn nothing_means_anything() {
        assert_eq!(plain("a\u{202e}b\u{2066}c\x1b[1m"), "a\u{fffd}b\u{fffd}c \\[1m");
        assert_eq!(plain("a|b\n<img src=x>[c](d)"), "a\\|b &lt;img src=x&gt;\\[c\\]\\(d\\)");
    }
}
