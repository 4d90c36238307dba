//! Credentials for registries, from where `docker login` puts them: a file, or a helper program that the file names.

use crate::{
    descriptors,
    docker_config::{self, Config, ConfigError, Entry},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// The name that everybody's registry has in the file.
const EVERYBODYS: &str = "https://index.docker.io/v1/";

/// What a helper says when it has nothing, which is no failure.
const NOTHING: &str = "credentials not found in native keychain";

/// What opens a registry.
#[derive(Default)]
pub(crate) struct Credentials {
    /// As the registry's own login writes it.
    pub(crate) server: String,
    /// Name and password.
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// In the place of a password.
    pub(crate) identity_token: Option<String>,
}

/// What a helper answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Why there are no credentials where there should be some.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// The configuration is broken.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A login in it is.
    #[error("the login for {server} in {} is not name and password in base64", .file.display())]
    Login { server: String, file: PathBuf },
    /// A helper cannot be run.
    #[error("{program}, which config.json names: {source}")]
    Run { program: String, source: io::Error },
    /// It does not end.
    #[error("{program} gave no answer for {patience:?}; it may wait for somebody who is not there")]
    Slow { program: String, patience: Duration },
    /// It said something else.
    #[error("{program} failed: {said}")]
    Failed { program: String, said: String },
}

/// The credentials for a registry, if there are any. A helper program may take so long: it may ask a keychain, or a cloud.
pub(crate) async fn credentials(registry: &str, patience: Duration) -> Result<Option<Credentials>, CredentialsError> {
    match docker_config::folder(&|name| env::var_os(name)) {
        Some(folder) => look(&folder, registry, patience).await,
        None => Ok(None),
    }
}

async fn look(folder: &Path, registry: &str, patience: Duration) -> Result<Option<Credentials>, CredentialsError> {
    let Config { auths, creds_store, cred_helpers, .. } = docker_config::read(folder)?;
    let key = if matches!(registry, "docker.io" | "index.docker.io") { EVERYBODYS } else { registry };
    let helper = cred_helpers.get(registry).or_else(|| cred_helpers.get(key)).or(creds_store.as_ref());
    if let Some(helper) = helper.filter(|helper| !helper.is_empty())
        && let Some(found) = ask(helper, key, patience).await?
    {
        return Ok(Some(found));
    }
    let entry = auths.iter().find(|(name, _)| name.as_str() == key).or_else(|| {
        // Other names of the same: older tools write a URL.
        auths.iter().find(|(name, _)| host(name) == host(key))
    });
    let wrong = || CredentialsError::Login { server: key.to_owned(), file: docker_config::file(folder) };
    entry.map_or(Ok(None), |(_, entry)| read(entry, key).map_err(|Unreadable| wrong()))
}

/// What is left of a registry's name in the file, which may be a URL.
fn host(name: &str) -> &str {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    name.split('/').next().unwrap_or(name)
}

struct Unreadable;

fn read(entry: &Entry, server: &str) -> Result<Option<Credentials>, Unreadable> {
    let token = entry.identitytoken.clone().filter(|token| !token.is_empty());
    let pair = match (entry.auth.as_str(), &entry.username, &entry.password) {
        ("", Some(name), Some(password)) => Some((name.clone(), password.clone())),
        ("", ..) => None,
        (auth, ..) => {
            let pair = STANDARD.decode(auth).ok().and_then(|pair| String::from_utf8(pair).ok()).ok_or(Unreadable)?;
            let (name, password) = pair.split_once(':').ok_or(Unreadable)?;
            Some((name.to_owned(), password.trim_end_matches('\0').to_owned()))
        }
    };
    if pair.is_none() && token.is_none() {
        return Ok(None);
    }
    let (username, password) = pair.unzip();
    Ok(Some(Credentials {
        server: server.to_owned(),
        username,
        password: password.filter(|_| token.is_none()),
        identity_token: token,
    }))
}

/// Asks a helper program. `None` when it has nothing for this registry.
async fn ask(helper: &str, server: &str, patience: Duration) -> Result<Option<Credentials>, CredentialsError> {
    let program = format!("docker-credential-{helper}");
    let output = match timeout(patience, run(&program, server)).await {
        Ok(Ok(output)) => output,
        Ok(Err(source)) => return Err(CredentialsError::Run { program, source }),
        Err(_) => return Err(CredentialsError::Slow { program, patience }),
    };
    if !output.status.success() {
        // Its words are on its standard output; those of a shell or a loader are not.
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).trim().to_owned());
        return match said.iter().find(|said| !said.is_empty()) {
            Some(said) if said == NOTHING => Ok(None),
            said => {
                let said = said.cloned().unwrap_or_else(|| output.status.to_string());
                Err(CredentialsError::Failed { program, said })
            }
        };
    }
    let Answer { username, secret } = match serde_json::from_slice(&output.stdout) {
        Ok(answer) => answer,
        // The parser's words do not quote a secret.
        Err(error) => return Err(CredentialsError::Failed { program, said: error.to_string() }),
    };
    let server = server.to_owned();
    Ok(Some(if username == "<token>" {
        Credentials { server, identity_token: Some(secret), ..Credentials::default() }
    } else {
        Credentials { server, username: Some(username), password: Some(secret), identity_token: None }
    }))
}

/// A helper and what it has started. They die with this.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs a helper.
async fn run(program: &str, server: &str) -> io::Result<Output> {
    let mut command = Command::new(program);
    descriptors::as_given(command.as_std_mut());
    let mut child = command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut group = Group(id);
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(server.as_bytes()).await {
            // One that answers the same to all need not ask for which.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let output = child.wait_with_output().await?;
    // Its number may mean somebody else from here on.
    group.0 = None;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    async fn found(text: &str, registry: &str) -> Result<Option<(String, String)>, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), text).unwrap();
        let found = look(dir.path(), registry, Duration::MAX).await.map_err(|error| error.to_string())?;
        Ok(found.map(|found| (found.username.unwrap(), found.password.unwrap())))
    }

    #[tokio::test]
    async fn a_login_is_found_by_its_registry() {
        let auth = STANDARD.encode("me:pass:word");
        let text = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{auth}"}}, "localhost:5000": {{}}}}, "x": 1}}"#
        );
        let login = Ok(Some(("me".to_owned(), "pass:word".to_owned())));
        assert_eq!(found(&text, "docker.io").await, login);
        assert_eq!(found(&text, "index.docker.io").await, login);
        assert_eq!(found(&text, "localhost:5000").await, Ok(None));
        assert_eq!(found(&text, "ghcr.io").await, Ok(None));
        let url = format!(r#"{{"auths": {{"https://ghcr.io/v2/": {{"auth": "{auth}"}}}}}}"#);
        assert_eq!(found(&url, "ghcr.io").await, login);
        let clear = r#"{"auths": {"ghcr.io": {"username": "me", "password": "pass:word"}}}"#;
        assert_eq!(found(clear, "ghcr.io").await, login);
    }

    #[tokio::test]
    async fn a_broken_login_is_named() {
        for text in [r#"{"auths": {"ghcr.io": {"auth": "?"}}}"#, r#"{"auths": []}"#] {
            let error = found(text, "ghcr.io").await.unwrap_err();
            assert!(error.contains("config.json"), "{error}");
        }
        let error = found(r#"{"credsStore": "no-such"}"#, "ghcr.io").await.unwrap_err();
        assert!(error.contains("docker-credential-no-such"), "{error}");
    }

    #[tokio::test]
    async fn without_the_file_there_are_none() {
        assert!(look(Path::new("/nonexistent"), "docker.io", Duration::MAX).await.unwrap().is_none());
    }
}
