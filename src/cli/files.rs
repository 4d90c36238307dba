//! `sandshell ls`, `cat` and `cp`: files of a sandbox.

use super::{
    client::{Client, Remote},
    copy_target::CopyTarget,
    error::CliError,
    inside::{Inside, inside},
    log::{self, LogFormat},
    overview::word,
    progress::Progress,
    table::{self, Table},
    trees,
    wanted::Wanted,
};
use crate::{
    api::v1::{
        File, ListRequest, ReadRequest, StatRequest, WriteOpen, WriteRequest, file::Type,
        file_service_client::FileServiceClient, read_response, write_request,
    },
    rpc::transport::FILE_PIECE,
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};
use tokio::{io::AsyncReadExt, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// Entries that are asked for at one time.
const PAGE: i32 = 1000;

/// One side of a copy.
#[derive(Debug, Clone)]
enum Side {
    Inside(Inside),
    Here(PathBuf),
    /// Standard input or output.
    Stream,
}

/// Options of `ls`.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    remote: Remote,
    /// A directory of a sandbox: SANDBOX:PATH
    #[arg(value_name = "SANDBOX:PATH", value_parser = inside)]
    directory: Inside,
    /// Also what is in the directories below it
    #[arg(long, short)]
    recursive: bool,
    /// As whom: name or number, and :GROUP if wanted
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    user: String,
    /// Print JSON: one array
    #[arg(long)]
    json: bool,
}

/// Options of `cat`.
#[derive(Debug, clap::Args)]
pub(super) struct CatArgs {
    #[command(flatten)]
    remote: Remote,
    /// A file of a sandbox: SANDBOX:PATH
    #[arg(value_name = "SANDBOX:PATH", value_parser = inside)]
    file: Inside,
    /// As whom: name or number, and :GROUP if wanted
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    user: String,
}

/// Options of `cp`.
#[derive(Debug, clap::Args)]
pub(super) struct CpArgs {
    #[command(flatten)]
    remote: Remote,
    /// A file or a directory: SANDBOX:PATH, a path here, or - for standard input
    #[arg(value_name = "SOURCE", value_parser = side)]
    source: Side,
    /// Where its copy goes, with its name: SANDBOX:PATH, a path here, or - for standard output
    #[arg(value_name = "TARGET", value_parser = side)]
    target: Side,
    /// Make the directories in the sandbox that are missing; for a directory they always are
    #[arg(long, short)]
    parents: bool,
    /// Has no effect, and is there for the habit: a directory is always copied with all that is in it
    #[arg(long, short, hide = true)]
    recursive: bool,
    /// Of a directory, leave out what its .gitignore files name
    #[arg(long)]
    gitignore: bool,
    /// Of a directory, leave out what matches this pattern, in the form of a line of .gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Out of a sandbox, copy what is in .git directories too: git runs what their configuration and hooks say
    #[arg(long)]
    git: bool,
    /// As whom in the sandbox: name or number, and :GROUP if wanted
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    user: String,
}

fn side(text: &str) -> Result<Side, String> {
    match text {
        "-" => Ok(Side::Stream),
        "" => Err("is empty".to_owned()),
        // As with scp: what is before a colon is a path only if it says so.
        _ if text.starts_with(['/', '.']) || !text.contains(':') => Ok(Side::Here(text.into())),
        _ => inside(text).map(Side::Inside),
    }
}

