//! Code in a language: run in a fresh process, or in an interpreter that is kept, a *context*.
//!
//! ```text
//! RunCode ─▶ the context's turn ─▶ interpreter: a program without a shell, whose descriptor 3 is a channel
//!                                    ├─ channel: code in; results, errors, "done" out
//!                                    └─ its pipes: what is printed, in its command's log
//! ```
//! A small driver in the language itself (`driver.py`, `driver.js`) keeps the variables and speaks on the channel.

mod channel;
mod interpreter;
mod language;
mod run;
mod service;

use super::{
    command::{Command, no_room},
    output::{Budget, Charge},
    session::{request_ids::not_known, sessions::Sessions},
    shell::environment::Variables,
};
use crate::{
    api::v1::{self, CodeStarted, RunCodeRequest, RunCodeResponse},
    error::{Error, Kind, Reason, Result},
    sync::lock,
};
use interpreter::Interpreter;
use language::{LANGUAGES, Language};
use run::{Answers, Run};
pub(super) use service::Service;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Contexts of a sandbox.
const MOST_CONTEXTS: usize = 256;

/// Calls that may wait for their turn in one context.
const MOST_WAITING: usize = 256;

/// What one argument of a program may have: code that is no driver's is one.
const MOST_OF_AN_ARGUMENT: usize = (128 << 10) - 1;

/// What is to be run, and by what.
struct Order {
    language: &'static Language,
    sandbox_id: String,
    code: String,
    timeout: Option<Duration>,
    env: Variables,
    working_directory: String,
    user: String,
    /// For the code, on its way too.
    _charge: Charge,
}

/// An interpreter that is kept.
struct Context {
    id: String,
    language: &'static Language,
    /// As whom its interpreters run: the user of its first call.
    user: String,
    create_time: SystemTime,
    /// Who has this has the turn.
    turn: tokio::sync::Mutex<Option<Interpreter>>,
    /// Who has the turn or waits for it.
    using: AtomicUsize,
    generation: AtomicI64,
    /// The command that its interpreter is, or was.
    command: Mutex<Option<Arc<Command>>>,
    /// Cancelled when it is deleted.
    deleted: CancellationToken,
}

/// The contexts of a sandbox.
pub(super) struct Contexts {
    sessions: Arc<Sessions>,
    all: Mutex<BTreeMap<String, Arc<Context>>>,
}

/// One call that uses a context, until this is dropped.
struct Use(Arc<Context>);

impl Drop for Use {
    fn drop(&mut self) {
        self.0.using.fetch_sub(1, Relaxed);
    }
}

