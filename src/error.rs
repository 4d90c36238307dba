//! What can go wrong, as the domain and the agent see it. `rpc::status` turns it into what a client reads.

mod kind;

pub use kind::Kind;

use kind::mistaken;
use std::time::Duration;

/// The result of everything that can fail towards a client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request has bad fields: all of them.
    #[error("{}", join(.0))]
    Invalid(Vec<Violation>),
    /// No such thing, or it was removed.
    #[error("{kind} \"{id}\" was not found{}", hint.as_deref().unwrap_or(""))]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// The id that was asked for.
        id: String,
        /// What else could be meant, starting with punctuation.
        hint: Option<String>,
    },
    /// The thing exists, but not in a state that allows this.
    #[error("{message}")]
    WrongState {
        /// Stable name of the cause.
        reason: Reason,
        /// What is wrong and what to do.
        message: String,
    },
    /// A limit was reached.
    #[error("{message}")]
    Exhausted {
        /// Stable name of the limit.
        reason: Reason,
        /// Which limit and what to do.
        message: String,
        /// When it is worth trying again without doing anything about it.
        retry_after: Option<Duration>,
    },
    /// The sandbox's agent cannot be reached now.
    #[error("sandbox \"{sandbox_id}\" cannot be reached{}", because(cause.as_deref()))]
    Unreachable {
        /// Which sandbox.
        sandbox_id: String,
        /// Why, if that is known: "it is paused".
        cause: Option<String>,
        /// When to try again.
        retry_after: Duration,
        /// For the log.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server cannot do this now, but will again.
    #[error("{message}")]
    Unavailable {
        /// Stable name of the cause.
        reason: Reason,
        /// Why, and what to do.
        message: String,
    },
    /// There is something of this name already.
    #[error("{message}")]
    Exists {
        /// What, and what to do.
        message: String,
    },
    /// A file cannot be read or changed as asked.
    #[error("{message}")]
    File {
        /// Stable name of the cause.
        reason: Reason,
        /// Which path, what is wrong and what to do.
        message: String,
        /// The path alone, when it is about one.
        path: Option<String>,
    },
    /// The caller did not say who they are, or it is not true.
    #[error("{message}")]
    Unauthenticated {
        /// What is wrong and what to do.
        message: String,
    },
    /// The time that the caller gave is over.
    #[error("{message}")]
    DeadlineExceeded {
        /// What was not finished.
        message: String,
    },
    /// Another error, and the command that it is about.
    #[error("{error}")]
    About {
        /// Which command.
        command_id: String,
        /// What is wrong.
        error: Box<Error>,
    },
    /// Anything else. The client reads a fixed text and the request id; the log has the cause.
    #[error("{context}")]
    Internal {
        /// What was being done.
        context: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// One field of a request and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, as in the proto: `start.timeout`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

/// Stable causes that a client can act on: `ErrorInfo.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The session takes no more commands.
    SessionClosed,
    /// The session runs a command and was told to refuse others.
    SessionBusy,
    /// The command is over.
    CommandExited,
    /// Too many commands wait.
    QueueFull,
    /// Too many sessions in the sandbox.
    TooManySessions,
    /// Too many sandboxes on the server.
    TooManySandboxes,
    /// The `request_id` was used for another request.
    RequestIdReused,
    /// The sandbox is being stopped or has failed.
    SandboxNotRunning,
    /// This host cannot give what was asked for.
    NotSupportedByHost,
    /// The operator does not allow it.
    NotAllowed,
    /// The sandbox has no room left (processes, memory, files) for what was asked.
    SandboxOutOfResources,
    /// A start-up file of the user's ends the shell, stops it, replaces it or holds it up.
    StartUpFileFailed,
    /// The sandbox lacks something that its shells need.
    ShellNotStarted,
    /// The message is larger than the server takes.
    MessageTooLarge,
    /// The message was too long on its way.
    MessageTooSlow,
    /// The server holds as many large messages as it may.
    ServerBusy,
    /// The server is being stopped.
    ServerStopping,
    /// The tenant's sandboxes would have more memory than they may.
    TooMuchMemory,
    /// The tenant makes more calls than it may.
    TooManyRequests,
    /// There are as many streams of output as there may be.
    TooManyStreams,
    /// There are as many connections as there may be.
    TooManyConnections,
    /// The server speaks TLS, and the client did not.
    TlsRequired,
    /// Too many creations wait.
    TooManyCreations,
    /// The sandbox is on another server.
    OnOtherServer,
    /// The sandboxes were made by another runtime than the server has.
    OnOtherRuntime,
    /// The database does not answer.
    DatabaseUnreachable,
    /// What makes the sandboxes, or gives the images, does not answer.
    RuntimeUnreachable,
    /// A disk of the server's is full, or the sandbox's.
    NoSpace,
    /// The sandbox has nothing that runs this language.
    LanguageNotInstalled,
    /// The sandbox's agent is of an earlier version, which cannot do this.
    SandboxTooOld,
    /// The sandbox was made from no sample.
    NoSample,
    /// The sample has changed meanwhile.
    SampleChanged,
    /// Too many verifications wait.
    TooManyVerifications,
    /// The tenant has as many volumes as it may.
    TooManyVolumes,
    /// Sandboxes have the volume.
    VolumeInUse,
    /// The volume's files are not there, or cannot be mounted where they should be.
    VolumeUnusable,
    /// There is no such file.
    FileNotFound,
    /// There is something of that name.
    AlreadyExists,
    /// The user may not do this.
    PermissionDenied,
    /// It is a directory, and something else was needed.
    IsADirectory,
    /// A directory was needed.
    NotADirectory,
    /// A regular file was needed.
    NotAFile,
    /// The directory is not empty.
    DirectoryNotEmpty,
    /// The file has another etag than the one asked for.
    EtagMismatch,
    /// The text to replace is not there.
    TextNotFound,
    /// The text to replace is there more than once.
    TextNotUnique,
    /// The file is larger than this can take.
    FileTooLarge,
    /// Symbolic links lead in a circle.
    TooManyLinks,
    /// The file system cannot be written to.
    ReadOnly,
    /// An entry of an archive must not be unpacked.
    EntryRefused,
    /// A setup command of the sample has failed.
    SampleSetupFailed,
    /// The sample cannot be brought into its image.
    SampleUnusable,
    /// The system says so, in words of its own.
    IoError,
}

impl Error {
    /// One bad field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, description)])
    }

    /// No such thing. An id that has the form of another kind's is explained.
    pub fn not_found(kind: Kind, id: impl Into<String>) -> Self {
        let id = id.into();
        let hint = mistaken(kind, &id);
        Self::NotFound { kind, id, hint }
    }

    /// A limit was reached, and it is not known when that will be over.
    pub fn exhausted(reason: Reason, message: impl Into<String>) -> Self {
        Self::Exhausted { reason, message: message.into(), retry_after: None }
    }

    /// A tenant has as much as it may, until it ends something.
    pub fn quota(reason: Reason, message: impl Into<String>) -> Self {
        Self::Exhausted { reason, message: message.into(), retry_after: Some(Duration::from_secs(5)) }
    }

    /// The time of a call is over before its command was. `cancelled` tells whether the command ends with the call.
    pub fn still_running(command_id: impl Into<String>, cancelled: bool) -> Self {
        let command_id = command_id.into();
        let message = if cancelled {
            format!(
                "the call was not finished within the time that it was given; command \"{command_id}\" is cancelled with it"
            )
        } else {
            format!(
                "the call was not finished within the time that it was given; command \"{command_id}\" goes on: Attach has \
                 its output, and so has a call that repeats this one with the same request_id"
            )
        };
        Self::DeadlineExceeded { message }.about(command_id)
    }

    /// The same error, which says which command it is about.
    pub fn about(self, command_id: impl Into<String>) -> Self {
        Self::About { command_id: command_id.into(), error: Box::new(self) }
    }

    /// The server is being stopped.
    pub fn stopping() -> Self {
        let message = "the server is stopping; use another or try again when it is back".to_owned();
        Self::Unavailable { reason: Reason::ServerStopping, message }
    }

    /// A disk of the server's is full.
    pub fn no_space(whose: &str) -> Self {
        let message = format!("no space left on the disk of {whose}; the operator must make room");
        Self::Exhausted { reason: Reason::NoSpace, message, retry_after: Some(Duration::from_secs(5)) }
    }

    /// A file cannot be read or changed as asked.
    pub fn file(reason: Reason, message: impl Into<String>) -> Self {
        Self::File { reason, message: message.into(), path: None }
    }

    /// Something that should not happen.
    pub fn internal(context: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal { context: context.into(), source: source.into() }
    }
}

impl Violation {
    /// A field and what is wrong with it.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

fn because(cause: Option<&str>) -> String {
    cause.map_or_else(String::new, |cause| format!(": {cause}"))
}

fn join(violations: &[Violation]) -> String {
    let rows: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
    rows.join("; ")
}
