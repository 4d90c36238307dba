//! JUnit's XML. It is read as it comes, an element after the other: nothing is held but the test that is being read. A document type is refused,
//! and with it every entity that is not one of XML's five.

use super::{BadReport, Gathered, MOST_MESSAGE, Outcome, Report, seconds};
use quick_xml::{
    Reader, XmlVersion,
    events::{BytesRef, BytesStart, Event},
};
use std::time::Duration;

/// Elements within elements.
const MOST_DEPTH: usize = 64;

/// The test that is being read.
struct Case {
    name: String,
    duration: Option<Duration>,
    outcome: Outcome,
    message: String,
    /// At which depth it is.
    depth: usize,
    /// Whether text that comes belongs to a failure.
    is_telling: bool,
}

pub(super) fn read(text: &str) -> Result<Report, BadReport> {
    let mut reader = Reader::from_str(text);
    let (mut gathered, mut case, mut depth, mut has_root) = (Gathered::default(), None::<Case>, 0, false);
    loop {
        match reader.read_event().map_err(malformed)? {
            Event::Start(element) => {
                depth += 1;
                if depth > MOST_DEPTH {
                    return Err(malformed(format!("it has more than {MOST_DEPTH} elements within each other")));
                }
                begin(&element, depth, &mut case, &mut has_root)?;
            }
            Event::Empty(element) => {
                begin(&element, depth + 1, &mut case, &mut has_root)?;
                end(depth + 1, &mut case, &mut gathered)?;
            }
            Event::End(_) => {
                end(depth, &mut case, &mut gathered)?;
                depth = depth.saturating_sub(1);
            }
            Event::Text(text) => tell(&mut case, &text),
            Event::CData(text) => tell(&mut case, &text),
            Event::GeneralRef(reference) => {
                let text = resolved(&reference)?;
                tell(&mut case, &text);
            }
            Event::DocType(_) => return Err(malformed("it has a document type, which is not allowed")),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    if !has_root {
        return Err(malformed("it has no testsuite"));
    }
    let problem = (depth > 0).then(|| "the report ends in the middle".to_owned());
    Ok(gathered.finish(problem))
}

fn malformed(what: impl ToString) -> BadReport {
    BadReport::Malformed { form: "JUnit's XML", what: what.to_string() }
}

/// One of XML's own five, or a character by its number.
fn resolved(reference: &BytesRef<'_>) -> Result<String, BadReport> {
    if let Some(character) = reference.resolve_char_ref().map_err(malformed)? {
        return Ok(character.to_string());
    }
    match quick_xml::escape::resolve_predefined_entity(reference) {
        Some(text) => Ok(text.to_owned()),
        None => Err(malformed("it names an entity that XML does not have")),
    }
}

fn begin(
    element: &BytesStart<'_>,
    depth: usize,
    case: &mut Option<Case>,
    has_root: &mut bool,
) -> Result<(), BadReport> {
    let name = element.local_name();
    match (name.as_ref(), case.as_mut()) {
        ("testsuites" | "testsuite", _) => *has_root = true,
        ("testcase", None) => {
            let [class, name, time, file] = attributes(element, ["classname", "name", "time", "file"])?;
            let class = if class.is_empty() { file } else { class };
            let name = if class.is_empty() || name.starts_with(&format!("{class}::")) {
                name
            } else {
                format!("{class}{}{name}", separator(&class))
            };
            let (duration, message) = (seconds(&time), String::new());
            *case = Some(Case { name, duration, outcome: Outcome::Passed, message, depth, is_telling: false });
        }
        (kind @ ("failure" | "error" | "skipped"), Some(case)) => {
            let [message, kind_of_skip] = attributes(element, ["message", "type"])?;
            let outcome = match kind {
                // What fails as expected does what it is expected to do.
                "skipped" if kind_of_skip == "pytest.xfail" => Outcome::Passed,
                "skipped" => Outcome::Skipped,
                _ => Outcome::Failed,
            };
            if case.outcome != Outcome::Failed {
                case.outcome = outcome;
            }
            case.is_telling = true;
            push(&mut case.message, &message);
        }
        _ => {}
    }
    Ok(())
}

/// As the names of most languages have it.
fn separator(class: &str) -> &'static str {
    if class.contains("::") || class.contains('/') { "::" } else { "." }
}

fn end(depth: usize, case: &mut Option<Case>, gathered: &mut Gathered) -> Result<(), BadReport> {
    let Some(open) = case else { return Ok(()) };
    if depth > open.depth {
        open.is_telling = false;
        return Ok(());
    }
    gathered.add(&open.name, open.outcome, open.duration, &open.message)?;
    *case = None;
    Ok(())
}

fn tell(case: &mut Option<Case>, text: &str) {
    if let Some(case) = case.as_mut().filter(|case| case.is_telling) {
        push(&mut case.message, text);
    }
}

/// Adds to a message, as long as it is not too long.
fn push(message: &mut String, text: &str) {
    let room = MOST_MESSAGE.saturating_sub(message.len());
    message.push_str(super::cut(text, room));
}

/// Attributes by name; empty where there is none.
fn attributes<const N: usize>(element: &BytesStart<'_>, names: [&str; N]) -> Result<[String; N], BadReport> {
    let mut found = [const { String::new() }; N];
    for attribute in element.attributes() {
        let attribute = attribute.map_err(malformed)?;
        let Some(place) = names.iter().position(|name| *name == attribute.key.as_ref()) else { continue };
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(malformed)?;
        found[place] = super::cut(&value, MOST_MESSAGE).to_owned();
    }
    Ok(found)
}
