//! A process that runs code: an execution of a program, with a channel if it is kept.

use super::{Order, channel::Channel};
use crate::{
    agent::{
        command::{Command, Control, Spec},
        environment,
        output::Follower,
        sessions::Sessions,
    },
    api::v1::{ExecStart, exec_start::Target},
    error::{Error, Reason, Result, Violation},
};
use bytes::Bytes;
use std::sync::Arc;

/// A process that runs code. When it is dropped, the process is ended.
pub(super) struct Interpreter {
    /// It, as a command.
    pub(super) command: Arc<Command>,
    /// What it prints.
    pub(super) follower: Follower,
    /// The line to its driver, if it has one.
    pub(super) channel: Option<Channel>,
    /// Whether it goes on when a piece of code is over.
    pub(super) keeps: bool,
}

impl Interpreter {
    /// Starts one, as asked for.
    pub(super) fn start(sessions: &Arc<Sessions>, order: &Order) -> Result<Self> {
        let language = order.language;
        let base = [&sessions.inherited, &sessions.config.env, &order.env];
        let environment = environment::compose("/bin/sh", &base);
        let (program, arguments) = language.runner(&environment).ok_or_else(|| not_installed(language.name))?;
        let (channel, theirs) = match language.driver {
            Some(_) => {
                let (own, theirs) = Channel::pair(sessions.budget())
                    .map_err(|error| Error::exhausted(Reason::SandboxOutOfResources, format!("run code: {error}")))?;
                (Some(own), Some(theirs))
            }
            None => (None, None),
        };
        let code = language.driver.unwrap_or(&order.code);
        let program = program.to_string_lossy();
        let argv = std::iter::once(program.as_ref()).chain(arguments.iter().copied()).chain([code]);
        let mut env = order.env.clone();
        if !environment.contains_key("MPLBACKEND") {
            // What matplotlib draws is a result, and not for a screen that is not there.
            env.insert("MPLBACKEND".to_owned(), "Agg".to_owned());
        }
        let mut start = ExecStart {
            target: Some(Target::SandboxId(order.sandbox_id.clone())),
            argv: argv.map(str::to_owned).collect(),
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
        let keeps = channel.is_some();
        Ok(Self { follower: Follower::starter(Arc::clone(&command)), command, channel, keeps })
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

/// The path of what runs a language here, if anything does.
pub(super) fn program(sessions: &Sessions, language: &super::language::Language) -> Option<String> {
    let environment = environment::compose("/bin/sh", &[&sessions.inherited, &sessions.config.env]);
    language.runner(&environment).map(|(program, _)| program.display().to_string())
}