/// Lists a directory.
pub(super) fn ls(args: &LsArgs) -> Result<(), CliError> {
    log::start(None, "error", LogFormat::Text)?;
    let files = super::block_on(async {
        let mut client = args.remote.connect().await?;
        let Inside { sandbox_id, path } = args.directory.clone();
        let (recursive, user) = (args.recursive, args.user.clone());
        let mut request = ListRequest { sandbox_id, path, recursive, user, page_size: PAGE, ..ListRequest::default() };
        let mut files = Vec::new();
        loop {
            let page = client.files.list(request.clone()).await?.into_inner();
            files.extend(page.files);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(files);
            }
        }
    })?;
    if args.json {
        let all: Vec<Value> = files.iter().map(as_json).collect();
        return table::print(&format!("{}\n", Value::from(all)));
    }
    let mut table = Table::new(["MODE", "OWNER", "GROUP", "BYTES", "MODIFIED", "PATH"]);
    for file in files {
        let mode = format!("{}{:04o}", letter(&file), file.mode);
        let modified = file.modify_time.and_then(|time| SystemTime::try_from(time).ok());
        let modified = modified.map_or_else(|| "-".to_owned(), table::time);
        // One line each, whatever is in it.
        let mut path = file.path.escape_debug().to_string();
        if file.r#type() == Type::Symlink {
            path += &format!(" -> {}", file.link_target.escape_debug());
        }
        table.add([mode, file.owner, file.group, file.size_bytes.to_string(), modified, path]);
    }
    table::print(&table.to_string())
}

/// As ls(1) has it.
fn letter(file: &File) -> char {
    match file.r#type() {
        Type::File => '-',
        Type::Directory => 'd',
        Type::Symlink => 'l',
        Type::Other | Type::Unspecified => '?',
    }
}

fn as_json(file: &File) -> Value {
    let kind = word(file.r#type().as_str_name(), "TYPE_");
    let modified = file.modify_time.and_then(|time| SystemTime::try_from(time).ok()).map(table::time);
    json!({
        "path": file.path,
        "type": kind,
        "size_bytes": file.size_bytes,
        "mode": file.mode,
        "owner": file.owner,
        "group": file.group,
        "uid": file.uid,
        "gid": file.gid,
        "modify_time": modified,
        "etag": file.etag,
        "link_target": file.link_target,
    })
}

/// Prints a file.
pub(super) fn cat(args: &CatArgs) -> Result<(), CliError> {
    log::start(None, "error", LogFormat::Text)?;
    super::block_on(async {
        let client = args.remote.connect().await?;
        to_reader(read(client.files, &args.file, &args.user, |_| Ok(io::stdout())).await)
    })
}

/// Copies a file or a directory.
pub(super) fn cp(args: CpArgs) -> Result<(), CliError> {
    log::start(None, "error", LogFormat::Text)?;
    super::block_on(async {
        let CpArgs { user, parents, gitignore, exclude, git, .. } = args;
        let Client { mut files, .. } = args.remote.connect().await?;
        match (args.source, args.target) {
            (Side::Inside(from), Side::Here(to)) => {
                let Inside { sandbox_id, path } = from.clone();
                let request = StatRequest { sandbox_id, path, user: user.clone(), ..StatRequest::default() };
                if files.stat(request).await?.into_inner().r#type() == Type::Directory {
                    let wanted = Wanted { user, exclude, ignored: !gitignore, git, since: None };
                    return unless_interrupted(trees::fetch(files, &from, wanted, &to)).await;
                }
                fetch(files, &from, &user, &to).await
            }
            (Side::Inside(from), Side::Stream) => to_reader(read(files, &from, &user, |_| Ok(io::stdout())).await),
            (Side::Here(from), Side::Inside(to)) => {
                // A FIFO would be waited for until somebody writes to it.
                let opened = tokio::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&from).await;
                let file = opened.map_err(|error| CliError::option(format!("{}: {error}", from.display())))?;
                let found = file.metadata().await.map_err(|error| CliError::io("look at the source", error))?;
                if found.is_dir() {
                    let wanted = Wanted { user, exclude, ignored: !gitignore, git, since: None };
                    return trees::bring(files, &from, to, wanted).await.map(drop);
                }
                if !found.is_file() {
                    let message = format!("{} is neither a regular file nor a directory", from.display());
                    return Err(CliError::Options(vec![message]));
                }
                let mode = Some(found.permissions().mode() & 0o777);
                write(files, WriteOpen { user, parents, mode, ..open(to) }, file).await
            }
            (Side::Stream, Side::Inside(to)) => {
                write(files, WriteOpen { user, parents, ..open(to) }, tokio::io::stdin()).await
            }
            _ => Err(CliError::Options(vec![
                "one of SOURCE and TARGET must be in a sandbox, as sbx-…:/tmp/file, and the other must not".to_owned(),
            ])),
        }
    })
}

