//! Reads one sample, and finds all its mistakes at once.

use super::{
    Codebase, Hidden, Report, ReportFormat, Sample, Verification,
    document::{self, Located, Mistakes, Section, Time},
    fingerprint,
    places::{self, Form},
    problem::Problem,
};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Duration,
};

/// The file that makes a directory a sample.
pub(super) const SAMPLE: &str = "sample.toml";

/// Bytes of a `sample.toml`; of a description, which has to fit into an answer.
const MOST_TOML: u64 = 1 << 20;
const MOST_DESCRIPTION: u64 = 1 << 20;

/// Characters of a title; of an id, a language, a tag, a version, an image.
const MOST_TITLE: usize = 1000;
const MOST_WORD: usize = 200;
const MOST_TAGS: usize = 64;

/// Bytes of a command.
const MOST_COMMAND: usize = 128 << 10;

/// Commands of `setup`, and patterns of `protected`.
const MOST_COMMANDS: usize = 100;
const MOST_PATTERNS: usize = 1000;

const SETUP_TIMEOUT: Duration = Duration::from_secs(600);
const VERIFICATION_TIMEOUT: Duration = Duration::from_secs(300);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(86_400);

const KEYS: [&str; 13] = [
    "id",
    "title",
    "language",
    "tags",
    "image",
    "description",
    "version",
    "setup",
    "setup_timeout",
    "codebase",
    "verification",
    "hidden",
    "source",
];
const CODEBASE_KEYS: [&str; 4] = ["git", "commit", "directory", "archive"];
const VERIFICATION_KEYS: [&str; 8] =
    ["command", "files", "timeout", "report", "fail_to_pass", "pass_to_pass", "protected", "network"];
const REPORT_KEYS: [&str; 3] = ["format", "path", "command"];

/// A sample's directory and where it belongs. All paths are absolute and without links.
pub(super) struct Place<'a> {
    /// What the dataset is called.
    pub(super) dataset: &'a str,
    /// The directory of `sample.toml`.
    pub(super) directory: &'a Path,
    /// What repositories have to be below: samples may have one repository together.
    pub(super) catalogue: &'a Path,
}

/// A sample, and the line of its id, for who finds another one of that id.
pub(super) fn sample(place: &Place<'_>) -> Result<(Sample, Option<usize>), Vec<Problem>> {
    let file = place.directory.join(SAMPLE);
    let text = places::text(&file, MOST_TOML).map_err(|wrong| vec![Problem::of(&file, wrong)])?;
    let (section, mut mistakes) = document::read(&file, &text);
    let Some(section) = section else { return Err(mistakes.finish()) };
    let (sample, id_at) = read(section, place, &mut mistakes);
    let mistakes_are_none = mistakes.is_empty();
    let mut problems = mistakes.finish();
    match sample {
        Some(mut sample) if mistakes_are_none => match fingerprint::of(&sample) {
            Ok(fingerprint) => {
                sample.fingerprint = fingerprint;
                return Ok((sample, id_at.map(|at| document::line(&text, at))));
            }
            Err(error) => problems.push(Problem::of(place.directory, error.to_string())),
        },
        _ => {}
    }
    Err(problems)
}

fn read(mut top: Section<'_>, place: &Place<'_>, mistakes: &mut Mistakes<'_>) -> (Option<Sample>, Option<usize>) {
    let id = top.take::<String>("id", mistakes);
    let id_at = id.as_ref().map(|id| id.at);
    let folder = place.directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let id = id.unwrap_or(Located { value: folder, at: 0 });
    if let Err(wrong) = is_name(&id.value) {
        mistakes.add(id.at, format!("id: {:?} {wrong}", id.value));
    }
    let title = word(&mut top, "title", MOST_TITLE, mistakes);
    let language = word(&mut top, "language", MOST_WORD, mistakes).to_lowercase();
    let image = word(&mut top, "image", MOST_WORD, mistakes);
    let version = word(&mut top, "version", MOST_WORD, mistakes);
    let tags = words(&mut top, "tags", MOST_TAGS, MOST_WORD, mistakes);
    let setup = words(&mut top, "setup", MOST_COMMANDS, MOST_COMMAND, mistakes);
    let setup_timeout = time(&mut top, "setup_timeout", SETUP_TIMEOUT, mistakes);
    let description = description(&mut top, place, mistakes);
    let codebase = match top.section("codebase", mistakes) {
        Some(section) => codebase(section, place, mistakes),
        None => {
            mistakes.add(0, "[codebase] is missing: it has git and commit, or directory, or archive");
            None
        }
    };
    let verification = match top.section("verification", mistakes) {
        Some(section) => verification(section, place, mistakes),
        None => {
            mistakes.add(0, "[verification] is missing: it has the command that runs the tests");
            None
        }
    };
    let hidden = top.section("hidden", mistakes).map(|mut section| {
        let patch = path(&mut section, "patch", place.directory, place, Form::File, mistakes);
        section.finish(&["patch"], mistakes);
        Hidden { patch }
    });
    // What an importer has noted of where the sample is from. Nobody reads it, so nothing of it is wrong.
    drop(top.take::<toml::Table>("source", mistakes));
    top.finish(&KEYS, mistakes);
    let sample = codebase.zip(verification).map(|(codebase, verification)| Sample {
        dataset: place.dataset.to_owned(),
        title: if title.is_empty() { id.value.clone() } else { title },
        id: id.value,
        directory: place.directory.to_owned(),
        language,
        tags,
        image: if image.is_empty() { "host".to_owned() } else { image },
        description: description.unwrap_or_default(),
        version: if version.is_empty() { "1".to_owned() } else { version },
        codebase,
        setup,
        setup_timeout,
        verification,
        hidden: hidden.unwrap_or_default(),
        fingerprint: String::new(),
    });
    (sample, id_at)
}

