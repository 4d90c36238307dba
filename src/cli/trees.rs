//! Directories on their way into a sandbox and out of it. What comes out is a stranger's archive: it is unpacked by the same rules
//! as in a sandbox, so that nothing outside of the target is touched.

use super::{
    credentials::Channel,
    error::CliError,
    inside::Inside,
    left_inside::{self, GIT},
    progress::Progress,
    wanted::Wanted,
};
use crate::{
    api::v1::{
        Compression as Wire, ExportRequest, ImportOpen, ImportRequest, ImportResponse,
        file_service_client::FileServiceClient, import_request::Request,
    },
    archive::{Compression, Import, Limits, Packer, Packing, Patterns, Rules, Top, open_or_make},
    rpc::transport::FILE_PIECE,
};
use rustix::fs::CWD;
use std::{
    fs::File,
    io::Write,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// What is left out of an archive here is bounded by the disk alone: whoever asks has chosen what to copy.
const LIMITS: Limits = Limits { bytes: u64::MAX, entries: u64::MAX };

/// Copies a directory into a sandbox.
pub(super) async fn bring(
    mut files: FileServiceClient<Channel>,
    from: &Path,
    to: Inside,
    wanted: Wanted,
) -> Result<ImportResponse, CliError> {
    let found = std::fs::metadata(from).map_err(|error| CliError::option(format!("{}: {error}", from.display())))?;
    if !found.is_dir() {
        return Err(CliError::option(format!("{} is no directory", from.display())));
    }
    let excluded = Patterns::new(wanted.exclude.iter().map(String::as_str));
    let excluded = excluded.map_err(|wrong| CliError::Options(vec![format!("--exclude {wrong}")]))?;
    let how =
        Packing { compression: Compression::None, excluded, honours_gitignore: !wanted.ignored, changed_since: None };
    let file = Packer::open(CWD, from.as_os_str().as_bytes())?;
    let file = file.ok_or_else(|| CliError::Options(vec![format!("{} is no directory", from.display())]))?;
    let packer = Packer::new(vec![Top { name: Vec::new(), file }], how)?;
    let Inside { sandbox_id, path } = to;
    // Links of ours may lead anywhere: in the sandbox they lead to what the sandbox has there.
    let open = ImportOpen { sandbox_id, path, user: wanted.user, outside_links: true, ..ImportOpen::default() };
    // Whoever has a directory may bring all of it.
    let open = ImportOpen { max_bytes: i64::MAX, max_entries: i64::MAX, ..open };
    let (give, pieces) = mpsc::channel(2);
    let call = files.import(ReceiverStream::new(pieces));
    tokio::pin!(call);
    let mut packing = tokio::task::spawn_blocking(move || send(packer, open, give));
    let packed = tokio::select! {
        answer = &mut call => return Ok(answer?.into_inner()),
        packed = &mut packing => packed,
    };
    // An archive that cannot be finished must not end in order, so the call is given up with it.
    let give = packed.map_err(|error| CliError::io("pack the directory", std::io::Error::other(error)))??;
    drop(give);
    Ok(call.await?.into_inner())
}

/// Sends an archive. Returns the way, so that it is closed only when all is well.
fn send(
    mut packer: Packer,
    open: ImportOpen,
    give: mpsc::Sender<ImportRequest>,
) -> Result<mpsc::Sender<ImportRequest>, CliError> {
    let mut progress = Progress::new("copying");
    let mut request = Request::Open(open);
    while give.blocking_send(ImportRequest { request: Some(request) }).is_ok() {
        let Some(piece) = packer.next(FILE_PIECE / 2, &|| true)? else { break };
        progress.add(piece.len());
        request = Request::Data(piece.into());
    }
    Ok(give)
}

/// Copies what is in a directory of a sandbox to one here, which is made if it is missing.
pub(super) async fn fetch(
    files: FileServiceClient<Channel>,
    from: &Inside,
    wanted: Wanted,
    to: &Path,
) -> Result<(), CliError> {
    let git = wanted.git;
    let mut pieces = export(files.clone(), from, wanted.clone(), Wire::None).await?;
    // What is not there makes nothing here.
    let mut next = pieces.message().await?;
    let (directory, is_new) = open_or_make(to)?;
    let rules = Rules { top: is_new, skip_refused: true, no_git: !git, ..Rules::default() };
    let mut import = Import::new(directory, Some(Compression::None), rules, LIMITS)?;
    let mut progress = Progress::new("copying");
    while let Some(piece) = next {
        progress.add(piece.data.len());
        import.take(&piece.data, Box::new(|| true))?;
        next = pieces.message().await?;
    }
    let done = import.finish(Box::new(|| true))?;
    drop(progress);
    let special = left_inside::special(&files, from, &wanted).await?;
    let refused = done.refused.into_iter().map(|(name, why)| format!("{}: it {why}", name.escape_debug()));
    left_out(done.refused_total + special.len() as u64, refused.chain(special).collect())
}

async fn export(
    mut files: FileServiceClient<Channel>,
    from: &Inside,
    mut wanted: Wanted,
    compression: Wire,
) -> Result<tonic::Streaming<crate::api::v1::ExportResponse>, CliError> {
    if !wanted.git {
        left_inside::say_repositories(&files, from, &wanted).await?;
        wanted.exclude.push(GIT.to_owned());
    }
    let request = ExportRequest {
        sandbox_id: from.sandbox_id.clone(),
        // What is in it, without its name.
        paths: vec![format!("{}/.", from.path)],
        user: wanted.user,
        exclude: wanted.exclude,
        ignored: Some(wanted.ignored),
        compression: compression.into(),
        changed_since: wanted.since,
        ..ExportRequest::default()
    };
    Ok(files.export(request).await?.into_inner())
}

/// How an archive of this name is compressed; `None` for a name that is no archive's.
pub(super) fn archive_kind(path: &Path) -> Option<Wire> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let kinds = [(".tar", Wire::None), (".tar.gz", Wire::Gzip), (".tgz", Wire::Gzip), (".tar.zst", Wire::Zstd)];
    kinds.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, kind)| kind)
}

