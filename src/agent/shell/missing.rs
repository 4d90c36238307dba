//! What a program that cannot be executed lacks.

use super::read_file;
use std::path::{Path, PathBuf};

/// What is read of a program: its headers.
const HEADERS: u64 = 64 << 10;

/// The program's own interpreter, when that is what is not there: the dynamic loader of a binary, or what a script names in
/// its first line.
pub(super) fn interpreter(program: &Path) -> Option<PathBuf> {
    let content = read_file(program.to_str()?, HEADERS).ok()?;
    let interpreter = if content.starts_with(b"#!") { of_script(&content) } else { of_binary(&content) }?;
    (!interpreter.exists()).then_some(interpreter)
}

fn of_script(content: &[u8]) -> Option<PathBuf> {
    let line = content.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(PathBuf::from(std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?))
}

/// From the program header PT_INTERP of a 64-bit ELF file of this machine's byte order.
fn of_binary(content: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u32 = 3;
    let bytes = |at: usize, length: usize| content.get(at..at.checked_add(length)?);
    let long = |at: usize| usize::try_from(u64::from_le_bytes(bytes(at, 8)?.try_into().ok()?)).ok();
    let short = |at: usize| Some(usize::from(u16::from_le_bytes(bytes(at, 2)?.try_into().ok()?)));
    if bytes(0, 6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (long(32)?, short(54)?, short(56)?);
    let header = (0..count).find_map(|number| {
        let at = number.checked_mul(size)?.checked_add(table)?;
        (bytes(at, 4)? == PT_INTERP.to_le_bytes()).then_some(at)
    })?;
    let name = bytes(long(header.checked_add(8)?)?, long(header.checked_add(32)?)?)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some(PathBuf::from(std::str::from_utf8(name).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_is_found_in_a_binary_and_an_interpreter_in_a_script() {
        let loader = of_binary(&std::fs::read("/bin/sh").unwrap()).unwrap();
        assert!(loader.is_absolute() && loader.exists(), "{loader:?}");
        assert_eq!(of_script(b"#! /opt/sh -e\necho"), Some("/opt/sh".into()));
        assert_eq!((of_script(b"#!"), of_script(b"echo")), (None, None));
        for cut in 0..200 {
            // Whatever is there of a header, nothing is read beyond it.
            of_binary(&std::fs::read("/bin/sh").unwrap()[..cut]);
        }
    }

    #[test]
    fn only_what_is_not_there_is_missing() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("program");
        for (text, missing) in [("#!/no/such/sh\n", Some("/no/such/sh")), ("#!/bin/sh\n", None), ("text", None)] {
            std::fs::write(&program, text).unwrap();
            assert_eq!(interpreter(&program).as_deref(), missing.map(Path::new), "{text:?}");
        }
        assert_eq!(interpreter(&home.path().join("none")), None);
    }
}
