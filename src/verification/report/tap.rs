//! The Test Anything Protocol, with subtests as `node --test` and Perl write them. A test with subtests counts by them, and by itself too if it
//! failed: what a program prints in between may look like a subtest, and no failure is lost by that.

use super::{BadReport, Gathered, MOST_MESSAGE, MOST_NAME, Outcome, Report, cut, lines};
use std::time::Duration;

/// Subtests within subtests.
const MOST_DEPTH: usize = 32;

/// One level of tests.
#[derive(Default)]
struct Level {
    /// The name of the test that they are part of, once it is known from `# Subtest:`.
    name: String,
    /// How many tests there should be.
    planned: Option<u64>,
    seen: u64,
    has_failed: bool,
}

/// Words about a test, between `---` and `...`.
struct Block {
    words: String,
    /// How far it stands to the right.
    indent: usize,
}

#[derive(Default)]
struct Reading {
    gathered: Gathered,
    levels: Vec<Level>,
    problem: Option<String>,
    /// The test that a block of words belongs to, how far it stands to the right, and these words.
    last: Option<(String, Outcome)>,
    last_indent: usize,
    block: Option<Block>,
    /// What was read of the level that has just ended: whether a test in it failed.
    below: Option<bool>,
}

pub(super) fn read(text: &str) -> Result<Report, BadReport> {
    let mut reading = Reading { levels: vec![Level::default()], ..Reading::default() };
    let mut has_any = false;
    for line in lines::plain(text) {
        has_any |= reading.line(&line)?;
    }
    reading.close_to(0);
    if !has_any {
        return Err(BadReport::Malformed { form: "TAP", what: "it has neither a plan nor a test".to_owned() });
    }
    if let Some(level) = reading.levels.first() {
        match level.planned {
            Some(planned) if planned != level.seen => {
                let problem = format!("the plan has {planned} tests, and there are {}", level.seen);
                reading.problem.get_or_insert(problem);
            }
            None => {
                reading
                    .problem
                    .get_or_insert_with(|| "there is no plan, so it is not known whether all tests came".into());
            }
            Some(_) => {}
        }
    }
    Ok(reading.gathered.finish(reading.problem))
}

impl Reading {
    /// Takes a line. Whether it is one of the protocol.
    fn line(&mut self, line: &str) -> Result<bool, BadReport> {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(block) = &mut self.block {
            // What stands further to the left is no part of it: a block without an end hides no test.
            if text == "..." || (indent < block.indent && !text.is_empty()) {
                self.end_block()?;
            } else {
                push_line(&mut block.words, text);
            }
            if text == "..." || self.block.is_some() {
                return Ok(false);
            }
        }
        let depth = indent / 4;
        // It is part of a test, and stands further to the right.
        if text == "---" && self.last.is_some() && indent > self.last_indent {
            self.block = Some(Block { words: String::new(), indent });
            return Ok(false);
        }
        if depth > MOST_DEPTH {
            return Ok(false);
        }
        if let Some(name) = text.strip_prefix("# Subtest:") {
            // In front of its tests it is as deep as the test itself, or, in older ones, as deep as they are.
            self.close_to(depth);
            self.open(depth + 1, name.trim());
            return Ok(false);
        }
        if let Some(reason) = text.strip_prefix("Bail out!") {
            self.problem = Some(format!("the tests were given up: {}", cut(reason.trim(), MOST_MESSAGE)));
            return Ok(true);
        }
        if let Some(planned) = plan(text) {
            self.close_to(depth);
            self.open(depth, "");
            if let Some(level) = self.levels.last_mut() {
                level.planned = Some(planned);
            }
            return Ok(true);
        }
        match result(text) {
            Some((is_ok, described)) => {
                self.last_indent = indent;
                self.test(depth, is_ok, described).map(|()| true)
            }
            None => {
                // Something was printed in front of it without an end of line, and what it says of which test is not known.
                if !text.starts_with('#') && has_failure_within(text) {
                    self.problem.get_or_insert_with(|| "a line has a failed test in its middle".to_owned());
                }
                Ok(false)
            }
        }
    }

