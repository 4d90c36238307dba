//! Datasets that are written for a test.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// A word that is in the hidden parts of each of these samples, and nowhere else.
pub const HIDDEN: &str = "xyzzy-hidden-part";

/// `sample.toml` of a sample in Python whose one test is hidden.
pub const CALCULATOR: &str = r#"title = "Division"
language = "python"
tags = ["maths", "small"]
description = "task.md"

[codebase]
directory = "code"

[verification]
command = "python3 .tests/xyzzy-hidden-part.py"
files = "verification"
timeout = "90s"
report = { format = "tap" }
fail_to_pass = ["xyzzy-hidden-part divides"]
protected = ["/.tests/**"]

[hidden]
patch = "reference.patch"
"#;

/// Writes a sample with all that [`CALCULATOR`] names. `toml` is its `sample.toml`.
pub fn write_sample(directory: &Path, toml: &str) {
    fs::create_dir_all(directory.join("code")).unwrap();
    fs::create_dir_all(directory.join("verification/.tests")).unwrap();
    let tests = format!(
        "import calc\nprint('1..1')\nprint('ok 1 - {HIDDEN} divides' if calc.half(3) == 1.5 else 'not ok 1')\n"
    );
    let patch = format!(
        "--- a/calc.py\n+++ b/calc.py\n@@ -1,2 +1,2 @@\n def half(x):\n-    return x // 2\n+    return x / 2  # {HIDDEN}\n"
    );
    for (name, content) in [
        ("task.md", "# Halves\n\nHalf of three is one and a half."),
        ("code/calc.py", "def half(x):\n    return x // 2\n"),
        ("verification/.tests/xyzzy-hidden-part.py", tests.as_str()),
        ("reference.patch", patch.as_str()),
        // Last, so that a server which watches reads a whole sample.
        ("sample.toml", toml),
    ] {
        fs::write(directory.join(name), content).unwrap();
    }
    // A server that runs as another user reads them too.
    for path in [directory.parent().unwrap(), directory] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
