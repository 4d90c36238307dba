//! A task folder of Harbor (`task.toml`, `instruction.md`, `environment/`, `tests/test.sh`, `solution/`) or of terminal-bench before it
//! (`task.yaml`, `Dockerfile`, `run-tests.sh`, `tests/`).

use super::{
    super::super::source_id,
    Args,
    draft::{self, Draft},
    words::{quoted, string},
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use toml::Table;

/// Where tasks of Harbor find their tests, and where they write what came of them.
const TESTS: &str = "/tests";
const REWARD: &str = "/logs/verifier/reward.txt";

/// What an environment has beside the files of the task.
const DOCKER_FILES: [&str; 4] = ["Dockerfile", "docker-compose.yaml", "docker-compose.yml", ".dockerignore"];

const MOST_TEXT: u64 = 1 << 20;

/// Whether it is one, as far as its names say.
pub(super) fn is_whole(directory: &Path) -> bool {
    let has = |name: &str| directory.join(name).is_file();
    has("task.yaml") || (has("task.toml") && has("instruction.md"))
}

/// Whether it is meant to be one: something may be missing in it.
pub(super) fn is_task(directory: &Path) -> bool {
    ["task.yaml", "task.toml", "instruction.md"].iter().any(|name| directory.join(name).is_file())
}

/// What a task is called: as its folder, also where that is named by way of another one.
pub(super) fn id(directory: &Path) -> String {
    let whole = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The sample that a task becomes.
pub(super) fn draft(directory: &Path, args: &Args) -> Result<Draft, String> {
    let has = |name: &str| directory.join(name).is_file();
    if has("task.yaml") && !has("task.toml") {
        return Err(
            "task.yaml is of an earlier form; `harbor task migrate` makes a folder with task.toml of it".to_owned()
        );
    }
    for name in ["task.toml", "instruction.md"] {
        if !has(name) {
            return Err(format!("has no {name}, which a task folder needs"));
        }
    }
    let source_id = id(directory);
    let id = source_id::ours(&source_id).ok_or("its name has no letter or digit")?;
    let about = text(directory, "task.toml")?;
    let mut task: Table = about.parse().map_err(|error| format!("task.toml: {}", draft::mistake(&about, &error)))?;
    let instruction = text(directory, "instruction.md")?;
    let (mut metadata, mut verifier) = (section(&mut task, "metadata"), section(&mut task, "verifier"));
    let mut environment = section(&mut task, "environment");
    let mut draft = Draft { id, source_id: source_id.clone(), ..Draft::default() };
    let docker = Dockerfile::read(directory);

    let first_line = instruction.lines().map(|line| line.trim_start_matches('#').trim()).find(|line| !line.is_empty());
    let title = first_line.unwrap_or_default().split(char::is_control).next().unwrap_or_default();
    draft.text("title", &title[..title.floor_char_boundary(200)]);
    let mut tags = texts(&mut metadata, "tags");
    tags.extend(["category", "difficulty"].iter().filter_map(|key| metadata.remove(*key)?.as_str().map(str::to_owned)));
    tags.retain(|tag| !tag.is_empty());
    draft.texts("tags", &tags);
    let image =
        take(&mut environment, "docker_image").or_else(|| args.image.clone()).or(docker.image).unwrap_or_default();
    draft.text("image", &image);
    draft.text("description", "task.md");
    let mut setup = Vec::new();
    if let Some(workdir) = docker.workdir.filter(|workdir| workdir != "/workspace") {
        // The task speaks of its files by this name.
        let (place, above) = (quoted(&workdir), quoted(&parent(&workdir)));
        setup.push(format!("[ -e {place} ] || {{ mkdir -p {above} && ln -s /workspace {place}; }}"));
    }
    setup.extend(args.setup.iter().cloned());
    draft.texts("setup", &setup);
    draft.line("\n[codebase]\ndirectory = \"code\"");
    draft.line("\n[verification]");
    draft.text("command", &format!(
        "rm -rf {TESTS} {REWARD} && mv .sandshell-tests {TESTS} && mkdir -p /logs/verifier && bash {TESTS}/test.sh; \
         test \"$(cat {REWARD})\" = 1 || test \"$(cat {REWARD})\" = 1.0"
    ));
    draft.text("files", "verification");
    if let Some(seconds) = number(&mut verifier, "timeout_sec") {
        draft.line(&format!("timeout = {}", string(&format!("{}s", seconds.ceil().clamp(1.0, 86_400.0)))));
    }
    draft.line("report = { format = \"exit_code\" }");
    draft.line("\n[source]\nformat = \"harbor\"");
    draft.text("id", &source_id);
    for key in ["author_name", "author_email"] {
        draft.text(key, &take(&mut metadata, key).unwrap_or_default());
    }
    draft.files.push(("task.md", instruction));
    let files = directory.join("environment");
    draft.files.push(("code/.keep", String::new()));
    if files.is_dir() {
        draft.trees.push((files, "code", DOCKER_FILES.map(str::to_owned).to_vec()));
    }
    let tests = directory.join("tests");
    if !tests.join("test.sh").is_file() {
        return Err("has no tests/test.sh".to_owned());
    }
    if fetches(&text(&tests, "test.sh")?) {
        draft.note("tests/test.sh seems to fetch something from the network, which a verification has not: have it in the image");
    }
    draft.trees.push((tests, "verification/.sandshell-tests", Vec::new()));
    for line in docker.left_out {
        draft.note(format!("the Dockerfile's {line} is left out: build the image, and name it with --image"));
    }
    if directory.join("solution").is_dir() {
        draft.note("solution/ is a script and not a patch, and is left out");
    }
    if image.is_empty() {
        draft.note("the task names no image: it is host; --image sets another");
    }
    for (name, table) in [("metadata", metadata), ("verifier", verifier), ("environment", environment), ("", task)] {
        for key in table.keys().filter(|key| !matches!(key.as_str(), "version" | "schema_version")) {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            draft.note(format!("{name} of task.toml has no counterpart, and is left out"));
        }
    }
    Ok(draft)
}

/// What a Dockerfile says that can be carried over, and what cannot.
#[derive(Debug, Default)]
struct Dockerfile {
    image: Option<String>,
    workdir: Option<String>,
    left_out: Vec<&'static str>,
}

impl Dockerfile {
    fn read(task: &Path) -> Self {
        let path: PathBuf = task.join("environment/Dockerfile");
        let mut this = Self { workdir: Some("/app".to_owned()), ..Self::default() };
        let Ok(text) = text_of(&path) else { return this };
        for line in text.replace("\\\n", " ").lines() {
            let mut words = line.split_whitespace();
            let Some(word) = words.next() else { continue };
            match word.to_ascii_uppercase().as_str() {
                "FROM" => this.image = words.find(|word| !word.starts_with("--")).map(str::to_owned),
                "WORKDIR" => this.workdir = words.next().map(|path| path.trim_matches('"').to_owned()),
                "RUN" => this.left_out.push("RUN"),
                "ENV" => this.left_out.push("ENV"),
                "COPY" | "ADD" => this.left_out.push("COPY (files of environment/ are all in /workspace)"),
                "USER" => this.left_out.push("USER"),
                _ => {}
            }
        }
        this.left_out.sort_unstable();
        this.left_out.dedup();
        this
    }
}

fn section(table: &mut Table, key: &str) -> Table {
    match table.remove(key) {
        Some(toml::Value::Table(table)) => table,
        _ => Table::new(),
    }
}

fn take(table: &mut Table, key: &str) -> Option<String> {
    table.remove(key)?.as_str().map(str::to_owned)
}

fn texts(table: &mut Table, key: &str) -> Vec<String> {
    let all = table.remove(key).and_then(|all| all.try_into().ok());
    all.unwrap_or_default()
}

fn number(table: &mut Table, key: &str) -> Option<f64> {
    let value = table.remove(key)?;
    value.as_float().or_else(|| value.as_integer().map(|number| number as f64))
}

fn parent(path: &str) -> String {
    Path::new(path).parent().map_or_else(|| "/".to_owned(), |above| above.display().to_string())
}

fn fetches(script: &str) -> bool {
    ["curl ", "wget ", "apt-get ", "apt ", "pip install", "uv ", "uvx ", "npm "]
        .iter()
        .any(|word| script.contains(word))
}

fn text(directory: &Path, name: &str) -> Result<String, String> {
    text_of(&directory.join(name)).map_err(|error| format!("{name}: {error}"))
}

fn text_of(path: &Path) -> Result<String, String> {
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() || about.len() > MOST_TEXT {
        return Err(format!("must be a file of at most {MOST_TEXT} bytes"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}
