//! `sandshell ps` without a session: sandboxes, their sessions, and the commands that run in these, as a tree.

use super::{
    client::Client,
    credentials::Channel,
    error::CliError,
    listing,
    table::{self, Table},
    volume,
};
use crate::api::v1::{
    self, Command, GetCommandRequest, GetSandboxRequest, Sandbox, Session, sandbox,
    session_service_client::SessionServiceClient,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::time::SystemTime;
use tonic::{Code, Status};

/// A sandbox and what is in it; or why that is not known.
struct Branch {
    sandbox: Sandbox,
    sessions: Result<Vec<Leaf>, CliError>,
}

/// A session and the command that runs in it.
struct Leaf {
    session: Session,
    running: Option<Command>,
}

/// Prints one sandbox, or all that have these labels.
pub(super) async fn print(
    client: &Client,
    sandbox_id: Option<&str>,
    labels: &[(String, String)],
    json: bool,
) -> Result<(), CliError> {
    let sandboxes = match sandbox_id {
        Some(id) => {
            let request = GetSandboxRequest { sandbox_id: id.to_owned() };
            vec![client.sandboxes.clone().get_sandbox(request).await?.into_inner()]
        }
        None => listing::sandboxes(client, labels).await?,
    };
    let looks = stream::iter(sandboxes.into_iter().map(|sandbox| look(client.sessions.clone(), sandbox)));
    let branches: Vec<Option<Branch>> = looks.buffered(listing::AT_ONCE).collect().await;
    let branches = branches.into_iter().flatten();
    if json {
        return table::print(&format!("{}\n", branches.map(as_json).collect::<Value>()));
    }
    let mut table = Table::new(["ID", "STATE", "SINCE", "WHAT"]);
    branches.for_each(|branch| add(&mut table, branch));
    table::print(&table.to_string())
}

/// Nothing of a sandbox that was deleted meanwhile.
async fn look(service: SessionServiceClient<Channel>, sandbox: Sandbox) -> Option<Branch> {
    if sandbox.state() != sandbox::State::Running {
        return Some(Branch { sandbox, sessions: Ok(Vec::new()) });
    }
    match leaves(service, &sandbox.sandbox_id).await {
        Err(status) if status.code() == Code::NotFound => None,
        sessions => Some(Branch { sandbox, sessions: sessions.map_err(CliError::from) }),
    }
}

async fn leaves(mut service: SessionServiceClient<Channel>, sandbox_id: &str) -> Result<Vec<Leaf>, Status> {
    let mut leaves = Vec::new();
    for session in listing::sessions(service.clone(), sandbox_id).await? {
        let command_id = session.running_command_id.clone();
        let running = match command_id.as_str() {
            "" => None,
            _ => match service.get_command(GetCommandRequest { command_id }).await {
                Ok(command) => Some(command.into_inner()),
                // Its session was closed meanwhile.
                Err(status) if status.code() == Code::NotFound => None,
                Err(status) => return Err(status),
            },
        };
        leaves.push(Leaf { session, running });
    }
    Ok(leaves)
}

fn add(table: &mut Table<4>, Branch { sandbox, sessions }: Branch) {
    let mut what = vec![if sandbox.image.is_empty() { "host".to_owned() } else { sandbox.image.clone() }];
    what.extend(labels(&sandbox).iter().map(|(key, value)| format!("{key}={value}")));
    if !sandbox.end_message.is_empty() {
        what.push(sandbox.end_message.clone());
    }
    let state = word(sandbox.state().as_str_name(), "STATE_");
    table.add([sandbox.sandbox_id, state, time(sandbox.create_time), one_line(&what.join("  "))]);
    let sessions = match sessions {
        Ok(sessions) => sessions,
        Err(error) => {
            let words = ["  ?".to_owned(), "unknown".to_owned(), "-".to_owned(), one_line(&error.to_string())];
            return table.add(words);
        }
    };
    for Leaf { session, running } in sessions {
        let mut what = format!("{} in {}", session.shell, session.working_directory);
        if session.queued_commands > 0 {
            what += &format!(", {} commands wait", session.queued_commands);
        }
        let state = word(session.state().as_str_name(), "STATE_");
        table.add([format!("  {}", session.session_id), state, time(session.create_time), one_line(&what)]);
        if let Some(command) = running {
            let state = word(command.state().as_str_name(), "STATE_");
            let text = one_line(&text(&command));
            table.add([format!("    {}", command.command_id), state, time(command.start_time), text]);
        }
    }
}

fn as_json(Branch { sandbox, sessions }: Branch) -> Value {
    let problem = sessions.as_ref().err().map(ToString::to_string);
    let sessions = sessions.ok().map(|sessions| sessions.into_iter().map(leaf_as_json).collect::<Value>());
    json!({
        "sandbox_id": sandbox.sandbox_id,
        "state": word(sandbox.state().as_str_name(), "STATE_"),
        "image": sandbox.image,
        "runtime": sandbox.runtime,
        "working_directory": sandbox.working_directory,
        "labels": sandbox.labels,
        "create_time": sandbox.create_time.map(|time| time.to_string()),
        "expire_time": sandbox.expire_time.map(|time| time.to_string()),
        "end_message": sandbox.end_message,
        "warnings": sandbox.warnings,
        "volumes": sandbox.volumes.iter().map(volume::mount_as_json).collect::<Value>(),
        "sessions": sessions,
        "problem": problem,
    })
}

fn leaf_as_json(Leaf { session, running }: Leaf) -> Value {
    json!({
        "session_id": session.session_id,
        "state": word(session.state().as_str_name(), "STATE_"),
        "shell": session.shell,
        "working_directory": session.working_directory,
        "generation": session.generation,
        "create_time": session.create_time.map(|time| time.to_string()),
        "queued_commands": session.queued_commands,
        "running_command": running.map(|command| json!({
            "command_id": command.command_id,
            "state": word(command.state().as_str_name(), "STATE_"),
            "command": text(&command),
            "start_time": command.start_time.map(|time| time.to_string()),
        })),
    })
}

/// The text of a command, or its program and arguments.
pub(super) fn text(command: &Command) -> String {
    if command.argv.is_empty() { command.command.clone() } else { command.argv.join(" ") }
}

/// The labels in order of their keys.
fn labels(sandbox: &v1::Sandbox) -> Vec<(&String, &String)> {
    let mut labels: Vec<_> = sandbox.labels.iter().collect();
    labels.sort();
    labels
}

/// `STATE_RUNNING` as people write it.
/// The name of an enum's value as people read it.
pub(super) fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

fn time(time: Option<prost_types::Timestamp>) -> String {
    time.and_then(|time| SystemTime::try_from(time).ok()).map_or_else(|| "-".to_owned(), table::time)
}

/// One line, whatever is in it.
fn one_line(text: &str) -> String {
    text.escape_debug().to_string()
}
