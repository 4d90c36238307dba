//! `sandshell volume`: makes, lists, shows and deletes volumes; and how other commands name them.

use super::{
    FAILED,
    client::{Client, Remote},
    error::CliError,
    log::{self, LogFormat},
    size,
    table::{self, Table},
};
use crate::api::v1::{
    CreateVolumeRequest, DeleteVolumeRequest, GetVolumeRequest, ListVolumesRequest, Volume, VolumeMount,
};
use clap::Subcommand;
use serde_json::{Value, json};
use std::{collections::HashMap, process::ExitCode, time::SystemTime};

/// Volumes that are asked for at one time.
const PAGE: i32 = 1000;

/// Options of `volume`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an empty volume, or give a directory of the server's host a name.
    Create(CreateArgs),
    /// List volumes, and how many sandboxes have each.
    Ls(ListArgs),
    /// Show a volume, and which sandboxes have it.
    Show(ShowArgs),
    /// Delete volumes that no sandbox has, with all that is in them.
    Rm(RemoveArgs),
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    #[command(flatten)]
    remote: Remote,
    /// What it is called: 1 to 63 letters, digits and ._-
    name: String,
    /// Bytes that its files may take, or a number with K, M, G or T, such as 512M [default: the server's]
    #[arg(long, value_name = "SIZE", value_parser = size::bytes, allow_hyphen_values = true, conflicts_with = "host_directory")]
    size: Option<i64>,
    /// Let several sandboxes have it for writing at the same time
    #[arg(long)]
    shared: bool,
    /// Directory of the server's host that it is to be, where the operator allows it
    #[arg(long, value_name = "DIR")]
    host_directory: Option<String>,
    /// Label of the volume; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = size::pair)]
    label: Vec<(String, String)>,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    remote: Remote,
    /// Print JSON: one array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    remote: Remote,
    /// Its name or its id
    volume: String,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    #[command(flatten)]
    remote: Remote,
    /// Names or ids
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
    /// Print JSON: one array
    #[arg(long)]
    json: bool,
}

