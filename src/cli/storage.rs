//! What `doctor` says of a server's data directory: where sandboxes' files are, and what waits to be deleted. The server may be running.

use super::{launch::Kept, size, table};
use crate::runtime::{Pending, Storage, StorageKind};
use serde_json::{Value, json};

/// For people.
pub(super) fn describe(kept: &Kept) -> String {
    let text = match &kept.storage {
        Ok(storage) if kept.is_in_use => format!("  files: {storage}\n"),
        Ok(storage) => {
            format!("  files: no server has used {} yet; the next one has {storage}\n", kept.data_dir.display())
        }
        Err(error) => format!("  files: {error}\n"),
    };
    match &kept.pending {
        Ok(pending) => text + &describe_pending(pending),
        Err(error) => text + &format!("  to be deleted: {error}\n"),
    }
}

fn describe_pending(pending: &Pending) -> String {
    let mut what = vec![count(pending.directories, "directory", "directories")];
    if let Some(subvolumes) = pending.subvolumes {
        what.push(count(subvolumes, "subvolume", "subvolumes"));
    }
    let mut text = format!("  to be deleted: {}", what.join(" and "));
    if let Some(since) = pending.since {
        text += &format!(", since {}", table::time(since));
    }
    if let Some(clearing) = pending.clearing.filter(|clearing| *clearing > 0) {
        text += &format!("; the file system still clears up {}", count(clearing, "subvolume", "subvolumes"));
    }
    if let Some(bytes) = pending.subvolume_bytes.filter(|bytes| *bytes > 0) {
        text += &format!("; the subvolumes take {}", size::short(i64::try_from(bytes).unwrap_or(i64::MAX)));
    }
    if let Some(why) = &pending.unknown {
        text += &format!("; subvolumes are not known: {why}");
    }
    text + "\n"
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// For machines.
pub(super) fn as_json(kept: &Kept) -> Value {
    json!({
        "data_dir": kept.data_dir.display().to_string(),
        "in_use": kept.is_in_use,
        "storage": kept.storage.as_ref().ok().map(storage),
        "storage_error": kept.storage.as_ref().err(),
        "pending": kept.pending.as_ref().ok().map(pending),
        "pending_error": kept.pending.as_ref().err(),
    })
}

fn storage(storage: &Storage) -> Value {
    json!({
        "kind": match storage.kind {
            StorageKind::OwnBtrfs => "own_btrfs",
            StorageKind::Pool => "pool",
            StorageKind::None => "none",
        },
        "place": storage.place.display().to_string(),
        "why": storage.why,
        "remedy": storage.remedy,
    })
}

fn pending(pending: &Pending) -> Value {
    json!({
        "directories": pending.directories,
        "subvolumes": pending.subvolumes,
        "clearing": pending.clearing,
        "subvolume_bytes": pending.subvolume_bytes,
        "since": pending.since.map(table::time),
        "unknown": pending.unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn what_is_not_known_is_said() {
        let known =
            Pending { subvolumes: Some(1), clearing: Some(2), subvolume_bytes: Some(3 << 20), ..Pending::default() };
        let said = describe_pending(&known);
        let expected = "  to be deleted: 0 directories and 1 subvolume; the file system still clears up 2 subvolumes; \
                        the subvolumes take 3.0M\n";
        assert_eq!(said, expected);
        let unknown = Pending {
            directories: 1,
            since: Some(SystemTime::UNIX_EPOCH),
            unknown: Some("nobody looks".to_owned()),
            ..Pending::default()
        };
        let said = describe_pending(&unknown);
        assert_eq!(
            said,
            "  to be deleted: 1 directory, since 1970-01-01T00:00:00Z; subvolumes are not known: nobody looks\n"
        );
    }
}
