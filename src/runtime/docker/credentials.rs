//! Credentials for registries, from where `docker login` puts them: a file, or a helper program that the file names.

use base64::{Engine, engine::general_purpose::STANDARD};
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::{
    collections::HashMap,
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The name that everybody's registry has in the file.
const EVERYBODYS: &str = "https://index.docker.io/v1/";

/// The part of Docker's `config.json` that is about credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: HashMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    identitytoken: Option<String>,
}

/// What a helper answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// The credentials for a registry, if there are any.
pub(super) async fn of(registry: &str) -> Result<Option<DockerCredentials>, String> {
    let Some(path) = file() else { return Ok(None) };
    let registry = registry.to_owned();
    // A helper may ask a keychain, which takes its time.
    let found = tokio::task::spawn_blocking(move || look(&path, &registry)).await;
    found.map_err(|error| error.to_string())?
}

fn file() -> Option<PathBuf> {
    let folder = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

fn look(path: &Path, registry: &str) -> Result<Option<DockerCredentials>, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let file: File = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let key = if registry == "docker.io" { EVERYBODYS } else { registry };
    let helper = file.cred_helpers.get(registry).or_else(|| file.cred_helpers.get(key)).or(file.creds_store.as_ref());
    if let Some(helper) = helper
        && let Some(found) = ask(helper, key)?
    {
        return Ok(Some(found));
    }
    let entry = file.auths.iter().find(|(name, _)| name.as_str() == key || host(name) == host(key));
    entry.map_or(Ok(None), |(_, entry)| read(entry, key))
}

/// What is left of a registry's name in the file, which may be a URL.
fn host(name: &str) -> &str {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    name.split('/').next().unwrap_or(name)
}

fn read(entry: &Entry, server: &str) -> Result<Option<DockerCredentials>, String> {
    let identitytoken = entry.identitytoken.clone().filter(|token| !token.is_empty());
    if entry.auth.is_empty() && identitytoken.is_none() {
        return Ok(None);
    }
    let unreadable = || format!("the entry of {server} is not name and password in base64");
    let pair =
        STANDARD.decode(&entry.auth).ok().and_then(|pair| String::from_utf8(pair).ok()).ok_or_else(unreadable)?;
    let (name, password) = pair.split_once(':').unwrap_or((&pair, ""));
    let password = password.trim_end_matches('\0');
    Ok(Some(DockerCredentials {
        username: Some(name.to_owned()),
        password: Some(password.to_owned()).filter(|_| identitytoken.is_none()),
        serveraddress: Some(server.to_owned()),
        identitytoken,
        ..DockerCredentials::default()
    }))
}

/// Asks a helper program. `None` when it has nothing for this registry.
fn ask(helper: &str, server: &str) -> Result<Option<DockerCredentials>, String> {
    let program = format!("docker-credential-{helper}");
    let run = || {
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(server.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().map_err(|error: io::Error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Ok(None);
    }
    let Answer { username, secret } =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{program}: {error}"))?;
    let serveraddress = Some(server.to_owned());
    Ok(Some(if username == "<token>" {
        DockerCredentials { identitytoken: Some(secret), serveraddress, ..DockerCredentials::default() }
    } else {
        let (username, password) = (Some(username), Some(secret));
        DockerCredentials { username, password, serveraddress, ..DockerCredentials::default() }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, registry: &str) -> Option<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, text).unwrap();
        let found = look(&path, registry).unwrap()?;
        Some((found.username.unwrap(), found.password.unwrap()))
    }

    #[test]
    fn a_login_is_found_by_its_registry() {
        let auth = STANDARD.encode("me:pass:word");
        let text = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{auth}"}}, "localhost:5000": {{}}}}, "x": 1}}"#
        );
        assert_eq!(found(&text, "docker.io"), Some(("me".into(), "pass:word".into())));
        assert_eq!(found(&text, "localhost:5000"), None);
        assert_eq!(found(&text, "ghcr.io"), None);
        let url = format!(r#"{{"auths": {{"https://ghcr.io/v2/": {{"auth": "{auth}"}}}}}}"#);
        assert!(found(&url, "ghcr.io").is_some());
    }

    #[test]
    fn without_the_file_there_are_none() {
        assert!(look(Path::new("/no/such/config.json"), "docker.io").unwrap().is_none());
    }
}