/// A path that the copy of a directory can go to: whoever names another kind of archive does not want a directory of that name.
pub(super) fn export_target(text: &str) -> Result<PathBuf, String> {
    const UNKNOWN: [&str; 8] = [".zip", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.lz4", ".7z", ".rar"];
    let lower = text.to_lowercase();
    if UNKNOWN.iter().any(|end| lower.ends_with(end)) {
        return Err(
            "archives are .tar, .tar.gz, .tgz and .tar.zst; for a directory of that name add a slash".to_owned()
        );
    }
    if text == "-" {
        return Err("- is no directory; name an archive, or `cp` what there is with `-`".to_owned());
    }
    if [".patch", ".diff"].iter().any(|end| lower.ends_with(end)) {
        return Err(
            "no patch is made: `git diff` as the last command prints one; for a directory of that name add a slash"
                .to_owned(),
        );
    }
    Ok(PathBuf::from(text))
}

/// Whether there is a place for what is to be taken out. To be asked before anything is done for which there might be none.
pub(super) fn check_export_target(to: &Path) -> Result<(), CliError> {
    let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let mut place = if archive_kind(to).is_some() { parent(to) } else { to };
    loop {
        match std::fs::metadata(place) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => return Err(CliError::NoPlace(format!("{} is no directory", place.display()))),
            // A directory is made with those that it is in.
            Err(error) if missing(&error) && archive_kind(to).is_none() => place = parent(place),
            Err(error) if missing(&error) => {
                return Err(CliError::NoPlace(format!("there is no directory {}; make it first", place.display())));
            }
            Err(error) => return Err(CliError::NoPlace(format!("{}: {error}", place.display()))),
        }
    }
}

/// The directory that a path is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Saves what is in a directory of a sandbox as an archive here, which is there whole or not at all.
pub(super) async fn save(
    files: FileServiceClient<Channel>,
    from: &Inside,
    wanted: Wanted,
    to: &Path,
    kind: Wire,
) -> Result<(), CliError> {
    let mut pieces = export(files.clone(), from, wanted.clone(), kind).await?;
    let draft = Draft(to.with_file_name(format!(".sandshell-{}", uuid::Uuid::new_v4().simple())));
    let failed = |error| CliError::io("write the archive", error);
    let mut file = File::create_new(&draft.0).map_err(failed)?;
    let mut progress = Progress::new("copying");
    while let Some(piece) = pieces.message().await? {
        progress.add(piece.data.len());
        file.write_all(&piece.data).map_err(failed)?;
    }
    std::fs::rename(&draft.0, to).map_err(failed)?;
    let special = left_inside::special(&files, from, &wanted).await?;
    left_out(special.len() as u64, special)
}

/// Names what was left out, if anything was.
fn left_out(total: u64, names: Vec<String>) -> Result<(), CliError> {
    if total == 0 { Ok(()) } else { Err(CliError::LeftOut { total, names }) }
}

/// A file that is gone unless it got its name.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // One that has its name is not there any more under this one.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_known_by_its_name() {
        let kind = |name: &str| archive_kind(Path::new(name));
        assert_eq!(kind("/x/a.tar.gz"), Some(Wire::Gzip));
        assert_eq!(kind("a.TGZ"), Some(Wire::Gzip));
        assert_eq!(kind("a.tar"), Some(Wire::None));
        assert_eq!(kind("a.tar.zst"), Some(Wire::Zstd));
        assert_eq!(kind("target/"), None);
    }
}