fn description(top: &mut Section<'_>, place: &Place<'_>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let named = top.need::<String>("description", "the Markdown file that describes the task", mistakes)?;
    let file = places::below(place.directory, place.directory, &named.value, Form::File);
    let text =
        file.and_then(|file| places::text(&file, MOST_DESCRIPTION).map_err(|wrong| format!("{} {wrong}", named.value)));
    text.map_err(|wrong| mistakes.add(named.at, format!("description: {wrong}"))).ok()
}

fn codebase(mut section: Section<'_>, place: &Place<'_>, mistakes: &mut Mistakes<'_>) -> Option<Codebase> {
    let start = section.start();
    let git = path(&mut section, "git", place.catalogue, place, Form::Either, mistakes);
    let commit = section.take::<String>("commit", mistakes);
    let directory = path(&mut section, "directory", place.directory, place, Form::Directory, mistakes);
    let archive = path(&mut section, "archive", place.directory, place, Form::File, mistakes);
    section.finish(&CODEBASE_KEYS, mistakes);
    if let Some(commit) = commit.as_ref().filter(|commit| !is_commit(&commit.value)) {
        let message = "codebase.commit: must be the full id of a commit, 40 or 64 hexadecimal digits, because a name may lead elsewhere tomorrow";
        mistakes.add(commit.at, message);
        return None;
    }
    match (git, commit, directory, archive) {
        (Some(repository), Some(commit), None, None) => {
            Some(Codebase::Git { repository, commit: commit.value.to_ascii_lowercase() })
        }
        (None, None, Some(directory), None) => Some(Codebase::Directory(directory)),
        (None, None, None, Some(archive)) => Some(Codebase::Archive(archive)),
        // A path that leads nowhere was told before.
        _ if !mistakes.is_empty() => None,
        _ => {
            mistakes.add(start, "[codebase] must have either git and commit, or directory, or archive");
            None
        }
    }
}

fn verification(mut section: Section<'_>, place: &Place<'_>, mistakes: &mut Mistakes<'_>) -> Option<Verification> {
    let command = section.need::<String>("command", "the shell command that runs the tests", mistakes);
    if let Some(command) = command.as_ref().filter(|command| command.value.trim().is_empty()) {
        mistakes.add(command.at, "verification.command: is empty");
    }
    if let Some(command) = command.as_ref().filter(|command| !is_text(&command.value, MOST_COMMAND)) {
        mistakes.add(command.at, format!("verification.command: must have at most {MOST_COMMAND} bytes, and no NUL"));
    }
    let files = path(&mut section, "files", place.directory, place, Form::Directory, mistakes);
    let timeout = time(&mut section, "timeout", VERIFICATION_TIMEOUT, mistakes);
    let report = match section.section("report", mistakes) {
        Some(section) => report(section, mistakes),
        None => Some(Report { format: ReportFormat::ExitCode, path: None, command: None }),
    };
    let most = MOST_TOML as usize;
    let start = section.start();
    let fail_to_pass = words(&mut section, "fail_to_pass", most, most, mistakes);
    let pass_to_pass = words(&mut section, "pass_to_pass", most, most, mistakes);
    let protected = protected(&mut section, mistakes);
    let network = section.take::<bool>("network", mistakes).is_some_and(|network| network.value);
    section.finish(&VERIFICATION_KEYS, mistakes);
    let before: HashSet<_> = pass_to_pass.iter().collect();
    if let Some(both) = fail_to_pass.iter().find(|name| before.contains(name)) {
        mistakes.add(start, format!("verification: {both:?} is in fail_to_pass and in pass_to_pass"));
    }
    let report = report?;
    if report.format == ReportFormat::ExitCode && !(fail_to_pass.is_empty() && pass_to_pass.is_empty()) {
        let message =
            "verification: fail_to_pass and pass_to_pass need a report that names tests, and its format is exit_code";
        mistakes.add(start, message);
    }
    let command = command?.value;
    Some(Verification { command, files, timeout, report, fail_to_pass, pass_to_pass, protected, network })
}

