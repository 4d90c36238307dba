//! `sandshell edit`: a file of a sandbox in an editor here.

use super::{
    client::Remote,
    error::CliError,
    files,
    inside::{Inside, inside},
    log::{self, LogFormat},
};
use crate::api::v1::{WriteOpen, file_service_client::FileServiceClient};
use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::SystemTime,
};
use tokio::signal::unix::{SignalKind, signal};
use tonic::Status;
use tonic_types::StatusExt;

/// When a copy was written last of which the editor has written nothing yet.
const UNWRITTEN: SystemTime = SystemTime::UNIX_EPOCH;

/// Options of `edit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// A file of a sandbox: SANDBOX:PATH. One that is not there is made
    #[arg(value_name = "SANDBOX:PATH", value_parser = inside)]
    file: Inside,
    /// As whom: name or number, and :GROUP if wanted
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    user: String,
}

/// Opens the editor on a copy, and writes the copy back when the editor has ended.
pub(super) fn main(args: &Args) -> Result<(), CliError> {
    log::start(None, "error", LogFormat::Text)?;
    super::block_on(async {
        let files = args.remote.connect().await?.files;
        let copy = Copy::new(&args.file.path)?;
        let etag = match fetch(&files, args, &copy.path).await {
            Ok(etag) => etag,
            Err(error) => {
                copy.remove();
                return Err(error);
            }
        };
        let before = fs::read(&copy.path).map_err(|error| CliError::io("read the copy", error))?;
        let ended = edit(copy.path.clone()).await;
        let after = match fs::read(&copy.path) {
            Ok(after) => after,
            Err(error) => {
                // There is nothing that could be lost.
                if error.kind() == io::ErrorKind::NotFound {
                    copy.remove();
                }
                return Err(CliError::io("read the copy after the editor", error));
            }
        };
        let kept = |why: String| CliError::Kept { why, path: copy.path.clone() };
        let has_ended_well = match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the editor ended with {status}")),
            Err(error) => Err(error.to_string()),
        };
        // A file that was not there is made as soon as the editor has written it, also if nothing is in it.
        let is_made = etag.is_none() && copy.was_written();
        if after == before && !is_made {
            copy.remove();
            return match has_ended_well {
                Ok(()) => {
                    eprintln!("sandshell: nothing was changed");
                    Ok(())
                }
                Err(why) => Err(CliError::option(format!("{why}; nothing was changed"))),
            };
        }
        has_ended_well.map_err(kept)?;
        let Inside { sandbox_id, path } = args.file.clone();
        let (user, exclusive) = (args.user.clone(), etag.is_none());
        let if_etag = etag.unwrap_or_default();
        let open = WriteOpen { sandbox_id, path, user, exclusive, if_etag, ..WriteOpen::default() };
        let source = tokio::fs::File::open(&copy.path).await.map_err(|error| CliError::io("read the copy", error))?;
        files::write(files, open, source).await.map_err(|error| kept(error.to_string()))?;
        copy.remove();
        Ok(())
    })
}

/// Brings the file here, and returns its etag: none if it is not there.
async fn fetch(
    files: &FileServiceClient<super::credentials::Channel>,
    args: &Args,
    to: &Path,
) -> Result<Option<String>, CliError> {
    let etag = std::cell::RefCell::new(None);
    let create = || fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to);
    let read = files::read(files.clone(), &args.file, &args.user, |file| {
        etag.replace(Some(file.etag.clone()));
        create()
    });
    match read.await {
        Ok(_) => Ok(etag.take()),
        Err(CliError::Refused(status)) if is_not_found(&status) => {
            let made = create().and_then(|copy| copy.set_modified(UNWRITTEN));
            made.map_err(|error| CliError::io("make the copy", error))?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_not_found(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == "FILE_NOT_FOUND")
}

/// A copy in a directory of its own, with the name of the original, by which editors know what is in it.
struct Copy {
    directory: PathBuf,
    path: PathBuf,
}

impl Copy {
    fn new(original: &str) -> Result<Self, CliError> {
        let name = Path::new(original).file_name();
        let name = name.ok_or_else(|| CliError::option(format!("{original} names no file")))?;
        let directory = env::temp_dir().join(format!("sandshell-edit-{}", uuid::Uuid::new_v4().simple()));
        let made = fs::DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(|error| CliError::io("make a directory for the copy", error))?;
        let path = directory.join(name);
        Ok(Self { directory, path })
    }

    /// Whether a copy of a file that is not there has been written since it was made.
    fn was_written(&self) -> bool {
        fs::metadata(&self.path).and_then(|copy| copy.modified()).is_ok_and(|at| at != UNWRITTEN)
    }

    /// Removes it, with what the editor has left beside it.
    fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("sandshell: {} could not be removed: {error}", self.directory.display());
        }
    }
}

/// Runs the editor to its end. Its command may have arguments, so a shell takes it apart, as for git.
async fn edit(path: PathBuf) -> Result<ExitStatus, CliError> {
    let named = |name| env::var_os(name).filter(|value| !value.is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".into());
    // The terminal sends what is typed there (Ctrl-C) to both; it is meant for the editor alone.
    let heard = [SignalKind::interrupt(), SignalKind::quit()].map(signal);
    let run = tokio::task::spawn_blocking(move || {
        let mut script = editor;
        script.push(" \"$@\"");
        Command::new("sh").arg("-c").arg(&script).args([OsString::from("sh"), path.into()]).status()
    });
    let ended = run.await.map_err(|error| CliError::io("run the editor", std::io::Error::other(error)))?;
    drop(heard);
    ended.map_err(|error| CliError::io("run the editor", error))
}
