//! How a program is started. Nothing waits here, so nothing can be left half done when the call is cancelled.

use super::Execution;
use crate::{
    agent::{
        command::{Command, Input, Spec},
        resources::{is_of_resources, out_of_resources},
        session::{
            About, Session, opening::DEFAULT_SHELL, request_ids::Claimed, sessions::Sessions, starts::under_start,
        },
        shell::{Program, Wiring, environment},
    },
    api::v1::{ExecStart, IfBusy, OnShellExit},
    error::{Error, Reason, Result},
};
use std::{io, os::fd::OwnedFd, sync::Arc, time::SystemTime};

impl Sessions {
    /// Executes a program directly, with `channel` as its descriptor 3. Returns its command.
    pub(in crate::agent) fn execute(
        self: &Arc<Self>,
        mut start: ExecStart,
        spec: Spec,
        claimed: Option<Claimed<Arc<Command>>>,
        channel: Option<OwnedFd>,
    ) -> Result<Arc<Command>> {
        let user = self.user(&start.user).map_err(under_start)?;
        let anywhere = start.working_directory.is_empty();
        let directory = self.config.directory(&start.working_directory);
        if !anywhere && !directory.is_dir() {
            let message = format!("\"{}\" is not a directory in this sandbox", start.working_directory);
            return Err(Error::invalid("start.working_directory", message));
        }
        let own = user.iter().flat_map(|user| user.variables()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let env = std::mem::take(&mut start.env).into_iter().collect();
        let sets = [&self.inherited, &self.config.env, &own, &env];
        let mut variables = environment::compose(DEFAULT_SHELL, &sets);
        if let Some(pty) = &spec.pty {
            match &pty.term {
                Some(term) => _ = variables.insert("TERM".into(), term.clone()),
                None if sets.iter().any(|set| set.contains_key("TERM")) => {}
                None => _ = variables.insert("TERM".into(), environment::TERMINAL.into()),
            }
        }
        let (arguments, _) = spec.arguments.as_deref().ok_or_else(|| Error::invalid("start.argv", "is required"))?;
        let program = Program::new(arguments, &variables, &directory, anywhere, user.as_deref())
            .map_err(|error| Error::internal("prepare a program", error))?;
        let wiring = match &spec.pty {
            Some(pty) => Wiring::Terminal(pty.size),
            None => Wiring::Pipes { input: !matches!(spec.input, Input::Empty), merge: spec.merge, channel },
        };
        let (number, _place) = self.reserve(true)?;
        let (holder, ends) = program.start(wiring).map_err(not_started)?;
        let about = About {
            id: format!("{}/d{number}", self.config.sandbox_id),
            sandbox_id: self.config.sandbox_id.clone(),
            shell: arguments.first().cloned().unwrap_or_default(),
            direct: true,
            on_shell_exit: OnShellExit::Close,
            create_time: SystemTime::now(),
        };
        let (session, inbox) = Session::new(about, directory, (0, holder.name()), self.activity().clone());
        let execution = Execution { session: Arc::clone(&session), program, holder, oom: Arc::clone(&self.oom) };
        if !self.enter(number, &session) {
            return Err(self.being_stopped());
        }
        let command = session.submit(spec, IfBusy::Queue)?;
        tokio::spawn(execution.run(ends, inbox));
        if let Some(claimed) = claimed {
            claimed.fulfil(Arc::clone(&command));
        }
        Ok(command)
    }
}

/// The agent itself lacks something that the program needs: descriptors, processes, memory, terminals.
fn not_started(error: io::Error) -> Error {
    match error.raw_os_error() {
        _ if is_of_resources(&error) => out_of_resources("start a program", &error),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENXIO | libc::ENODEV | libc::ENOTTY | libc::EACCES | libc::EIO) => {
            let message =
                format!("no terminal can be opened ({error}): `pty` needs /dev/ptmx and the terminals in /dev/pts");
            Error::WrongState { reason: Reason::ShellNotStarted, message }
        }
        _ => Error::internal("start a program", error),
    }
}