fn report(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<Report> {
    let start = section.start();
    let format = section.need::<String>("format", "the form of the report", mistakes);
    let path = section.take::<String>("path", mistakes);
    let command = section.take::<String>("command", mistakes);
    section.finish(&REPORT_KEYS, mistakes);
    if let Some(path) = path.as_ref().filter(|path| path.value.is_empty() || !is_text(&path.value, 4096)) {
        mistakes.add(path.at, "verification.report.path: must be a path of at most 4096 bytes");
    }
    let format = format?;
    let Some(known) = ReportFormat::from_name(&format.value) else {
        let names = ReportFormat::NAMES.map(|(name, _)| name).join(", ");
        mistakes.add(format.at, format!("verification.report.format: {:?} is none of {names}", format.value));
        return None;
    };
    if (known == ReportFormat::Command) != command.is_some() {
        mistakes.add(start, "verification.report: command and format = \"command\" go together");
    }
    if known == ReportFormat::Junit && path.is_none() {
        mistakes.add(start, "verification.report: path is missing: the file that the report is written to");
    }
    let (path, command) = (path.map(|path| path.value), command.map(|command| command.value));
    Some(Report { format: known, path, command })
}

fn protected(section: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Vec<String> {
    let Some(patterns) = section.take::<Vec<toml::Spanned<String>>>("protected", mistakes) else { return Vec::new() };
    if patterns.value.len() > MOST_PATTERNS {
        mistakes.add(patterns.at, format!("verification.protected: may have at most {MOST_PATTERNS} patterns"));
    }
    for pattern in &patterns.value {
        let mut builder = ignore::gitignore::GitignoreBuilder::new("/");
        if pattern.get_ref().trim().is_empty() {
            mistakes.add(pattern.span().start, "verification.protected: a pattern is empty");
        } else if let Err(error) = builder.add_line(None, pattern.get_ref()) {
            mistakes.add(pattern.span().start, format!("verification.protected: {error}"));
        }
    }
    patterns.value.into_iter().map(toml::Spanned::into_inner).collect()
}

fn path(
    section: &mut Section<'_>,
    key: &str,
    bound: &Path,
    place: &Place<'_>,
    form: Form,
    mistakes: &mut Mistakes<'_>,
) -> Option<PathBuf> {
    let named = section.take::<String>(key, mistakes)?;
    let found = places::below(bound, place.directory, &named.value, form);
    found.map_err(|wrong| mistakes.add(named.at, format!("{key}: {wrong}"))).ok()
}

/// Text of one line that may be missing.
fn word(section: &mut Section<'_>, key: &str, most: usize, mistakes: &mut Mistakes<'_>) -> String {
    let Some(word) = section.take::<String>(key, mistakes) else { return String::new() };
    if word.value.chars().count() > most || word.value.chars().any(char::is_control) {
        mistakes.add(word.at, format!("{key}: must be one line of at most {most} characters"));
    }
    word.value.trim().to_owned()
}

/// A list that may be missing.
fn words(
    section: &mut Section<'_>,
    key: &str,
    most: usize,
    longest: usize,
    mistakes: &mut Mistakes<'_>,
) -> Vec<String> {
    let Some(words) = section.take::<Vec<toml::Spanned<String>>>(key, mistakes) else { return Vec::new() };
    if words.value.len() > most {
        mistakes.add(words.at, format!("{key}: may have at most {most} entries"));
    }
    for word in &words.value {
        if word.get_ref().trim().is_empty() || !is_text(word.get_ref(), longest) {
            mistakes.add(word.span().start, format!("{key}: an entry must have 1 to {longest} bytes, and no NUL"));
        }
    }
    words.value.into_iter().map(toml::Spanned::into_inner).collect()
}

fn time(section: &mut Section<'_>, key: &str, default: Duration, mistakes: &mut Mistakes<'_>) -> Duration {
    let Some(time) = section.take::<Time>(key, mistakes) else { return default };
    if !(SHORTEST..=LONGEST).contains(&time.value.0) {
        mistakes.add(time.at, format!("{key}: must be 1s to 1d"));
    }
    time.value.0
}

fn is_text(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.contains('\0')
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether this can name a dataset or a sample.
pub(super) fn is_name(name: &str) -> Result<(), &'static str> {
    let fits = (1..=MOST_WORD).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte));
    if fits {
        Ok(())
    } else {
        Err("must begin with a letter or digit, and have only letters, digits and ._+- (at most 200)")
    }
}
