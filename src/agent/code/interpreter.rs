//! A process that runs code: an execution of a program, with a channel if it is kept.

use super::{Order, channel::Channel};
use crate::{
    agent::{
        command::{Command, Control, Follower, Spec},
        session::sessions::Sessions,
        shell::environment,
    },
    api::v1::{CodeError, ExecStart, Exited, exec_start::Target, exited::Reason as ExitReason},
    error::{Error, Reason, Result, Violation},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// A process that runs code. When it is dropped, the process is ended.
pub(super) struct Interpreter {
    /// It, as a command.
    pub(super) command: Arc<Command>,
    /// What it prints.
    pub(super) follower: Follower,
    /// The line to its driver, if it has one.
    pub(super) channel: Option<Channel>,
    /// Whether it goes on when a piece of code is over: that of a context.
    pub(super) keeps: bool,
    /// Whether a driver runs the code, which takes an interruption and says what comes of it.
    pub(super) is_driven: bool,
    /// Whether a client was told that it has ended.
    pub(super) end_is_told: bool,
}

/// How long an interpreter that is not wanted any more may take to end in order: to join its threads and to write what it has not written yet.
pub(super) const ENDS_WITHIN: Duration = Duration::from_secs(5);

impl Interpreter {
    /// Starts one, as asked for: for one piece of code, or one that `keeps` its variables.
    pub(super) fn start(sessions: &Arc<Sessions>, order: &Order, keeps: bool) -> Result<Self> {
        let language = order.language;
        let base = [&sessions.inherited, &sessions.config.env, &order.env];
        let environment = environment::compose("/bin/sh", &base);
        let code = language.driver.unwrap_or(&order.code);
        let argv = language.argv(&environment, code).ok_or_else(|| not_installed(language.name))?;
        let (channel, theirs) = match language.driver {
            Some(_) => {
                let (own, theirs) = Channel::pair(sessions.budget())
                    .map_err(|error| Error::exhausted(Reason::SandboxOutOfResources, format!("run code: {error}")))?;
                (Some(own), Some(theirs))
            }
            None => (None, None),
        };
        let mut env = order.env.clone();
        if !environment.contains_key("MPLBACKEND") {
            // What matplotlib draws is a result, and not for a screen that is not there.
            env.insert("MPLBACKEND".to_owned(), "Agg".to_owned());
        }
        let mut start = ExecStart {
            target: Some(Target::SandboxId(order.sandbox_id.clone())),
            argv,
            env: env.into_iter().collect(),
            working_directory: order.working_directory.clone(),
            user: order.user.clone(),
            // Whoever ends it has been patient.
            kill_grace: Some(prost_types::Duration::default()),
            ..ExecStart::default()
        };
        let spec = Spec::new(&mut start, Some(Bytes::new()), sessions.budget())?;
        let command = sessions.execute(start, spec, None, theirs).map_err(of_this_request)?;
        if channel.is_some() {
            command.is_no_use();
        }
        let (is_driven, follower) = (channel.is_some(), Follower::starter(Arc::clone(&command)));
        Ok(Self { command, follower, channel, keeps, is_driven, end_is_told: false })
    }

    /// Lets it end in order, and ends it when it takes too long.
    pub(super) async fn end(mut self) {
        self.channel = None;
        // What it still prints is for nobody, and must not hold it up.
        let _ = tokio::time::timeout(ENDS_WITHIN, self.follower.collect(|_| {})).await;
    }

    /// How it ended, as told to a client: as an error with what that means for the client.
    pub(super) fn ending(exited: &Exited, meaning: &str) -> CodeError {
        let how = match exited.reason() {
            ExitReason::OutOfMemory => "the sandbox's memory is used up".to_owned(),
            _ if exited.signal != 0 => format!("signal {}", exited.signal),
            _ => format!("exit code {}", exited.exit_code),
        };
        CodeError {
            name: "InterpreterEnded".to_owned(),
            message: format!("the interpreter has ended ({how}){meaning}"),
            traceback: String::new(),
        }
    }

    /// How it has ended, if no client was told that yet.
    pub(super) fn untold_end(&self) -> Option<CodeError> {
        let exited = self.command.exited().filter(|_| !self.end_is_told)?;
        Some(Self::ending(&exited, " while no code ran, and its variables are lost"))
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.command.exited().is_some()
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        // Without a runtime the agent itself ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.is_over()
        {
            let command = Arc::clone(&self.command);
            runtime.spawn(async move { command.say(Control::Cancel).await });
        }
    }
}

fn not_installed(language: &str) -> Error {
    let message = format!("this sandbox has nothing that runs {language}; use an image that has, or install it");
    Error::WrongState { reason: Reason::LanguageNotInstalled, message }
}

/// The fields of a direct execution are named otherwise here.
fn of_this_request(error: Error) -> Error {
    match error {
        Error::Invalid(violations) => Error::Invalid(
            violations
                .into_iter()
                .map(|v| Violation::new(v.field.strip_prefix("start.").unwrap_or(&v.field), v.description.clone()))
                .collect(),
        ),
        other => other,
    }
}

/// Waits for the end of a command.
pub(super) async fn end_of(command: &Command) {
    loop {
        let changed = command.log.changed();
        tokio::pin!(changed);
        // Registered before the command is looked at, so that no change is missed in between.
        changed.as_mut().enable();
        if command.exited().is_some() {
            return;
        }
        changed.await;
    }
}

/// The path of what runs a language here, if anything does.
pub(super) fn program(sessions: &Sessions, language: &super::language::Language) -> Option<String> {
    let environment = environment::compose("/bin/sh", &[&sessions.inherited, &sessions.config.env]);
    language.runner(&environment).map(|(_, program)| program.display().to_string())
}
