//! What things with ids are called.

use std::fmt;

/// Kinds of things with ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sandbox.
    Sandbox,
    /// A session.
    Session,
    /// A command.
    Command,
    /// A context of code.
    Context,
    /// A process of a session.
    Process,
    /// An image.
    Image,
    /// A verification.
    Verification,
    /// A volume.
    Volume,
    /// A tenant.
    Tenant,
    /// An API key.
    Key,
    /// A set of samples.
    Dataset,
    /// A sample.
    Sample,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Session => "session",
            Self::Command => "command",
            Self::Context => "context",
            Self::Image => "image",
            Self::Verification => "verification",
            Self::Volume => "volume",
            Self::Tenant => "tenant",
            Self::Process => "process",
            Self::Key => "key",
            Self::Dataset => "dataset",
            Self::Sample => "sample",
        })
    }
}

/// What is said of an id of one kind that was given for another. Only the form is looked at, so nothing is told of what there is.
pub(super) fn mistaken(kind: Kind, id: &str) -> Option<String> {
    if !id.starts_with("sbx-") {
        return None;
    }
    let given = match id.matches('/').count() {
        0 => Kind::Sandbox,
        1 => Kind::Session,
        _ => Kind::Command,
    };
    let wanted = match kind {
        Kind::Sandbox => "that of a sandbox is all before the first \"/\"",
        Kind::Session => "that of a session is SANDBOX/NAME, as CreateSession and ListSessions give it",
        Kind::Command => "that of a command is SANDBOX/NAME/NUMBER, as Run, Exec and ListCommands give it",
        Kind::Process
        | Kind::Image
        | Kind::Tenant
        | Kind::Key
        | Kind::Context
        | Kind::Dataset
        | Kind::Sample
        | Kind::Verification
        | Kind::Volume => return None,
    };
    (given != kind).then(|| format!("; this is the id of a {given}, and {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::super::Error;
    use super::*;

    #[test]
    fn an_id_of_another_kind_is_explained() {
        for (kind, id, said) in [
            (
                Kind::Session,
                "sbx-1",
                "session \"sbx-1\" was not found; this is the id of a sandbox, and that of a session is SANDBOX/NAME",
            ),
            (Kind::Sandbox, "sbx-1/2", "this is the id of a session, and that of a sandbox is all before the first"),
            (Kind::Command, "sbx-1/2", "this is the id of a session, and that of a command is SANDBOX/NAME/NUMBER"),
            (Kind::Session, "sbx-1/2/3", "this is the id of a command, and that of a session is SANDBOX/NAME"),
        ] {
            let told = Error::not_found(kind, id).to_string();
            assert!(told.contains(said), "{told}");
        }
        for (kind, id) in
            [(Kind::Session, "sbx-1/2"), (Kind::Sandbox, "sbx-1"), (Kind::Session, "x"), (Kind::Key, "sbx-1")]
        {
            assert!(Error::not_found(kind, id).to_string().ends_with("was not found"), "{kind} {id}");
        }
    }
}
