//! Which daemon is meant. Everything is looked up where Docker's own tools look, in their order: `DOCKER_HOST`, the context
//! that `DOCKER_CONTEXT` names, the current context of `config.json`, the standard socket.

use super::{
    context::{self, Context},
    tls::Tls,
};
use crate::{docker_config, runtime::RuntimeError};
use std::{ffi::OsString, fmt, path::PathBuf, sync::Arc};

/// Where a daemon listens unless told otherwise.
const SOCKET: &str = "/var/run/docker.sock";
/// The same over TCP.
const HOST: &str = "localhost";
const PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// The context that is none: everything is said by the environment.
const NO_CONTEXT: &str = "default";

/// A daemon's place.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) address: Address,
    /// The context that says so.
    context: Option<String>,
}

/// How a daemon is reached.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// A Unix socket of this host.
    Socket(PathBuf),
    /// A port, with or without TLS.
    Tcp { host: String, port: u16, tls: Option<Arc<Tls>> },
    /// A host where one can log in and run `docker`.
    Ssh(SshAddress),
}

/// What `ssh` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SshAddress {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// The daemon's socket there, if it is not the usual one.
    pub(super) socket: Option<String>,
}

/// What an address says by itself: whether TLS is spoken there stands elsewhere.
#[derive(Debug, PartialEq, Eq)]
enum Bare {
    Socket(PathBuf),
    Tcp(String, u16),
    Ssh(SshAddress),
}

impl Place {
    /// Finds out which daemon an environment means.
    ///
    /// # Errors
    /// If it contradicts itself, or names what is not there: what, and what would be right.
    pub(super) fn find(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, RuntimeError> {
        let text = |name: &str| match variable(name).filter(|value| !value.is_empty()).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(value)) => Err(RuntimeError::Option(format!("{name}={value:?}: is no text"))),
        };
        let folder = docker_config::folder(variable);
        let host = text("DOCKER_HOST")?;
        if host.is_none() {
            let named = match text("DOCKER_CONTEXT")? {
                Some(name) => Some((name, "DOCKER_CONTEXT".to_owned())),
                None => context::current(folder.as_deref())?,
            };
            if let Some((name, said_by)) = named.filter(|(name, _)| name != NO_CONTEXT) {
                let found = context::open(folder.as_deref(), &name, &said_by)?;
                return Self::of_context(name, found);
            }
        }
        let verify = text("DOCKER_TLS_VERIFY")?.is_some();
        let is_tls = verify || text("DOCKER_TLS")?.is_some();
        let certificates = text("DOCKER_CERT_PATH")?.map(PathBuf::from).or(folder);
        let wrong = |reason| RuntimeError::Option(format!("DOCKER_HOST={}: {reason}", host.as_deref().unwrap_or("")));
        let bare = match &host {
            Some(host) => parse(host).map_err(wrong)?,
            None if is_tls => Bare::Tcp(HOST.to_owned(), TLS_PORT),
            None => Bare::Socket(SOCKET.into()),
        };
        let tls = || match (is_tls, certificates) {
            (false, _) => Ok(None),
            (true, Some(folder)) => Tls::load(&folder, verify).map(Some),
            (true, None) if verify => Err(RuntimeError::Option("DOCKER_TLS_VERIFY needs DOCKER_CERT_PATH".to_owned())),
            (true, None) => Tls::without_certificates().map(Some),
        };
        Ok(Self { address: bare.with(tls)?, context: None })
    }

    fn of_context(name: String, context: Context) -> Result<Self, RuntimeError> {
        let bare = match context.host.as_str() {
            "" => Bare::Socket(SOCKET.into()),
            host => parse(host).map_err(|reason| {
                RuntimeError::Option(format!("{}: the host {host:?}: {reason}", context.file.display()))
            })?,
        };
        let tls = || match (context.certificates, context.skip_tls_verify) {
            (None, false) => Ok(None),
            (Some(folder), skip) => Tls::of_context(&folder, !skip).map(Some),
            (None, true) => Tls::without_certificates().map(Some),
        };
        Ok(Self { address: bare.with(tls)?, context: Some(name) })
    }

    /// Whether it may be on this host, and share its files.
    pub(super) fn is_socket(&self) -> bool {
        matches!(self.address, Address::Socket(_))
    }

    /// How its certificates are checked and shown, in words.
    pub(super) fn tls(&self) -> Option<&Tls> {
        match &self.address {
            Address::Tcp { tls, .. } => tls.as_deref(),
            _ => None,
        }
    }
}

