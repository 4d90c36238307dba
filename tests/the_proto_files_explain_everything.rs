//! Each element of the proto files has a comment, and each field that a client sends says whether it is needed.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_element_is_explained() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut missing = Vec::new();
    for file in files(&proto, "proto") {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (n, line) in lines.iter().enumerate() {
            let named = ["syntax", "package", "import", "option", "reserved", "//", "}"]
                .iter()
                .any(|word| line.starts_with(word));
            // Continuation lines of a long element do not start one.
            let starts = line.ends_with('{')
                || (line.contains(" = ") && line.ends_with(';'))
                || line.starts_with("rpc ")
                || line.ends_with("{}");
            if starts && !named && !(n > 0 && lines[n - 1].starts_with("//")) {
                missing.push(format!("{}:{}: {line}", file.display(), n + 1));
            }
        }
        assert!(lines[0].starts_with("//"), "{} does not say what it is about", file.display());
    }
    assert!(missing.is_empty(), "without a comment:\n{}", missing.join("\n"));
}

/// Field comments begin with how a field is used, in messages that clients send.
#[test]
fn request_fields_say_whether_they_are_needed() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/sandshell/v1");
    let mut missing = Vec::new();
    for file in files(&proto, "proto") {
        let text = fs::read_to_string(&file).unwrap();
        let mut message = "";
        let mut comment = String::new();
        for (n, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if let Some(rest) = line.strip_prefix("message ") {
                message = rest.split(' ').next().unwrap_or_default();
            }
            if let Some(words) = trimmed.strip_prefix("//") {
                comment.push_str(words);
            } else {
                let field = line.starts_with("  ")
                    && !line.starts_with("   ")
                    && trimmed.contains(" = ")
                    && trimmed.ends_with(';');
                let sent = message.ends_with("Request") && message != "ExecRequest";
                let said = ["Required", "Optional"].iter().any(|word| comment.trim_start().starts_with(word));
                if field && sent && !said {
                    missing.push(format!("{}:{}: {trimmed}", file.display(), n + 1));
                }
                comment.clear();
            }
        }
    }
    assert!(missing.is_empty(), "neither Required nor Optional:\n{}", missing.join("\n"));
}
