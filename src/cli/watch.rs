//! `sandshell watch`: changes of a directory of a sandbox, a line for each as it happens.

use super::{
    client::Remote,
    error::CliError,
    inside::{Inside, inside},
    log::{self, LogFormat},
};
use crate::api::v1::{Change, WatchRequest, change::Kind, watch_response::Event};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Options of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// A directory of a sandbox: SANDBOX:PATH
    #[arg(value_name = "SANDBOX:PATH", value_parser = inside)]
    directory: Inside,
    /// Also what is in the directories below it, those that appear later too
    #[arg(long, short)]
    recursive: bool,
    /// As whom: name or number, and :GROUP if wanted
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    user: String,
    /// Print JSON: one object a line
    #[arg(long)]
    json: bool,
}

/// Tells changes until the directory is gone.
pub(super) fn main(args: &Args) -> Result<(), CliError> {
    log::start(None, "error", LogFormat::Text)?;
    super::block_on(async {
        let mut client = args.remote.connect().await?;
        let Inside { sandbox_id, path } = args.directory.clone();
        let (recursive, user) = (args.recursive, args.user.clone());
        let request = WatchRequest { sandbox_id, path, recursive, user, ..WatchRequest::default() };
        let mut events = client.files.watch(request).await?.into_inner();
        while let Some(told) = events.message().await? {
            let Some(event) = told.event else { continue };
            let line = if args.json { format!("{}\n", as_json(&event)) } else { as_text(&event) };
            let mut out = io::stdout().lock();
            match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                // Whoever closes it, as `head` does, has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.map_err(|error| CliError::io("write to standard output", error))?,
            }
        }
        Ok(())
    })
}

fn word(change: &Change) -> &'static str {
    match change.kind() {
        Kind::Created => "created",
        Kind::Modified => "modified",
        Kind::Removed => "removed",
        Kind::Renamed => "renamed",
        Kind::Unspecified => "changed",
    }
}

/// One line, whatever is in a name.
fn as_text(event: &Event) -> String {
    match event {
        Event::Armed(_) => "armed\n".to_owned(),
        Event::Overflow(_) => "overflow\n".to_owned(),
        Event::Change(change) => {
            let slash = if change.is_directory && !change.path.ends_with('/') { "/" } else { "" };
            let path = format!("{}{slash}", change.path.escape_debug());
            match change.kind() {
                Kind::Renamed => format!("renamed {}{slash} -> {path}\n", change.old_path.escape_debug()),
                _ => format!("{} {path}\n", word(change)),
            }
        }
    }
}

fn as_json(event: &Event) -> Value {
    match event {
        Event::Armed(_) => json!({ "event": "armed" }),
        Event::Overflow(_) => json!({ "event": "overflow" }),
        Event::Change(change) => {
            let mut object = json!({
                "event": word(change),
                "path": change.path,
                "is_directory": change.is_directory,
            });
            if change.kind() == Kind::Renamed {
                object["old_path"] = change.old_path.clone().into();
            }
            object
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line_whatever_is_in_its_name() {
        let change = Change {
            kind: Kind::Renamed.into(),
            path: "/a\nb".to_owned(),
            old_path: "/c".to_owned(),
            is_directory: true,
            ..Change::default()
        };
        assert_eq!(as_text(&Event::Change(change)), "renamed /c/ -> /a\\nb/\n");
    }
}
