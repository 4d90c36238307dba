//! The ids that samples have in the files of others, and what we call these samples.

use serde_json::{Map, Value};

/// Names of the field with the id of a record or a prediction, the usual one first.
const FIELDS: [&str; 3] = ["instance_id", "sample_id", "id"];

/// Bytes of an id of others.
const MOST_BYTES: usize = 4096;

/// Characters of an id of ours, which names a folder.
const MOST_OURS: usize = 200;

/// Characters of an id of others in a line for people.
const MOST_SHOWN: usize = 200;

/// The names of the field.
pub(super) fn fields() -> &'static [&'static str] {
    &FIELDS
}

/// The id in a record, as it stands there. A number is taken as text. The error says what is wrong with it.
pub(super) fn of(record: &Map<String, Value>) -> Result<String, String> {
    let found = FIELDS.iter().find_map(|name| Some((*name, record.get(*name).filter(|value| !value.is_null())?)));
    let Some((name, value)) = found else { return Err("has no instance_id, sample_id or id".to_owned()) };
    let id = match value {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        other => return Err(format!("{name} is {}, and must be text", kind(other))),
    };
    match id.len() {
        0 => Err(format!("{name} is empty")),
        length if length > MOST_BYTES => Err(format!("{name} has more than {MOST_BYTES} bytes")),
        _ => Ok(id),
    }
}

/// Our id for what is called so by others: as near to it as a folder's name can be. None where nothing is left of it.
pub(super) fn ours(text: &str) -> Option<String> {
    let fits = |c: char| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' };
    let id: String = text.trim().chars().map(fits).take(MOST_OURS).collect();
    let id = id.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    (!id.is_empty()).then_some(id)
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// An id of others in a line for people: bounded, and without what a terminal would obey.
pub(super) fn shown(id: &str) -> String {
    let mut shown: String = id.chars().take(MOST_SHOWN).collect();
    if shown.len() < id.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of_value(record: Value) -> Result<String, String> {
        of(record.as_object().unwrap())
    }

    #[test]
    fn ids_are_made_to_fit() {
        assert_eq!(ours("owner/name#5").as_deref(), Some("owner-name-5"));
        assert_eq!(ours("../../x").as_deref(), Some("x"));
        assert_eq!(ours(&"x".repeat(300)).unwrap().len(), 200);
        assert_eq!([ours(" / "), ours("é"), ours("..")], [None, None, None]);
    }

    #[test]
    fn what_is_wrong_with_an_id_is_said() {
        assert_eq!(of_value(json!({ "instance_id": null, "id": "a/b" })).as_deref(), Ok("a/b"));
        assert_eq!(of_value(json!({ "id": 17 })).as_deref(), Ok("17"));
        for (record, wrong) in [
            (json!({ "name": "a" }), "has no instance_id, sample_id or id"),
            (json!({ "sample_id": ["a"], "id": "b" }), "sample_id is a list, and must be text"),
            (json!({ "id": "" }), "id is empty"),
            (json!({ "id": "x".repeat(5000) }), "id has more than 4096 bytes"),
        ] {
            assert_eq!(of_value(record).unwrap_err(), wrong);
        }
    }

    #[test]
    fn what_is_shown_is_bounded_and_obeyed_by_no_terminal() {
        assert_eq!(shown("a\x1b[1m"), "a\\u{1b}[1m");
        assert_eq!(shown(&"é".repeat(300)).chars().count(), 201);
    }
}