impl Contexts {
    /// None yet.
    pub(super) fn new(sessions: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Self { sessions, all: Mutex::default() })
    }

    /// Runs code, and tells what comes of it. With `only_known` nothing is started for it.
    fn run(
        self: &Arc<Self>,
        request: RunCodeRequest,
        only_known: bool,
    ) -> Result<mpsc::Receiver<Result<RunCodeResponse>>> {
        self.sessions.check_sandbox(&request.sandbox_id)?;
        let context_id = request.context_id.clone();
        let mut order = Order::new(request, self.sessions.budget())?;
        let (answers, told) = mpsc::channel(1);
        if context_id.is_empty() {
            if only_known {
                return Err(not_known());
            }
            let mut interpreter = Interpreter::start(&self.sessions, &order, false)?;
            let ongoing = self.sessions.activity().begin();
            tokio::spawn(async move {
                let kept = CancellationToken::new();
                let started = CodeStarted { generation: 1, ..CodeStarted::default() };
                Run::new(&mut interpreter, &answers, order.timeout, &kept).run(&order.code, started).await;
                drop(ongoing);
            });
            return Ok(told);
        }
        if order.language.driver.is_none() {
            let message = format!("the interpreter of {} cannot be kept; leave context_id out", order.language.name);
            return Err(Error::invalid("context_id", message));
        }
        let place = self.use_of(&context_id, &order, only_known)?;
        order.user.clone_from(&place.0.user);
        let this = Arc::clone(self);
        tokio::spawn(async move { this.run_in(&place.0, &order, only_known, &answers).await });
        Ok(told)
    }

    /// The context of this id, which is made if there is none.
    fn use_of(&self, id: &str, order: &Order, only_known: bool) -> Result<Use> {
        let mut all = lock(&self.all);
        let full = all.len() >= MOST_CONTEXTS;
        let context = match all.get(id) {
            Some(context) => Arc::clone(context),
            None if only_known => return Err(not_known()),
            None if full => {
                let message = format!("a sandbox has at most {MOST_CONTEXTS} contexts; delete one");
                return Err(Error::exhausted(Reason::TooManySessions, message));
            }
            None => {
                let context = Arc::new(Context {
                    id: id.to_owned(),
                    language: order.language,
                    user: order.user.clone(),
                    create_time: SystemTime::now(),
                    turn: tokio::sync::Mutex::default(),
                    using: AtomicUsize::new(0),
                    generation: AtomicI64::new(0),
                    command: Mutex::default(),
                    deleted: CancellationToken::new(),
                });
                all.insert(id.to_owned(), Arc::clone(&context));
                context
            }
        };
        if context.language.name != order.language.name {
            let message = format!("context \"{id}\" is one of {}", context.language.name);
            return Err(Error::invalid("language", message));
        }
        if !order.user.is_empty() && order.user != context.user {
            let user = if context.user.is_empty() { "the sandbox's user" } else { &context.user };
            let message = format!("context \"{id}\" is one of {user}; leave user out, or name another context");
            return Err(Error::invalid("user", message));
        }
        if context.using.fetch_add(1, Relaxed) >= MOST_WAITING {
            context.using.fetch_sub(1, Relaxed);
            let message = format!("{MOST_WAITING} calls wait in context \"{id}\"; try again later");
            return Err(Error::exhausted(Reason::QueueFull, message));
        }
        Ok(Use(context))
    }

    async fn run_in(&self, context: &Arc<Context>, order: &Order, only_known: bool, answers: &Answers) {
        let mut turn = tokio::select! {
            turn = context.turn.lock() => turn,
            // Nobody waits for what it would do.
            () = answers.closed() => return,
        };
        let is_there = lock(&self.all).get(&context.id).is_some_and(|there| Arc::ptr_eq(there, context));
        let mut ended = None;
        let error = if !is_there {
            Some(unknown(&context.id))
        } else if turn.as_ref().is_none_or(Interpreter::is_over) {
            ended = turn.take().and_then(|interpreter| interpreter.untold_end());
            if only_known { Some(not_known()) } else { self.start_in(context, order, &mut turn).err() }
        } else {
            None
        };
        if let Some(error) = error {
            let _ = answers.send(Err(error)).await;
            return;
        }
        let ongoing = self.sessions.activity().begin();
        if let Some(interpreter) = turn.as_mut() {
            let generation = context.generation.load(Relaxed);
            let started = CodeStarted { generation, interpreter_ended: ended, ..CodeStarted::default() };
            Run::new(interpreter, answers, order.timeout, &context.deleted).run(&order.code, started).await;
        }
        drop(ongoing);
    }

    fn start_in(&self, context: &Arc<Context>, order: &Order, turn: &mut Option<Interpreter>) -> Result<()> {
        match Interpreter::start(&self.sessions, order, true) {
            Ok(interpreter) => {
                context.generation.fetch_add(1, Relaxed);
                *lock(&context.command) = Some(Arc::clone(&interpreter.command));
                *turn = Some(interpreter);
                Ok(())
            }
            Err(error) => {
                // One that has never been there is no context.
                if context.generation.load(Relaxed) == 0 {
                    lock(&self.all).retain(|_, there| !Arc::ptr_eq(there, context));
                }
                Err(error)
            }
        }
    }

    fn languages(&self, sandbox_id: &str) -> Result<Vec<v1::Language>> {
        self.sessions.check_sandbox(sandbox_id)?;
        let described = LANGUAGES.iter().map(|language| v1::Language {
            name: language.name.to_owned(),
            aliases: language.aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            program: interpreter::program(&self.sessions, language).unwrap_or_default(),
            keeps_contexts: language.driver.is_some(),
        });
        Ok(described.collect())
    }

    fn list(&self, sandbox_id: &str) -> Result<Vec<v1::CodeContext>> {
        self.sessions.check_sandbox(sandbox_id)?;
        let described = |context: &Arc<Context>| v1::CodeContext {
            context_id: context.id.clone(),
            language: context.language.name.to_owned(),
            create_time: Some(context.create_time.into()),
            generation: context.generation.load(Relaxed),
            command_id: lock(&context.command).as_ref().map(|command| command.id.clone()).unwrap_or_default(),
            busy: context.using.load(Relaxed) > 0,
        };
        Ok(lock(&self.all).values().map(described).collect())
    }

    /// Ends a context: its interpreter in order, and by force when that takes too long. Whoever runs code in it does that; when nobody does,
    /// it is done here, and goes on when this call is cancelled.
    async fn delete(&self, sandbox_id: &str, id: &str) -> Result<()> {
        self.sessions.check_sandbox(sandbox_id)?;
        let context = lock(&self.all).remove(id).ok_or_else(|| unknown(id))?;
        context.deleted.cancel();
        let command = lock(&context.command).clone();
        tokio::spawn(async move {
            if let Some(interpreter) = context.turn.lock().await.take() {
                interpreter.end().await;
            }
        });
        if let Some(command) = command {
            // Not longer than it takes: what cannot be killed is not waited for.
            let _ = tokio::time::timeout(2 * interpreter::ENDS_WITHIN, interpreter::end_of(&command)).await;
        }
        Ok(())
    }
}

impl Order {
    fn new(request: RunCodeRequest, budget: &Arc<Budget>) -> Result<Self> {
        let language = Language::find(&request.language).ok_or_else(|| {
            let known: Vec<_> = LANGUAGES.iter().map(|language| language.name).collect();
            let shown: String = request.language.chars().take(64).collect();
            Error::invalid("language", format!("{shown:?} is not known; known are {}", known.join(", ")))
        })?;
        if language.driver.is_none() && request.code.len() > MOST_OF_AN_ARGUMENT {
            let message = format!("code in {} may have at most {MOST_OF_AN_ARGUMENT} bytes", language.name);
            return Err(Error::invalid("code", message));
        }
        let wanted = 2 * request.code.len();
        let charge = budget.hold(wanted).ok_or_else(|| no_room(wanted, budget))?;
        Ok(Self {
            language,
            sandbox_id: request.sandbox_id,
            code: request.code,
            timeout: request.timeout.and_then(|timeout| Duration::try_from(timeout).ok()),
            env: request.env.into_iter().collect(),
            working_directory: request.working_directory,
            user: request.user,
            _charge: charge,
        })
    }
}

fn unknown(id: &str) -> Error {
    Error::not_found(Kind::Context, id)
}