    /// Makes levels down to this one.
    fn open(&mut self, depth: usize, name: &str) {
        while self.levels.len() <= depth {
            self.levels.push(Level::default());
        }
        if let (Some(level), false) = (self.levels.get_mut(depth), name.is_empty()) {
            level.name = cut(name, MOST_NAME).to_owned();
        }
    }

    /// Ends the levels that are deeper.
    fn close_to(&mut self, depth: usize) {
        while self.levels.len() > depth + 1 {
            let Some(level) = self.levels.pop() else { return };
            if level.planned.is_some_and(|planned| planned != level.seen) {
                let problem = format!("the plan of a subtest has other tests than there are: {}", level.seen);
                self.problem.get_or_insert(problem);
            }
            if level.seen > 0 {
                self.below = Some(level.has_failed || self.below.unwrap_or(false));
            }
        }
    }

    fn test(&mut self, depth: usize, is_ok: bool, described: &str) -> Result<(), BadReport> {
        self.below = None;
        self.close_to(depth);
        self.open(depth, "");
        let below = self.below.take();
        let (name, directive) = split_directive(described);
        let (word, reason) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
        let outcome = if word.eq_ignore_ascii_case("skip") {
            Outcome::Skipped
        } else if word.eq_ignore_ascii_case("todo") {
            // It is expected not to work yet.
            if is_ok { Outcome::Passed } else { Outcome::Skipped }
        } else if is_ok {
            Outcome::Passed
        } else {
            Outcome::Failed
        };
        let above = self.levels.iter().take(depth + 1).map(|level| level.name.as_str()).filter(|name| !name.is_empty());
        let number = self.levels.last().map_or(0, |level| level.seen + 1);
        let own = if name.is_empty() { format!("test {number}") } else { name.to_owned() };
        let whole = above.chain([own.as_str()]).collect::<Vec<_>>().join(" > ");
        if let Some(level) = self.levels.last_mut() {
            level.seen += 1;
            level.has_failed |= outcome == Outcome::Failed;
        }
        // One that has subtests is told by them.
        if below.is_none() || outcome == Outcome::Failed {
            self.gathered.add(&whole, outcome, None, reason)?;
            self.last = Some((whole, outcome));
        } else {
            self.last = Some((String::new(), outcome));
        }
        Ok(())
    }

    /// A block of words about the last test is over.
    fn end_block(&mut self) -> Result<(), BadReport> {
        let (Some(Block { words: block, .. }), Some((name, outcome))) = (self.block.take(), self.last.take()) else {
            return Ok(());
        };
        if name.is_empty() {
            return Ok(());
        }
        let milliseconds = block.lines().find_map(|line| line.trim().strip_prefix("duration_ms:"));
        let milliseconds = milliseconds.and_then(|text| text.trim().trim_matches('\'').parse::<f64>().ok());
        let duration = milliseconds.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
        self.gathered.time(&name, duration);
        if outcome == Outcome::Failed {
            self.gathered.explain(&name, &block);
        }
        Ok(())
    }
}

fn push_line(block: &mut String, line: &str) {
    if block.len() + line.len() < MOST_MESSAGE {
        block.push_str(line);
        block.push('\n');
    }
}

/// `1..5`.
fn plan(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("1..")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// `ok 1 - name`, `not ok 2`.
fn result(line: &str) -> Option<(bool, &str)> {
    let (is_ok, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let rest = rest.trim_start();
    let number = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    let described = rest[number..].trim_start();
    Some((is_ok, described.strip_prefix("- ").unwrap_or(described).trim()))
}

/// Whether `not ok 1` is somewhere in a line.
fn has_failure_within(line: &str) -> bool {
    line.match_indices("not ok ").any(|(at, found)| line[at + found.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// What is behind a `#` that is not escaped.
fn split_directive(described: &str) -> (&str, &str) {
    let is_directive = |text: &str| {
        let word = text.trim_start().get(..4).unwrap_or_default();
        word.eq_ignore_ascii_case("skip") || word.eq_ignore_ascii_case("todo")
    };
    match described.rsplit_once('#') {
        Some((name, directive)) if !name.ends_with('\\') && is_directive(directive) => {
            (name.trim_end(), directive.trim())
        }
        _ => (described, ""),
    }
}
