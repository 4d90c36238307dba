//! Putting the agent into a container whose daemon is elsewhere: as files of its own, in an archive made here.

use super::{blocking, daemon::Daemon};
use crate::runtime::RuntimeError;
use bollard::query_parameters::UploadToContainerOptionsBuilder;
use bytes::Bytes;
use std::{fs, io, path::Path};

/// The agent's program in the container.
pub(super) const PROGRAM: &str = "/.sandshell/sandshell";
/// Its configuration.
pub(super) const CONFIG: &str = "/.sandshell/config";

/// The unit of size in an archive.
const BLOCK: usize = 512;

/// Copies program and configuration into a container that was not started yet.
pub(super) async fn program(daemon: &Daemon, id: &str, program: &Path, config: &[u8]) -> Result<(), RuntimeError> {
    let (path, config) = (program.to_owned(), config.to_owned());
    let archive = blocking("read the agent's program", move || {
        let program = fs::read(path)?;
        let mut archive = Vec::with_capacity(program.len() + config.len() + 8 * BLOCK);
        add(&mut archive, ".sandshell/", b'5', 0o755, &[])?;
        add(&mut archive, PROGRAM.trim_start_matches('/'), b'0', 0o555, &program)?;
        // The image's user may be anybody, and it is nobody's secret inside.
        add(&mut archive, CONFIG.trim_start_matches('/'), b'0', 0o444, &config)?;
        archive.resize(archive.len() + 2 * BLOCK, 0);
        Ok(archive)
    });
    let body = bollard::body_full(Bytes::from(archive.await?));
    let options = UploadToContainerOptionsBuilder::new().path("/").build();
    let sent = daemon.docker().upload_to_container(id, Some(options), body).await;
    sent.map_err(|error| daemon.explain("take the agent's program", error))
}

/// Adds a file or directory to an archive in the format of POSIX.1-1988 (ustar).
fn add(archive: &mut Vec<u8>, name: &str, kind: u8, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    if name.len() > 99 || bytes.len() as u64 >= 1 << 33 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", bytes.len()));
    put(136, "00000000000");
    // The sum is taken as if its own field were blank.
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    archive.extend_from_slice(&header);
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    #[test]
    fn tar_reads_what_was_packed() {
        let mut archive = Vec::new();
        add(&mut archive, "d/", b'5', 0o755, &[]).unwrap();
        add(&mut archive, "d/f", b'0', 0o555, b"hello").unwrap();
        archive.resize(archive.len() + 2 * BLOCK, 0);
        let mut tar = Command::new("tar").arg("tv").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let text = String::from_utf8(tar.wait_with_output().unwrap().stdout).unwrap();
        assert!(text.contains("drwxr-xr-x") && text.contains("-r-xr-xr-x") && text.contains(" 5 "), "{text}");
    }
}
