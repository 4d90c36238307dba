//! `sandshell code`: a piece of code in a language, in a fresh sandbox or in one that is there.

use super::{
    client::{Client, Place},
    creation,
    error::CliError,
    follow::Signals,
    log::{self, LogFormat},
    run::seconds,
};
use crate::api::v1::{CodeResult, CreateSandboxRequest, RunCodeRequest, Stream, run_code_response::Response};
use base64::Engine;
use serde_json::{Value, json};
use std::{
    io::{self, Read, Write},
    process::ExitCode,
    time::Duration,
};

const AFTER_HELP: &str = "\
Output goes to standard output and standard error, values to standard output, and exceptions to standard error. The exit
code is 1 after an exception, a program's own in a language whose interpreter is not kept, or 125 if Sandshell itself failed.";

/// Options of `code`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Existing sandbox to run it in; it is not deleted afterwards
    #[arg(long, value_name = "ID", requires = "server", conflicts_with = "image")]
    sandbox: Option<String>,
    /// Language: python, javascript, bash, …
    #[arg(long, short, default_value = "python")]
    language: String,
    /// Context whose interpreter keeps its variables for later calls
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    context: String,
    /// Longest time, in seconds
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Print JSON: an object in a line for each message
    #[arg(long)]
    json: bool,
    /// The code; `-` reads it from standard input
    #[arg(value_name = "CODE")]
    code: String,
}

/// Runs the code, and deletes the sandbox if it was made for it.
pub(super) fn main(mut args: Args) -> Result<ExitCode, CliError> {
    log::start(None, "error", LogFormat::Text)?;
    if args.code == "-" {
        args.code.clear();
        io::stdin().read_to_string(&mut args.code).map_err(|source| CliError::io("read the code", source))?;
    }
    let prepared = args.place.prepare()?;
    let code = super::block_on(async {
        let mut signals = Signals::new()?;
        let mut client = prepared.connect().await?;
        let outcome = enter(&mut client, &mut signals, args).await;
        client.close().await.and(outcome)
    })?;
    Ok(ExitCode::from(code))
}

async fn enter(client: &mut Client, signals: &mut Signals, args: Args) -> Result<u8, CliError> {
    let given = args.sandbox.clone();
    let sandbox_id = match &given {
        Some(id) => id.clone(),
        None => {
            let request = CreateSandboxRequest { image: args.place.image.clone(), ..CreateSandboxRequest::default() };
            tokio::select! {
                sandbox = creation::create(&mut client.sandboxes, request) => sandbox?.sandbox_id,
                code = signals.next() => return Ok(code),
            }
        }
    };
    let outcome = tokio::select! {
        outcome = run(client, &sandbox_id, args) => outcome,
        // The code is interrupted with its call.
        code = signals.next() => Ok(code),
    };
    if given.is_none() {
        client.delete(sandbox_id).await;
    }
    outcome
}

async fn run(client: &Client, sandbox_id: &str, args: Args) -> Result<u8, CliError> {
    let request = RunCodeRequest {
        sandbox_id: sandbox_id.to_owned(),
        language: args.language,
        code: args.code,
        context_id: args.context,
        timeout: args.timeout.and_then(|timeout| timeout.try_into().ok()),
        ..RunCodeRequest::default()
    };
    let mut told = client.code.clone().run_code(request).await?.into_inner();
    let mut code = 0;
    while let Some(message) = told.message().await? {
        let Some(response) = message.response else { continue };
        if let Response::Done(done) = &response {
            code = u8::try_from(done.exit_code).unwrap_or(u8::MAX);
        }
        let said = if args.json { say_json(&response) } else { say(&response) };
        if said.is_err() {
            // Nobody reads it any more.
            return Ok(code);
        }
    }
    Ok(code)
}

fn say(response: &Response) -> io::Result<()> {
    match response {
        Response::Output(output) if output.stream() == Stream::Stderr => io::stderr().write_all(&output.data),
        Response::Output(output) => {
            let mut stdout = io::stdout();
            stdout.write_all(&output.data)?;
            stdout.flush()
        }
        Response::Result(result) => writeln!(io::stdout(), "{}", shown(result)),
        Response::Error(error) if error.traceback.is_empty() => {
            writeln!(io::stderr(), "{}: {}", error.name, error.message)
        }
        Response::Error(error) => writeln!(io::stderr(), "{}", error.traceback.trim_end()),
        Response::Gap(gap) => {
            writeln!(io::stderr(), "sandshell: {} bytes of output are no longer kept", gap.to.saturating_sub(gap.from))
        }
        Response::Done(done) if done.timed_out => writeln!(io::stderr(), "sandshell: the code's time was over"),
        Response::Started(_) | Response::Done(_) | Response::KeepAlive(_) => Ok(()),
    }
}

/// A value as text, and which other forms it has.
fn shown(result: &CodeResult) -> String {
    let mut kinds: Vec<_> = result.data.keys().map(String::as_str).collect();
    kinds.sort_unstable();
    if kinds.is_empty() { result.text.clone() } else { format!("{} [{}]", result.text, kinds.join(", ")) }
}

fn say_json(response: &Response) -> io::Result<()> {
    let encoded = |data: &[u8]| base64::engine::general_purpose::STANDARD.encode(data);
    let value: Value = match response {
        Response::Started(started) => {
            json!({ "started": { "command_id": started.command_id, "generation": started.generation } })
        }
        Response::Output(output) => {
            let stream = if output.stream() == Stream::Stderr { "stderr" } else { "stdout" };
            json!({ "output": { "stream": stream, "text": String::from_utf8_lossy(&output.data), "data": encoded(&output.data) } })
        }
        Response::Result(result) => {
            let data: serde_json::Map<_, _> =
                result.data.iter().map(|(kind, data)| (kind.clone(), encoded(data).into())).collect();
            json!({ "result": {
                "text": result.text, "data": data, "is_main": result.is_main, "left_out": result.left_out
            } })
        }
        Response::Error(error) => {
            json!({ "error": { "name": error.name, "message": error.message, "traceback": error.traceback } })
        }
        Response::Done(done) => json!({ "done": { "exit_code": done.exit_code, "timed_out": done.timed_out } }),
        Response::Gap(gap) => json!({ "gap": { "from": gap.from, "to": gap.to } }),
        Response::KeepAlive(_) => return Ok(()),
    };
    writeln!(io::stdout(), "{value}")
}
