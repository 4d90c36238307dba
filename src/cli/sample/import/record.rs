//! A record of a benchmark of SWE-bench's kind: one JSON object for each sample. Codeset calls some of its fields otherwise.

use super::{
    super::super::source_id,
    Args,
    draft::Draft,
    patch,
    words::{quoted, string},
};
use serde_json::{Map, Value};

/// Names that a field has, the usual one first.
const REPOSITORY: [&str; 3] = ["repo", "repository", "repo_name"];
const COMMIT: [&str; 2] = ["base_commit", "base_sha"];
const TASK: [&str; 3] = ["problem_statement", "description", "instruction"];
const PATCH: [&str; 2] = ["patch", "gold_patch"];
const TESTS: [&str; 1] = ["test_patch"];
const FAIL_TO_PASS: [&str; 2] = ["FAIL_TO_PASS", "fail_to_pass"];
const PASS_TO_PASS: [&str; 2] = ["PASS_TO_PASS", "pass_to_pass"];
const LANGUAGE: [&str; 2] = ["language", "repo_language"];
const IMAGE: [&str; 4] = ["image", "image_name", "docker_image", "dockerhub_tag"];
const COMMAND: [&str; 4] = ["test_command", "test_cmd", "test_cmds", "verifier"];
const VERSION: [&str; 1] = ["version"];

/// What has a place in the note on where the sample is from, and so is not lost.
const SOURCE: [&str; 3] = ["dataset", "created_at", "environment_setup_commit"];

const DEFAULT_COMMAND: &str = "python3 -m pytest -rA -p no:cacheprovider {tests}";

/// Where the patch of the tests is while they run: beside the code base, which it is applied to.
const TEST_PATCH: &str = ".sandshell-tests.patch";

/// What no record with these columns has, in words. `None`: all that a sample needs is there.
pub(super) fn missing(columns: &[&str]) -> Option<String> {
    let needed = [source_id::fields(), &REPOSITORY, &COMMIT, &TASK];
    let missing = needed.into_iter().filter(|names| !names.iter().any(|name| columns.contains(name)));
    let missing: Vec<_> = missing.map(|names| names.join(" or ")).collect();
    (!missing.is_empty()).then(|| format!("no column {}", missing.join(", and no column ")))
}

/// The sample that a record becomes.
pub(super) fn draft(mut record: Map<String, Value>, args: &Args) -> Result<Draft, String> {
    let source_id = source_id::of(&record)?;
    let id = source_id::ours(&source_id).ok_or_else(|| {
        format!(
            "its id {:?} has no letter a to z and no digit, and so makes no folder's name",
            source_id::shown(&source_id)
        )
    })?;
    for name in source_id::fields() {
        record.remove(*name);
    }
    let repository = text(&mut record, &REPOSITORY)?;
    let commit = text(&mut record, &COMMIT)?;
    let task = text(&mut record, &TASK)?;
    if repository.is_empty() || commit.is_empty() || task.is_empty() {
        return Err("needs repo, base_commit and problem_statement".to_owned());
    }
    let (solution, tests) = (text(&mut record, &PATCH)?, text(&mut record, &TESTS)?);
    let (failing, passing) = (names(&mut record, &FAIL_TO_PASS)?, names(&mut record, &PASS_TO_PASS)?);
    let (language, image) = (text(&mut record, &LANGUAGE)?, text(&mut record, &IMAGE)?);
    let command = command(&mut record)?;
    let version = text(&mut record, &VERSION)?;
    let mirror = format!("../{}/{}.git", args.repositories, mirror_name(&repository));

    let mut draft = Draft { id, source_id: source_id.clone(), ..Draft::default() };
    draft.text("title", title(&task));
    draft.text("language", if language.is_empty() { "python" } else { &language });
    draft.text("image", first(&[&image, args.image.as_deref().unwrap_or_default()]));
    draft.text("version", &version);
    draft.text("description", "task.md");
    draft.texts("setup", &args.setup);
    draft.line("\n[codebase]");
    draft.text("git", &mirror);
    draft.text("commit", &commit);
    let changed = patch::paths(&tests);
    draft.line("\n[verification]");
    draft.text("command", &full_command(&command, args, &tests, &changed));
    if !tests.is_empty() {
        draft.text("files", "verification");
        draft.files.push(("verification/.sandshell-tests.patch", tests));
        // The tests are applied to the files that they were made for, whatever has become of these.
        let exact: Vec<_> = changed.iter().map(|path| format!("/{}", escaped(path))).collect();
        draft.texts("protected", &exact);
    }
    let report = args.report.as_deref().unwrap_or("pytest");
    draft.line(&format!("report = {{ format = {} }}", string(report)));
    if report == "exit_code" {
        if !failing.is_empty() || !passing.is_empty() {
            draft.note("FAIL_TO_PASS and PASS_TO_PASS have no counterpart with --report exit_code, and are left out");
        }
    } else {
        draft.texts("fail_to_pass", &failing);
        draft.texts("pass_to_pass", &passing);
    }
    if !solution.is_empty() {
        draft.line("\n[hidden]");
        draft.text("patch", "reference.patch");
        draft.files.push(("reference.patch", solution));
    }
    draft.line("\n[source]");
    draft.text("id", &source_id);
    draft.text("repository", &repository);
    for name in SOURCE {
        match record.remove(name) {
            Some(Value::String(value)) => draft.text(name, &value),
            Some(Value::Null) | None => {}
            Some(value) => draft.text(name, &value.to_string()),
        }
    }
    draft.files.push(("task.md", task));
    if command.is_empty() && args.command.is_none() {
        draft.note("the source names no command that runs the tests: pytest is taken; --command sets another");
    }
    if image.is_empty() && args.image.is_none() {
        draft.note("the source names no image: it is host; --image sets another, which has what the tests need");
    }
    let url = if repository.contains("://") { repository } else { format!("https://github.com/{repository}") };
    let into = args.into.join(&args.repositories).join(format!("{}.git", mirror_name(&url)));
    draft.note(format!(
        "its repository has to be there: git clone --mirror {} {}",
        quoted(&url),
        quoted(&into.display().to_string())
    ));
    for (name, value) in &record {
        if !is_nothing(value) {
            draft.note(format!("{name} has no counterpart, and is left out"));
        }
    }
    Ok(draft)
}

