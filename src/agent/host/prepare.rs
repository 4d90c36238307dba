//! What is made ready in a new sandbox before its creator is told of it: the user that everything runs as, and the directory
//! that everything begins in.

use crate::{
    agent::{config::AgentConfig, file::Identity, users::User},
    api::agent::v1::PrepareResponse,
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
};

/// Looks for the sandbox's own user, and makes the working directory if it was asked for. Nothing else runs in the sandbox yet, so
/// nobody changes a directory between the steps.
pub(in crate::agent) fn prepare(config: &AgentConfig) -> PrepareResponse {
    let unusable = |why: String| PrepareResponse { unusable_directory: why, ..PrepareResponse::default() };
    let impossible = |why: String| PrepareResponse { impossible_user: why, ..PrepareResponse::default() };
    let user = match config.user.as_str() {
        "" => None,
        name => match User::find(name) {
            Ok(user) => Some(user),
            Err(why) => return PrepareResponse { unknown_user: why.to_string(), ..PrepareResponse::default() },
        },
    };
    if let Some(user) = &user {
        if let Err(why) = user.can_be() {
            return impossible(why.to_string());
        }
        if let Some(directory) = &config.given_directory
            && let Err(error) = chown(directory, Some(user.uid), Some(user.gid))
        {
            return impossible(format!("{directory} cannot be given to {}: {error}", user.name));
        }
    }
    if !config.makes_directory {
        return PrepareResponse::default();
    }
    let directory = Path::new(&config.working_directory);
    if let Err((path, error)) = make(directory, user.as_ref()) {
        return unusable(format!("directory \"{}\" cannot be made in this sandbox: {error}", path.display()));
    }
    match enter(directory, user) {
        Ok(()) => PrepareResponse::default(),
        Err(why) => unusable(format!("\"{}\" cannot be the working directory: {why}", directory.display())),
    }
}

/// Makes the directories that are missing, and gives each to the user.
fn make(directory: &Path, user: Option<&User>) -> Result<(), (PathBuf, io::Error)> {
    let mut missing = Vec::new();
    for path in directory.ancestors() {
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(path),
            // What is there but is no directory, or cannot be looked at, shows when the first one is made in it.
            Ok(_) | Err(_) => break,
        }
    }
    for path in missing.into_iter().rev() {
        let failed = |error| (path.to_owned(), error);
        DirBuilder::new().mode(0o755).create(path).map_err(failed)?;
        if let Some(user) = user {
            chown(path, Some(user.uid), Some(user.gid)).map_err(failed)?;
        }
    }
    Ok(())
}

/// Whether the user can be in a directory.
fn enter(directory: &Path, user: Option<User>) -> Result<(), String> {
    let identity = user.map_or(Identity::Own, Identity::Of);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entered = identity.act(|| {
        // The name of itself in it is found only by who may search it.
        Ok(openat(CWD, directory.join("."), flags, Mode::empty()).map_err(io::Error::from))
    });
    match entered {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path) -> AgentConfig {
        AgentConfig {
            sandbox_id: "sbx-1".into(),
            env: Default::default(),
            working_directory: directory.to_str().unwrap().into(),
            memory_bytes: None,
            background_is_activity: false,
            user: String::new(),
            given_directory: None,
            makes_directory: true,
        }
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let wanted = root.path().join("a/b/c");
        assert_eq!(prepare(&config(&wanted)), PrepareResponse::default());
        assert!(wanted.is_dir());
        assert_eq!(prepare(&config(&wanted)), PrepareResponse::default());
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("nothing", root.path().join("link")).unwrap();
        for path in [file.clone(), file.join("below"), root.path().join("link"), root.path().join("link/below")] {
            let answer = prepare(&config(&path));
            assert!(answer.unusable_directory.contains(path.to_str().unwrap()), "{answer:?}");
        }
    }

    #[test]
    fn nothing_is_made_that_was_not_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let wanted = root.path().join("a");
        let answer = prepare(&AgentConfig { makes_directory: false, ..config(&wanted) });
        assert_eq!(answer, PrepareResponse::default());
        assert!(!wanted.exists());
    }
}