/// Copies a file of a sandbox to a path here, which is there whole or not at all.
async fn fetch(
    files: FileServiceClient<super::credentials::Channel>,
    from: &Inside,
    user: &str,
    to: &Path,
) -> Result<(), CliError> {
    let target = CopyTarget::at(to)?;
    let copy = async { read(files, from, user, |file| target.open(file.mode)).await.map(drop) };
    match &target {
        CopyTarget::File { .. } => unless_interrupted(copy).await?,
        // To open a FIFO may take until somebody reads it, and ^C ends that as it ends any program.
        CopyTarget::Other(_) => copy.await?,
    }
    target.finish()
}

/// Gives work up at ^C, so that nothing is left half done here.
async fn unless_interrupted(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::select! {
        done = work => done,
        Ok(()) = tokio::signal::ctrl_c() => Err(CliError::option("interrupted: what was under way is not here")),
    }
}

/// Who reads our output may have seen enough of it.
fn to_reader<T>(written: Result<T, CliError>) -> Result<(), CliError> {
    match written {
        Err(CliError::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map(drop),
    }
}

/// Reads a file into what is opened for it.
pub(super) async fn read<W: Write>(
    mut files: FileServiceClient<super::credentials::Channel>,
    from: &Inside,
    user: &str,
    open: impl Fn(&File) -> io::Result<W>,
) -> Result<W, CliError> {
    let Inside { sandbox_id, path } = from.clone();
    let request = ReadRequest { sandbox_id, path, user: user.to_owned(), ..ReadRequest::default() };
    let mut pieces = files.read(request).await?.into_inner();
    let (mut target, mut progress) = (None, Progress::new("copying"));
    while let Some(piece) = pieces.message().await? {
        let written = match (piece.response, &mut target) {
            (Some(read_response::Response::File(file)), None) => open(&file).map(|opened| target = Some(opened)),
            (Some(read_response::Response::Data(data)), Some(target)) => {
                progress.add(data.len());
                target.write_all(&data)
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        };
        written.map_err(|error| CliError::io("write the copy", error))?;
    }
    let mut target = target.ok_or_else(|| CliError::io("read the file", io::ErrorKind::UnexpectedEof))?;
    target.flush().map_err(|error| CliError::io("write the copy", error))?;
    Ok(target)
}

fn open(file: Inside) -> WriteOpen {
    WriteOpen { sandbox_id: file.sandbox_id, path: file.path, ..WriteOpen::default() }
}

/// Writes a file of a sandbox.
pub(super) async fn write(
    mut files: FileServiceClient<super::credentials::Channel>,
    open: WriteOpen,
    mut source: impl tokio::io::AsyncRead + Unpin,
) -> Result<(), CliError> {
    let (give, pieces) = mpsc::channel(2);
    let call = files.write(ReceiverStream::new(pieces));
    tokio::pin!(call);
    let sent = tokio::select! {
        answer = &mut call => return Ok(answer.map(drop)?),
        sent = send(&give, open, &mut source) => sent,
    };
    // A source that cannot be read further must not end the stream in order, so the call is given up before it.
    sent.map_err(|error| CliError::io("read the source", error))?;
    drop(give);
    Ok(call.await.map(drop)?)
}

async fn send(
    give: &mpsc::Sender<WriteRequest>,
    open: WriteOpen,
    source: &mut (impl tokio::io::AsyncRead + Unpin),
) -> io::Result<()> {
    let mut request = write_request::Request::Open(open);
    let mut progress = Progress::new("copying");
    while give.send(WriteRequest { request: Some(request) }).await.is_ok() {
        let mut piece = bytes::BytesMut::with_capacity(FILE_PIECE);
        if source.read_buf(&mut piece).await? == 0 {
            break;
        }
        progress.add(piece.len());
        request = write_request::Request::Data(piece.freeze());
    }
    Ok(())
}
