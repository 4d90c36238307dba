//! `sandshell code`: a piece of code in a language, in a fresh sandbox or in one that is there.

use super::{
    client::Client,
    error::CliError,
    sandbox::{Options, Work},
};
use crate::api::v1::{CodeResult, CodeStarted, RunCodeRequest, Stream, run_code_response::Response};
use base64::Engine;
use serde_json::{Value, json};
use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

const AFTER_HELP: &str = "\
Output goes to standard output and standard error, values to standard output, exceptions to standard error, and which other forms a value has too. The exit
code is the process's own, in a context 1 after an exception and 0 otherwise, or 125 if Sandshell itself failed.";

/// Options of `code`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    piece: Piece,
}

/// What is run.
#[derive(Debug, clap::Args)]
struct Piece {
    /// Language: python, javascript, bash, …
    #[arg(long, short, default_value = "python")]
    language: String,
    /// Context of the sandbox, whose interpreter keeps its variables for later calls. Its first call decides as whom, where and with which
    /// environment it runs
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true, requires = "sandbox")]
    context: String,
    /// Print JSON: an object in a line for each message
    #[arg(long)]
    json: bool,
    /// The code; `-` reads it from standard input
    #[arg(value_name = "CODE")]
    code: String,
}

/// Runs the code.
pub(super) fn main(args: Args) -> Result<ExitCode, CliError> {
    let Args { options, mut piece } = args;
    if piece.code == "-" {
        piece.code.clear();
        io::stdin().read_to_string(&mut piece.code).map_err(|source| CliError::io("read the code", source))?;
    }
    options.work(async |work| {
        let Work { client, signals, sandbox_id, mut how, .. } = work;
        let request = RunCodeRequest {
            sandbox_id: sandbox_id.to_owned(),
            language: piece.language,
            code: piece.code,
            context_id: piece.context,
            timeout: how.timeout(),
            env: how.env(),
            working_directory: how.cwd(""),
            user: how.user,
        };
        tokio::select! {
            outcome = run(client, request, piece.json) => outcome,
            // The code is interrupted with its call.
            code = signals.next() => Ok(code),
        }
    })
}

async fn run(client: &Client, request: RunCodeRequest, json: bool) -> Result<u8, CliError> {
    let mut told = client.code.clone().run_code(request).await?.into_inner();
    let mut code = 0;
    while let Some(message) = told.message().await? {
        let Some(response) = message.response else { continue };
        if let Response::Done(done) = &response {
            code = u8::try_from(done.exit_code).unwrap_or(u8::MAX);
        }
        let said = if json { say_json(&response) } else { say(&response) };
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
        Response::Result(result) => {
            writeln!(io::stdout(), "{}", result.text)?;
            let forms = forms(result);
            if forms.is_empty() {
                return Ok(());
            }
            writeln!(io::stderr(), "sandshell: with --json it is there as {forms} too")
        }
        Response::Error(error) if error.traceback.is_empty() => {
            writeln!(io::stderr(), "{}: {}", error.name, error.message)
        }
        Response::Error(error) => writeln!(io::stderr(), "{}", error.traceback.trim_end()),
        Response::Gap(gap) => {
            writeln!(io::stderr(), "sandshell: {} bytes of output are no longer kept", gap.to.saturating_sub(gap.from))
        }
        Response::Done(done) if done.timed_out => writeln!(io::stderr(), "sandshell: the code's time was over"),
        Response::Started(CodeStarted { interpreter_ended: Some(ended), .. }) => {
            writeln!(io::stderr(), "sandshell: {}", ended.message)
        }
        Response::Started(_) | Response::Done(_) | Response::KeepAlive(_) => Ok(()),
    }
}

/// Which other forms a value has.
fn forms(result: &CodeResult) -> String {
    let mut kinds: Vec<_> = result.data.keys().map(String::as_str).collect();
    kinds.sort_unstable();
    kinds.join(", ")
}

fn say_json(response: &Response) -> io::Result<()> {
    let encoded = |data: &[u8]| base64::engine::general_purpose::STANDARD.encode(data);
    let value: Value = match response {
        Response::Started(started) => {
            let ended = started.interpreter_ended.as_ref().map(|ended| &ended.message);
            json!({ "started": {
                "command_id": started.command_id, "generation": started.generation, "interpreter_ended": ended
            } })
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
