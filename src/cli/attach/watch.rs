//! Shows what a session does. Its commands are numbered without gaps, so the next one is known before it is there.

use super::super::{
    credentials::Channel,
    error::CliError,
    follow::{End, exit_code, follow_from},
    logs,
    overview::text,
    overview::word,
    terminal::Outputs,
};
use crate::api::v1::{
    AttachRequest, Command, GetCommandRequest, GetSessionRequest, ListCommandsRequest, Session, command::State,
    exited::Reason, session, session_service_client::SessionServiceClient,
};
use std::time::Duration;
use tokio::time::sleep;
use tonic::{Code, Status};

type Sessions = SessionServiceClient<Channel>;

/// How often a session that does nothing is looked at.
const PAUSE: Duration = Duration::from_millis(200);

/// Commands that are asked for at one time.
const PAGE: i32 = 1000;

/// Shows each command from the one that runs, or from the next one, until the session is closed.
pub(super) async fn watch(mut sessions: Sessions, session: Session, json: bool) -> Result<u8, CliError> {
    let id = &session.session_id;
    let running = number_of(&session.running_command_id);
    let mut next = match running {
        Some(number) => number,
        None => last(&mut sessions, id).await? + 1,
    };
    loop {
        match turn(&mut sessions, &format!("{id}/{next}")).await? {
            Some(command) => {
                if let Some(code) = show(&mut sessions, command, json).await? {
                    return Ok(code);
                }
                next += 1;
            }
            None => match sessions.get_session(GetSessionRequest { session_id: id.clone() }).await {
                Ok(session) => {
                    let session = session.into_inner();
                    if session.state() == session::State::Closed {
                        break;
                    }
                    match number_of(&session.running_command_id) {
                        // It came a moment ago, or it is not remembered: of very many quick commands only the latest are.
                        Some(running) if running > next => {
                            if turn(&mut sessions, &format!("{id}/{next}")).await?.is_none() {
                                eprintln!("sandshell: {} commands were missed", running - next);
                                next = running;
                            }
                        }
                        _ => sleep(PAUSE).await,
                    }
                }
                Err(status) if status.code() == Code::NotFound => break,
                Err(status) => return Err(status.into()),
            },
        }
    }
    eprintln!("sandshell: {id} is closed");
    Ok(0)
}

/// The number of the last command that there was.
async fn last(sessions: &mut Sessions, session_id: &str) -> Result<u64, CliError> {
    let mut request =
        ListCommandsRequest { session_id: session_id.to_owned(), page_size: PAGE, page_token: String::new() };
    let mut last = 0;
    loop {
        let page = sessions.list_commands(request.clone()).await?.into_inner();
        last = page.commands.last().and_then(|command| number_of(&command.command_id)).unwrap_or(last);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(last);
        }
    }
}

/// A command once its turn has come; nothing while there is no such command.
async fn turn(sessions: &mut Sessions, command_id: &str) -> Result<Option<Command>, Status> {
    loop {
        match sessions.get_command(GetCommandRequest { command_id: command_id.to_owned() }).await {
            Ok(command) if command.get_ref().state() == State::Queued => sleep(PAUSE).await,
            Ok(command) => return Ok(Some(command.into_inner())),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(status),
        }
    }
}

/// Shows one command. An exit code when nobody reads any more.
async fn show(sessions: &mut Sessions, command: Command, json: bool) -> Result<Option<u8>, CliError> {
    let id = command.command_id.clone();
    let mut outputs = if json { Outputs::collect() } else { Outputs::new() };
    if !json {
        eprintln!("sandshell: {id} $ {}", text(&command).escape_debug());
    }
    let position = AttachRequest { command_id: id.clone(), ..AttachRequest::default() };
    let end = match follow_from(sessions, position, None, &mut outputs).await {
        // Its session was closed in the moment between.
        Err(CliError::Refused(status)) if status.code() == Code::NotFound => return Ok(None),
        end => end?,
    };
    if json {
        let is_read = logs::describe(&command, &end, &mut outputs)?;
        return Ok((!is_read).then(|| exit_code(&End::NobodyReads)));
    }
    match &end {
        End::Exited(exited) if exited.reason() == Reason::Exited => {
            eprintln!("sandshell: {id} has ended with exit code {}", exited.exit_code);
        }
        End::Exited(exited) => {
            let reason = word(exited.reason().as_str_name(), "REASON_").replace('_', " ");
            eprintln!("sandshell: {id} has ended with exit code {} ({reason})", exited.exit_code);
        }
        End::SoFar => {}
        End::NobodyReads => return Ok(Some(exit_code(&end))),
    }
    Ok(None)
}

fn number_of(command_id: &str) -> Option<u64> {
    command_id.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_of;

    #[test]
    fn a_command_has_a_number() {
        assert_eq!((number_of("sbx-1/2/34"), number_of("")), (Some(34), None));
    }
}
