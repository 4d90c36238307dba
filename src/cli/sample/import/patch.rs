//! Which files a patch changes.

/// The paths that a patch in the form of `diff -u` or `git diff` changes, adds or removes, in the order of their names.
pub(super) fn paths(patch: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Lines of a hunk that are still to come: a removed line may look like a header.
    let (mut old, mut new) = (0_u64, 0_u64);
    for line in patch.lines() {
        if old > 0 || new > 0 {
            match line.as_bytes().first() {
                Some(b'-') => old = old.saturating_sub(1),
                Some(b'+') => new = new.saturating_sub(1),
                Some(b'\\') => {}
                _ => (old, new) = (old.saturating_sub(1), new.saturating_sub(1)),
            }
            continue;
        }
        if let Some(hunk) = line.strip_prefix("@@ -") {
            (old, new) = lengths(hunk).unwrap_or_default();
        } else if let Some(name) = line.strip_prefix("--- ").or_else(|| line.strip_prefix("+++ ")) {
            // Behind a tab there may be a time.
            let name = name.split('\t').next().unwrap_or_default();
            found.extend(name.strip_prefix("a/").or_else(|| name.strip_prefix("b/")).map(str::to_owned));
        } else if let Some(name) = line.strip_prefix("rename from ").or_else(|| line.strip_prefix("rename to ")) {
            found.push(name.to_owned());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// `1,2 +3,4 @@`: how many lines a hunk has of either side.
fn lengths(hunk: &str) -> Option<(u64, u64)> {
    let (old, rest) = hunk.split_once(" +")?;
    let (new, _) = rest.split_once(" @@")?;
    let length = |side: &str| side.split_once(',').map_or(Some(1), |(_, length)| length.parse().ok());
    Some((length(old)?, length(new)?))
}

#[cfg(test)]
mod tests {
    use super::paths;

    #[test]
    fn all_files_of_a_patch_are_found_and_nothing_that_looks_like_one() {
        let patch = "\
diff --git a/tests/test_a.py b/tests/test_a.py
--- a/tests/test_a.py\t2024-01-01
+++ b/tests/test_a.py
@@ -1,2 +1,2 @@
--- a/not/a/file
+++ b/not/a/file
 same
diff --git a/old b/new
rename from old
rename to new
diff --git a/added b/added
--- /dev/null
+++ b/added
@@ -0,0 +1 @@
+x
\\ No newline at end of file
";
        assert_eq!(paths(patch), ["added", "new", "old", "tests/test_a.py"]);
        assert!(paths("no patch at all").is_empty());
    }
}