impl Bare {
    /// TLS is for TCP alone: the settings for it hold for every address, and are not even looked at for others.
    fn with(self, tls: impl FnOnce() -> Result<Option<Tls>, RuntimeError>) -> Result<Address, RuntimeError> {
        Ok(match self {
            Self::Socket(path) => Address::Socket(path),
            Self::Tcp(host, port) => Address::Tcp { host, port, tls: tls()?.map(Arc::new) },
            Self::Ssh(address) => Address::Ssh(address),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Socket(path) => write!(f, "unix://{}", path.display())?,
            Address::Tcp { host, port, .. } if host.contains(':') => write!(f, "tcp://[{host}]:{port}")?,
            Address::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}")?,
            Address::Ssh(SshAddress { user, host, port, .. }) => {
                let user = user.as_ref().map_or(String::new(), |user| format!("{user}@"));
                let port = port.map_or(String::new(), |port| format!(":{port}"));
                write!(f, "ssh://{user}{host}{port}")?;
            }
        }
        self.context.as_ref().map_or(Ok(()), |name| write!(f, ", the context {name:?}"))
    }
}

/// Reads an address as Docker's tools do; why it is none, and what would be right.
fn parse(text: &str) -> Result<Bare, String> {
    match text.split_once("://") {
        Some(("unix", "")) => Ok(Bare::Socket(SOCKET.into())),
        Some(("unix", path)) => Ok(Bare::Socket(path.into())),
        Some(("tcp", rest)) => tcp(rest),
        Some(("ssh", rest)) => ssh(rest).map(Bare::Ssh),
        Some(("http" | "https", rest)) => {
            Err(format!("Docker's tools know no such address; write tcp://{rest}, for TLS with DOCKER_TLS_VERIFY=1"))
        }
        Some((scheme, _)) => Err(format!("{scheme}:// is none of unix://, tcp:// and ssh://")),
        None if text.starts_with('/') => Err(format!("write unix://{text}")),
        None => tcp(text),
    }
}

fn tcp(text: &str) -> Result<Bare, String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.contains(['/', '@', '?', '#']) {
        return Err("must be tcp://HOST:PORT and nothing more".to_owned());
    }
    let (host, port) = host_and_port(text)?;
    let host = if host.is_empty() { HOST } else { host };
    Ok(Bare::Tcp(host.to_owned(), port.unwrap_or(PORT)))
}

fn ssh(text: &str) -> Result<SshAddress, String> {
    let (login, path) = text.find('/').map_or((text, ""), |at| text.split_at(at));
    let (user, rest) = login.rsplit_once('@').map_or((None, login), |(user, rest)| (Some(user), rest));
    if user.is_some_and(|user| user.contains(':')) {
        return Err("a password has no place in it; use a key".to_owned());
    }
    let (host, port) = host_and_port(rest)?;
    // ssh takes what begins with a hyphen for an option, and a user's name goes to a shell over there.
    let plain = |text: &str| !text.starts_with('-') && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if host.is_empty() || !plain(host) || !user.is_none_or(|user| !user.is_empty() && plain(user)) {
        return Err("must be ssh://USER@HOST:PORT, without what is not needed".to_owned());
    }
    let socket = Some(path.trim_end_matches('/')).filter(|path| !path.is_empty());
    // It becomes part of a command for a shell over there.
    let safe = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if let Some(path) = socket.filter(|path| !path.chars().all(safe)) {
        return Err(format!("{path} must be a path of letters, digits and ._- only"));
    }
    Ok(SshAddress { user: user.map(Into::into), host: host.to_owned(), port, socket: socket.map(Into::into) })
}

