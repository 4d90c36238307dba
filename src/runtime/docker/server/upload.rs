//! Putting the agent into a container whose daemon is elsewhere: as files of its own, in an archive made here.

use crate::runtime::{
    RuntimeError,
    docker::{daemon::Daemon, work::blocking},
};
use bollard::query_parameters::UploadToContainerOptionsBuilder;
use bytes::Bytes;
use futures_util::{StreamExt, future::ready, stream};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The agent's program in the container.
pub(super) const PROGRAM: &str = "/.sandshell/sandshell";
/// Its configuration.
pub(super) const CONFIG: &str = "/.sandshell/config";

/// How much of the program is in memory at one time.
const PIECE: u64 = 256 << 10;
/// The unit of size in an archive.
const BLOCK: usize = 512;

/// Copies program and configuration into a container that was not started yet.
pub(super) async fn program(daemon: &Daemon, id: &str, program: &Path, config: &[u8]) -> Result<(), RuntimeError> {
    let (path, config) = (program.to_owned(), config.to_owned());
    let opened = blocking("read the agent's program", move || {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let (before, after) = around(length, &config)?;
        Ok((Bytes::from(before), file, length, Bytes::from(after)))
    });
    let (before, file, length, after) = opened.await?;
    // Piece by piece: many containers may be made at one time, and the program is large.
    let program = stream::try_unfold((file, length), async |(file, left)| {
        if left == 0 {
            return Ok::<_, io::Error>(None);
        }
        let read = tokio::task::spawn_blocking(move || read_piece(file, left));
        let (piece, file) = read.await.map_err(io::Error::other)??;
        let left = left - piece.len() as u64;
        Ok(Some((Bytes::from(piece), (file, left))))
    });
    let whole = |bytes| stream::once(ready(Ok::<_, io::Error>(bytes)));
    let body = bollard::body_try_stream(whole(before).chain(program).chain(whole(after)));
    let options = UploadToContainerOptionsBuilder::new().path("/").build();
    let sent = daemon.docker().upload_to_container(id, Some(options), body).await;
    sent.map_err(|error| daemon.explain("take the agent's program", error))
}

/// What stands in the archive before a program of this length and after it.
fn around(length: u64, config: &[u8]) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut before, mut rest) = (Vec::new(), Vec::new());
    add(&mut before, ".sandshell/", b'5', 0o755, &[])?;
    before.extend(header(PROGRAM.trim_start_matches('/'), b'0', 0o555, length)?);
    // The image's user may be anybody, and it is nobody's secret inside.
    add(&mut rest, CONFIG.trim_start_matches('/'), b'0', 0o444, config)?;
    rest.resize(rest.len() + 2 * BLOCK, 0);
    // Apart from the rest, whose blocks count from its own beginning.
    let mut after = vec![0; (length.next_multiple_of(BLOCK as u64) - length) as usize];
    after.extend(rest);
    Ok((before, after))
}

fn read_piece(file: File, left: u64) -> io::Result<(Vec<u8>, File)> {
    let mut piece = Vec::new();
    match (&file).take(left.min(PIECE)).read_to_end(&mut piece)? {
        // The archive's header has said how long it is.
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok((piece, file)),
    }
}

/// Adds a file or directory to an archive in the format of POSIX.1-1988 (ustar).
fn add(archive: &mut Vec<u8>, name: &str, kind: u8, mode: u32, bytes: &[u8]) -> io::Result<()> {
    archive.extend(header(name, kind, mode, bytes.len() as u64)?);
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

/// What stands before a file or directory of this length.
fn header(name: &str, kind: u8, mode: u32, length: u64) -> io::Result<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    if name.len() > 99 || length >= 1 << 33 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{length:011o}"));
    put(136, "00000000000");
    // The sum is taken as if its own field were blank.
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    #[test]
    fn a_program_of_any_length_is_followed_by_whole_blocks() {
        for length in [0, 1, 511, 512, 513, 68_621_592] {
            for config in [0, 1, 400, 512, 600] {
                let (before, after) = around(length, &vec![b'c'; config]).unwrap();
                let all = before.len() as u64 + length + after.len() as u64;
                assert_eq!(all % BLOCK as u64, 0, "{length} {config}");
                // The two headers, and the configuration before the two blocks that end an archive.
                let (files, content) = (3 * BLOCK, config.next_multiple_of(BLOCK));
                assert_eq!(all, (files + content + 2 * BLOCK) as u64 + length.next_multiple_of(BLOCK as u64));
            }
        }
    }

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
