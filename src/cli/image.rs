//! `sandshell image`: which images a server has.

use super::{
    client::Remote,
    error::CliError,
    overview::word,
    table::{self, Table},
};
use crate::api::v1::{Image, ListImagesRequest};
use clap::Subcommand;
use serde_json::{Value, json};
use std::time::SystemTime;

/// Images that are asked for at one time.
const PAGE: i32 = 1000;

/// Options of `image`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the images that sandboxes can be made from.
    Ls(ListArgs),
}

/// Options of `image ls`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    remote: Remote,
    /// Print JSON: one array
    #[arg(long)]
    json: bool,
}

/// Runs `sandshell image`.
pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let Command::Ls(args) = &args.command;
    let images = images(args)?;
    if args.json {
        let all: Vec<Value> = images.iter().map(as_json).collect();
        return table::print(&format!("{}\n", Value::from(all)));
    }
    let mut table = Table::new(["IMAGE", "KIND", "SIZE", "BUILT", "DESCRIPTION"]);
    for image in images {
        let kind = kind(&image);
        let size = image.size_bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
        let built = image.create_time.and_then(|time| SystemTime::try_from(time).ok());
        let built = built.map_or_else(|| "-".to_owned(), table::time);
        table.add([image.name, kind, size, built, image.description]);
    }
    table::print(&table.to_string())
}

fn images(args: &ListArgs) -> Result<Vec<Image>, CliError> {
    super::block_on(async {
        let mut client = args.remote.connect().await?.images;
        let mut request = ListImagesRequest { page_size: PAGE, page_token: String::new() };
        let mut all = Vec::new();
        loop {
            let page = client.list_images(request.clone()).await?.into_inner();
            all.extend(page.images);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(all);
            }
        }
    })
}

fn kind(image: &Image) -> String {
    word(image.kind().as_str_name(), "KIND_")
}

fn as_json(image: &Image) -> Value {
    json!({
        "name": image.name,
        "description": image.description,
        "kind": kind(image),
        "is_default": image.is_default,
        "size_bytes": image.size_bytes,
        "create_time": image.create_time.map(|time| time.to_string()),
    })
}