/// Runs `sandshell volume`.
pub(super) fn main(args: Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    super::block_on(async {
        match args.command {
            Command::Create(args) => create(args).await?,
            Command::Ls(args) => list(&args).await?,
            Command::Show(args) => show(&args).await?,
            Command::Rm(args) => return remove(args).await,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let request = CreateVolumeRequest {
        name: args.name,
        labels: HashMap::from_iter(args.label),
        size_bytes: args.size,
        shared: args.shared,
        host_directory: args.host_directory.unwrap_or_default(),
        request_id: String::new(),
    };
    let volume = args.remote.connect().await?.volumes.create_volume(request).await?.into_inner();
    if args.json {
        return table::print(&format!("{}\n", as_json(&volume)));
    }
    table::print(&format!("{}\n", volume.volume_id))
}

async fn list(args: &ListArgs) -> Result<(), CliError> {
    let volumes = all(args.remote.connect().await?).await?;
    if args.json {
        return table::print(&format!("{}\n", volumes.iter().map(as_json).collect::<Value>()));
    }
    let mut table = Table::new(["NAME", "ID", "SIZE", "USED", "KIND", "CREATED", "SANDBOXES"]);
    for volume in volumes {
        let [size, used] = [volume.size_bytes, volume.used_bytes].map(bytes);
        let (created, count) = (time(&volume), volume.used_by.len().to_string());
        table.add([volume.name.clone(), volume.volume_id.clone(), size, used, kind(&volume), created, count]);
    }
    table::print(&table.to_string())
}

async fn all(client: Client) -> Result<Vec<Volume>, CliError> {
    let mut client = client.volumes;
    let mut request = ListVolumesRequest { page_size: PAGE, page_token: String::new() };
    let mut all = Vec::new();
    loop {
        let page = client.list_volumes(request.clone()).await?.into_inner();
        all.extend(page.volumes);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn show(args: &ShowArgs) -> Result<(), CliError> {
    let request = GetVolumeRequest { volume: args.volume.clone() };
    let volume = args.remote.connect().await?.volumes.get_volume(request).await?.into_inner();
    if args.json {
        return table::print(&format!("{}\n", as_json(&volume)));
    }
    let mut text = format!("{} ({})\n", volume.name, volume.volume_id);
    text += &format!("kind      {}\n", kind(&volume));
    text += &format!("created   {}\n", time(&volume));
    text += &format!("size      {}\n", bytes(volume.size_bytes));
    text += &format!("used      {}\n", bytes(volume.used_bytes));
    let mut labels: Vec<_> = volume.labels.iter().collect();
    labels.sort();
    for (key, value) in labels {
        text += &format!("label     {key}={value}\n");
    }
    for used in &volume.used_by {
        let how = if used.read_only { "reads" } else { "writes" };
        text += &format!("used by   {} at {}, {how}\n", used.sandbox_id, used.path);
    }
    table::print(&text)
}

/// Deletes all that can be. Each that is gone is printed.
async fn remove(args: RemoveArgs) -> Result<ExitCode, CliError> {
    let mut client = args.remote.connect().await?.volumes;
    let (mut failed, mut told) = (false, Vec::new());
    for volume in args.volumes {
        let removed = client.delete_volume(DeleteVolumeRequest { volume: volume.clone() }).await;
        let error = removed.err().map(|status| CliError::from(status).to_string());
        failed |= error.is_some();
        match &error {
            _ if args.json => told.push(json!({ "volume": volume, "removed": error.is_none(), "error": error })),
            None => table::print(&format!("{volume}\n"))?,
            Some(error) => eprintln!("sandshell: {volume}: {error}"),
        }
    }
    if args.json {
        table::print(&format!("{}\n", Value::from(told)))?;
    }
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Reads `NAME:PATH`, and `:ro` behind it for reading.
pub(super) fn mount(text: &str) -> Result<VolumeMount, String> {
    let (volume, path) = text.split_once(':').ok_or("must be NAME:PATH or NAME:PATH:ro")?;
    let (path, read_only) = match path.rsplit_once(':') {
        Some((path, "ro")) => (path, true),
        Some((path, "rw")) => (path, false),
        _ => (path, false),
    };
    if volume.is_empty() || !path.starts_with('/') {
        return Err("must be NAME:PATH or NAME:PATH:ro, with an absolute path".to_owned());
    }
    Ok(VolumeMount { volume: volume.to_owned(), path: path.to_owned(), read_only, volume_id: String::new() })
}

/// A volume of a sandbox, for machines.
pub(super) fn mount_as_json(mount: &VolumeMount) -> Value {
    json!({
        "volume": mount.volume,
        "volume_id": mount.volume_id,
        "path": mount.path,
        "read_only": mount.read_only,
    })
}

fn bytes(bytes: Option<i64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), size::short)
}

fn time(volume: &Volume) -> String {
    let time = volume.create_time.and_then(|time| SystemTime::try_from(time).ok());
    time.map_or_else(|| "-".to_owned(), table::time)
}

fn kind(volume: &Volume) -> String {
    let kind = if volume.shared { "shared" } else { "single writer" };
    if volume.host_directory.is_empty() { kind.to_owned() } else { format!("{kind}, {}", volume.host_directory) }
}

fn as_json(volume: &Volume) -> Value {
    let used_by = volume.used_by.iter();
    json!({
        "volume_id": volume.volume_id,
        "name": volume.name,
        "labels": volume.labels,
        "size_bytes": volume.size_bytes,
        "used_bytes": volume.used_bytes,
        "shared": volume.shared,
        "host_directory": volume.host_directory,
        "create_time": volume.create_time.map(|time| time.to_string()),
        "used_by": used_by.map(|used| json!({
            "sandbox_id": used.sandbox_id,
            "path": used.path,
            "read_only": used.read_only,
        })).collect::<Value>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_a_name_and_a_path() {
        let read = |text: &str| mount(text).map(|mount| (mount.volume, mount.path, mount.read_only));
        let told = |volume: &str, path: &str, read_only| Ok((volume.to_owned(), path.to_owned(), read_only));
        assert_eq!(read("data:/data"), told("data", "/data", false));
        assert_eq!(read("data:/data:ro"), told("data", "/data", true));
        assert_eq!(read("data:/data:rw"), told("data", "/data", false));
        assert_eq!(read("data:/a:b"), told("data", "/a:b", false));
        for wrong in ["data", ":/data", "data:", "data:relative", "data::ro"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
