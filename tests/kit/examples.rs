//! The example dataset of this repository, on every runtime, and what does its tasks.

use super::{Runtime, Sandbox, Server, create_sandbox, datasets::git, v1, verifying::Verifier};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Its name.
pub const DATASET: &str = "first-steps";

/// All of its samples.
pub const SAMPLES: [&str; 8] = [
    "c-ring",
    "c-utf8",
    "javascript-cache",
    "javascript-query",
    "python-intervals",
    "python-quotes",
    "shell-rotate",
    "shell-versions",
];

/// Those for which the test image of Docker has all that they need.
const ON_DOCKER: [&str; 4] = ["python-intervals", "python-quotes", "shell-rotate", "shell-versions"];

/// The directory of the datasets.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/datasets")
}

/// The directory of a sample.
pub fn sample(id: &str) -> PathBuf {
    examples().join(DATASET).join(id)
}

/// The patch that does the task of a sample.
pub fn reference(id: &str) -> String {
    fs::read_to_string(sample(id).join("reference.patch")).unwrap()
}

/// Runs a program of this host's, which must succeed.
pub fn runs(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// The files of a sample that its reference patch changes, as they are then.
pub fn solved(id: &str) -> Vec<(String, String)> {
    let at = tempfile::tempdir().unwrap();
    runs("cp", &[Path::new("-r"), &sample(id).join("code/."), at.path()]);
    let patch = sample(id).join("reference.patch");
    git(at.path(), &["apply", patch.to_str().unwrap()]);
    let reference = reference(id);
    let changed = reference.lines().filter_map(|line| line.strip_prefix("+++ b/"));
    changed.map(|path| (path.to_owned(), fs::read_to_string(at.path().join(path)).unwrap())).collect()
}

/// The names of the tests that decide of a sample.
pub fn deciding(id: &str) -> Vec<String> {
    let toml = fs::read_to_string(sample(id).join("sample.toml")).unwrap();
    let lists = &toml[toml.find("fail_to_pass").expect("its tests")..toml.find("protected").expect("what it protects")];
    let names: Vec<_> = lists.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(names.len() > 2, "{id}: {names:?}");
    names
}

/// A server with the example dataset, changed for this test if it has to be.
pub struct Examples {
    /// It.
    pub server: Server,
    /// What starts its sandboxes.
    pub on: Runtime,
    // Removed after the server has ended.
    catalogue: Option<tempfile::TempDir>,
}

impl Examples {
    /// As it is; on Docker with the test image, and with the samples for which that has all that they need.
    pub fn new(on: Runtime) -> Self {
        match on {
            Runtime::Linux => Self::serve(on, None),
            Runtime::Docker => Self::with(on, |_| ()),
        }
    }

    /// A copy in which each `sample.toml` was changed.
    pub fn with(on: Runtime, change: impl Fn(&mut String)) -> Self {
        let catalogue = tempfile::tempdir().unwrap();
        let set = catalogue.path().join(DATASET);
        fs::create_dir(&set).unwrap();
        runs("cp", &[&examples().join(DATASET).join("dataset.toml"), &set]);
        for id in samples(on) {
            runs("cp", &[Path::new("-r"), &sample(id), &set]);
            let toml = set.join(id).join("sample.toml");
            let mut text = fs::read_to_string(&toml).unwrap();
            if on == Runtime::Docker {
                text = text.replace("image = \"host\"", &format!("image = \"{}\"", on.image()));
            }
            change(&mut text);
            fs::write(&toml, text).unwrap();
        }
        Self::serve(on, Some(catalogue))
    }

    fn serve(on: Runtime, catalogue: Option<tempfile::TempDir>) -> Self {
        let mut options = on.options();
        let place = catalogue.as_ref().map_or_else(examples, |copy| copy.path().to_owned());
        options.args.extend(["--catalog".to_owned(), place.display().to_string()]);
        Self { server: Server::start(options), on, catalogue }
    }

    /// Where the datasets are that it has.
    pub fn catalogue(&self) -> PathBuf {
        self.catalogue.as_ref().map_or_else(examples, |copy| copy.path().to_owned())
    }

    /// A sandbox made from a sample.
    pub async fn sandbox(&self, id: &str) -> Sandbox {
        let sample = Some(v1::SampleSource { sample_id: id.to_owned(), ..Default::default() });
        create_sandbox(&self.server, v1::CreateSandboxRequest { sample, ..Default::default() }).await
    }

    /// A client for verifications.
    pub async fn client(&self) -> Verifier {
        Verifier::on(self.server.connect().await.channel)
    }
}

/// The samples that can be tried on a runtime.
pub fn samples(on: Runtime) -> &'static [&'static str] {
    match on {
        Runtime::Linux => &SAMPLES,
        Runtime::Docker => &ON_DOCKER,
    }
}