/// Applies the tests, and runs them.
fn full_command(named: &str, args: &Args, tests: &str, changed: &[String]) -> String {
    let command = first(&[named, args.command.as_deref().unwrap_or_default(), DEFAULT_COMMAND]);
    let files: Vec<_> = changed.iter().map(|path| quoted(path)).collect();
    let command = command.replace("{tests}", &files.join(" ")).trim().to_owned();
    if tests.is_empty() {
        return command;
    }
    // Without git, patch does the same.
    format!(
        "if command -v git >/dev/null; then git apply {TEST_PATCH}; else patch -p1 -s <{TEST_PATCH}; fi && {{ {command}\n}}"
    )
}

/// A text under one of these names, all of which are taken out.
fn text(record: &mut Map<String, Value>, names: &[&str]) -> Result<String, String> {
    let mut found = String::new();
    for name in names {
        match record.remove(*name) {
            Some(Value::String(text)) if found.is_empty() => found = text,
            // Another name of the same thing.
            Some(Value::String(_) | Value::Null) | None => {}
            Some(Value::Number(number)) if found.is_empty() => found = number.to_string(),
            Some(_) => return Err(format!("{name} is not text")),
        }
    }
    if found.contains('\0') { Err(format!("{} has a NUL", names[0])) } else { Ok(found) }
}

/// The command may be a list of commands, which follow each other.
fn command(record: &mut Map<String, Value>) -> Result<String, String> {
    for name in COMMAND {
        if let Some(Value::Array(all)) = record.get(name) {
            let all: Option<Vec<_>> = all.iter().map(Value::as_str).collect();
            let joined = all.ok_or_else(|| format!("{name} is not a list of texts"))?.join(" && ");
            record.insert(name.to_owned(), joined.into());
        }
    }
    text(record, &COMMAND)
}

/// Names of tests: a list, or a list that is written as JSON in a text.
fn names(record: &mut Map<String, Value>, names: &[&str]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for name in names {
        let wrong = || format!("{name} is not a list of names");
        let list: Vec<String> = match record.remove(*name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) if text.trim().is_empty() => continue,
            Some(Value::String(text)) => serde_json::from_str(&text).map_err(|_| wrong())?,
            Some(value) => serde_json::from_value(value).map_err(|_| wrong())?,
        };
        found.extend(list);
    }
    found.retain(|name| !name.trim().is_empty());
    found.sort();
    found.dedup();
    Ok(found)
}

fn first<'a>(texts: &[&'a str]) -> &'a str {
    texts.iter().copied().find(|text| !text.is_empty()).unwrap_or_default()
}

/// The first line that says something.
fn title(task: &str) -> &str {
    let line = task.lines().map(|line| line.trim_start_matches('#').trim()).find(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    let line = line.split(char::is_control).next().unwrap_or_default();
    &line[..line.floor_char_boundary(200)]
}

/// `owner/name` or a URL, as the name of a mirror.
fn mirror_name(repository: &str) -> String {
    let path = repository.trim_end_matches('/').trim_end_matches(".git");
    let mut parts: Vec<_> = path.rsplit('/').take(2).filter_map(source_id::ours).collect();
    parts.reverse();
    parts.join("__")
}

/// A path as a line of .gitignore: what means something there means itself.
fn escaped(path: &str) -> String {
    let mut escaped = String::new();
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | ' ') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
