//! What went wrong, as server, zygote, starters and first processes tell each other: the step, and the system's error number.

use crate::runtime::RuntimeError;
use serde::{Deserialize, Serialize};
use std::io;

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// What was being done.
    pub(super) step: String,
    /// The system's error number; 0 when it had none.
    pub(super) errno: i32,
    /// Whether the image is to blame.
    pub(super) image: bool,
    /// Whether a volume is.
    #[serde(default)]
    pub(super) volume: bool,
}

impl Failure {
    pub(super) fn new(step: impl Into<String>, error: &io::Error) -> Self {
        let (mut step, errno) = (step.into(), error.raw_os_error().unwrap_or(0));
        if errno == 0 {
            step = format!("{step} ({error})");
        }
        Self { step, errno, image: false, volume: false }
    }

    pub(super) fn image(step: impl Into<String>, error: &io::Error) -> Self {
        Self { image: true, ..Self::new(step, error) }
    }

    /// The same as the fault of the volume that is to be mounted there.
    pub(super) fn about_volume(self, path: &str) -> Self {
        Self { volume: true, step: format!("the volume for {path} cannot be mounted: {}", self.step), ..self }
    }

    pub(super) fn cause(&self) -> io::Error {
        match self.errno {
            0 => io::Error::other("see the step"),
            errno => io::Error::from_raw_os_error(errno),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.cause())
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> Self {
        let source = failure.cause();
        if failure.volume {
            let cause = if failure.errno == 0 { String::new() } else { format!(": {source}") };
            Self::Volume(format!("{}{cause}", failure.step))
        } else if failure.image {
            Self::Image(format!("{}: {source}", failure.step))
        } else if matches!(failure.errno, libc::EMFILE | libc::ENFILE) {
            Self::Unavailable(format!("{}: {source}; the same call may succeed later", failure.step))
        } else {
            Self::Failed { step: failure.step, source }
        }
    }
}

/// Names the step of an error.
pub(super) trait Step<T> {
    /// Fails with the step's name.
    fn step(self, name: &str) -> Result<T, Failure>;
    /// Fails with a step's name that is only built on failure.
    fn step_with(self, name: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, name: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(name, &error.into()))
    }
    fn step_with(self, name: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(name(), &error.into()))
    }
}