/// The colons of an IPv6 address are in brackets.
fn host_and_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, ""))) => (host, None),
        Some(Some((host, rest))) => (host, Some(rest.strip_prefix(':').ok_or("something is between ] and the port")?)),
        Some(None) => return Err("a ] is missing".to_owned()),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let number = |port: &str| port.parse().ok().filter(|port| *port > 0).ok_or(format!("{port:?} is no port"));
    Ok((host, port.filter(|port| !port.is_empty()).map(number).transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_dockers_tools_read_them() {
        let port = |host: &str, port| Bare::Tcp(host.to_owned(), port);
        let login = |user: Option<&str>, port, socket: Option<&str>| {
            let (user, socket) = (user.map(Into::into), socket.map(Into::into));
            Bare::Ssh(SshAddress { user, host: "h".into(), port, socket })
        };
        for (text, meant) in [
            ("unix:///run/user/1000/docker.sock", Bare::Socket("/run/user/1000/docker.sock".into())),
            ("unix://", Bare::Socket(SOCKET.into())),
            ("tcp://10.0.0.1:2376", port("10.0.0.1", 2376)),
            ("tcp://h/", port("h", 2375)),
            ("tcp://:4243", port("localhost", 4243)),
            ("tcp://[::1]:2376", port("::1", 2376)),
            ("h:2376", port("h", 2376)),
            ("ssh://h", login(None, None, None)),
            ("ssh://me@h:22/", login(Some("me"), Some(22), None)),
            ("ssh://h/run/user/1000/docker.sock", login(None, None, Some("/run/user/1000/docker.sock"))),
        ] {
            assert_eq!(parse(text), Ok(meant), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_remedy() {
        for (text, remedy) in [
            ("/var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("https://h:2376", "tcp://h:2376"),
            ("fd://", "fd://"),
            ("tcp://h:2376/prefix", "tcp://HOST:PORT"),
            ("tcp://h:none", "none"),
            ("ssh://me:secret@h", "key"),
            ("ssh://", "ssh://USER@HOST"),
            ("ssh://-oProxyCommand=x", "ssh://USER@HOST"),
            ("ssh://-lroot@h", "ssh://USER@HOST"),
            ("ssh://h/a$(b)", "letters"),
        ] {
            let reason = parse(text).expect_err(text);
            assert!(reason.contains(remedy), "{text}: {reason}");
        }
    }

    /// What a place is in an environment.
    fn found(variables: &[(&str, &str)]) -> Result<String, String> {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        Place::find(&variable).map(|place| place.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_word_it_is_the_standard_socket() {
        let standard = Ok("unix:///var/run/docker.sock".to_owned());
        assert_eq!(found(&[]), standard);
        assert_eq!(found(&[("DOCKER_HOST", ""), ("DOCKER_CONTEXT", "default"), ("HOME", "/nonexistent")]), standard);
        // What is for TCP only harms no other address.
        assert_eq!(
            found(&[("DOCKER_HOST", "unix://"), ("DOCKER_TLS_VERIFY", "1"), ("HOME", "/nonexistent")]),
            standard
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = found(&[("DOCKER_HOST", "http://h")]).unwrap_err();
        assert!(refused.starts_with("DOCKER_HOST=http://h: "), "{refused}");
        let refused = found(&[("DOCKER_CONTEXT", "away"), ("DOCKER_CONFIG", "/nonexistent")]).unwrap_err();
        assert!(refused.contains("\"away\"") && refused.contains("/nonexistent/contexts/meta/"), "{refused}");
        let refused = found(&[("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/nonexistent")]).unwrap_err();
        assert!(refused.contains("/nonexistent/ca.pem"), "{refused}");
    }
}
