//! What the copy of a directory does not have, although it is in the sandbox: repositories, and what an archive has no place for.

use super::{credentials::Channel, error::CliError, inside::Inside, wanted::Wanted};
use crate::{
    api::v1::{FindRequest, StatRequest, file::Type, file_service_client::FileServiceClient},
    archive::Patterns,
};
use std::path::Path;

/// The directory of a repository, or the file that names it. What a sandbox has written there would run on this host as soon as
/// somebody calls git.
pub(super) const GIT: &str = ".git";

/// As many are looked for, and so many of them are named.
const MOST: i32 = 1000;
const NAMED: usize = 5;

/// Says which repositories stay in the sandbox.
pub(super) async fn say_repositories(
    files: &FileServiceClient<Channel>,
    from: &Inside,
    wanted: &Wanted,
) -> Result<(), CliError> {
    let (found, has_more) =
        find(files, from, wanted, FindRequest { globs: vec![GIT.to_owned()], ..Default::default() }).await?;
    if found.is_empty() {
        return Ok(());
    }
    let many = found.len();
    // Names are a stranger's, and may have what a terminal obeys.
    let named: Vec<_> = found.iter().take(NAMED).map(|name| name.escape_debug().to_string()).collect();
    let mut names = named.join(", ");
    if has_more {
        names = format!("{names} and many more");
    } else if many > NAMED {
        names = format!("{names} and {} more", many - NAMED);
    }
    let (stay, them) = if many == 1 { ("stays", "it") } else { ("stay", "them") };
    eprintln!(
        "sandshell: {names} {stay} in the sandbox, because git runs what its configuration and hooks say; --git copies {them} too"
    );
    Ok(())
}

/// FIFOs, sockets and devices, which no archive has, each with the reason. Those of repositories that stay are not named.
pub(super) async fn special(
    files: &FileServiceClient<Channel>,
    from: &Inside,
    wanted: &Wanted,
) -> Result<Vec<String>, CliError> {
    let other = FindRequest { types: vec![Type::Other.into()], ..Default::default() };
    let mut wanted = wanted.clone();
    if !wanted.git {
        wanted.exclude.push(GIT.to_owned());
    }
    let (found, has_more) = find(files, from, &wanted, other).await?;
    let mut left: Vec<String> =
        found.iter().map(|name| format!("{}: it is a FIFO, a socket or a device", name.escape_debug())).collect();
    if has_more {
        left.push(format!("more than {MOST} FIFOs, sockets and devices"));
    }
    Ok(left)
}

/// Paths below the directory that are wanted, and whether there are more.
async fn find(
    files: &FileServiceClient<Channel>,
    from: &Inside,
    wanted: &Wanted,
    request: FindRequest,
) -> Result<(Vec<String>, bool), CliError> {
    let excluded = Patterns::new(wanted.exclude.iter().map(String::as_str));
    let excluded = excluded.map_err(|wrong| CliError::option(format!("--exclude {wrong}")))?;
    let is_excluded = |path: &str| {
        let above = Path::new(path).ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        excluded.says(path.as_bytes(), false) == Some(true)
            || above.into_iter().any(|above| excluded.says(above.as_os_str().as_encoded_bytes(), true) == Some(true))
    };
    let request = FindRequest {
        sandbox_id: from.sandbox_id.clone(),
        path: from.path.clone(),
        user: wanted.user.clone(),
        ignored: Some(wanted.ignored),
        modified_after: wanted.since,
        max_results: MOST,
        ..request
    };
    let mut found = files.clone().find(request).await?.into_inner();
    let (mut paths, mut has_more) = (Vec::new(), false);
    while let Some(message) = found.message().await? {
        has_more = message.limit_reached;
        let Some(file) = message.file else { continue };
        paths.push(file.path);
    }
    if paths.is_empty() {
        return Ok((paths, false));
    }
    // They are told from the root, whatever the directory was called.
    let Inside { sandbox_id, path } = from.clone();
    let request = StatRequest { sandbox_id, path, user: wanted.user.clone(), ..Default::default() };
    let top = files.clone().stat(request).await?.into_inner().path;
    let below = |path: String| path.strip_prefix(&top).map(|below| below.trim_start_matches('/').to_owned());
    Ok((paths.into_iter().filter_map(below).filter(|path| !is_excluded(path)).collect(), has_more))
}
