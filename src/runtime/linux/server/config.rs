//! What the operator says of this runtime.

use crate::runtime::{RuntimeError, linux::storage::pool};
use std::{path::PathBuf, time::Duration};

/// How long the start of a sandbox may take, unless the operator says otherwise.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Where and how the runtime works.
#[derive(Debug, Clone)]
pub struct LinuxConfig {
    /// Where everything is kept. One server at a time uses it.
    pub data_dir: PathBuf,
    /// The program with the hidden subcommands `zygote` and `agent`. Default: this one.
    pub program: PathBuf,
    /// How many sandboxes are prepared ahead.
    pub pool: usize,
    /// How long the start of a sandbox may take.
    pub start_limit: Duration,
    /// How much the files of all sandboxes may take together.
    pub(super) disk: pool::Size,
}

impl LinuxConfig {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            program: PathBuf::from("/proc/self/exe"),
            pool: 3,
            start_limit: START_LIMIT,
            disk: pool::Size::Disk,
        }
    }

    /// With the operator's options: `pool=N`, `start-limit=SECONDS`, `max-pool-bytes=BYTES`.
    ///
    /// # Errors
    /// If there is no such option, or its value is wrong.
    pub fn with(mut self, options: &[(String, String)]) -> Result<Self, RuntimeError> {
        for (name, value) in options {
            let number = || {
                let wrong = || RuntimeError::Option(format!("{name}={value}: must be a number"));
                value.parse::<u32>().map_err(|_| wrong())
            };
            match name.as_str() {
                "pool" => self.pool = number()? as usize,
                "start-limit" => self.start_limit = Duration::from_secs(number()?.max(1).into()),
                "max-pool-bytes" => {
                    let bytes = value.parse::<u64>();
                    self.disk = match bytes
                        .map_err(|_| RuntimeError::Option(format!("{name}={value}: must be a number")))?
                    {
                        0 => pool::Size::None,
                        bytes @ pool::LEAST.. => pool::Size::Bytes(bytes),
                        bytes => {
                            let message = format!(
                                "{name}={bytes}: must be {} (128M) or more, or 0 for sandboxes whose files nobody limits",
                                pool::LEAST
                            );
                            return Err(RuntimeError::Option(message));
                        }
                    };
                }
                _ => {
                    let message = format!(
                        "{name}: no such option; there are pool=N, start-limit=SECONDS and max-pool-bytes=BYTES"
                    );
                    return Err(RuntimeError::Option(message));
                }
            }
        }
        Ok(self)
    }
}
