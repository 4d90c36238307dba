//! `/etc` of the host image: what programs need, chosen by name. What only root may read is never copied, whatever
//! its name; neither are passwords, keys, nor the host's users.

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Component, Path},
};

/// Copied if they exist, directories with all that is in them.
pub(super) const COPIED: &[&str] = &[
    "X11/fonts",
    "adduser.conf",
    "alternatives",
    "apk",
    "apt",
    "bash.bashrc",
    "bash_completion",
    "bashrc",
    "bindresvport.blacklist",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "default/locale",
    "default/useradd",
    "deluser.conf",
    "dpkg",
    "emacs",
    "ethertypes",
    "fedora-release",
    "fonts",
    "gai.conf",
    "gss",
    "host.conf",
    "inputrc",
    "issue",
    "java-8-openjdk",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "locale.gen",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "magic.mime",
    "mailcap",
    "manpath.config",
    "matplotlibrc",
    "mime.types",
    "nanorc",
    "netconfig",
    "networks",
    "os-release",
    "pam.conf",
    "pam.d",
    "perl",
    "pki/ca-trust",
    "pki/tls/certs",
    "profile",
    "profile.d",
    "protocols",
    "python3",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "redhat-release",
    "resolv.conf",
    "rpc",
    "rpm",
    "security/limits.conf",
    "services",
    "sgml",
    "shells",
    "skel",
    "ssl/certs",
    "ssl/openssl.cnf",
    "system-release",
    "terminfo",
    "timezone",
    "vim",
    "xattr.conf",
    "xdg",
    "xml",
    "zsh",
    "zsh_command_not_found",
];

/// Never copied out of one of the directories above: they may hold passwords of package mirrors or private keys.
const SECRET: &[&str] = &["auth.conf", "auth.conf.d", "private", "credentials"];

/// A file larger than this is no configuration.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Directories below each other; a configuration has fewer.
pub(super) const MAX_DEPTH: u32 = 16;

/// Users of at least this id are people, except `nobody`.
const FIRST_PERSON: u32 = 1000;
const NOBODY: u32 = 65_534;

/// Builds it from the host's.
pub(super) fn build(host: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir(target)?;
    mode(target, 0o755)?;
    for name in COPIED {
        let to = target.join(name);
        if let Some(parent) = to.parent().filter(|parent| !parent.exists() && host.join(name).exists()) {
            fs::create_dir_all(parent)?;
            mode(parent, 0o755)?;
        }
        // One file that cannot be read is no reason to have no sandboxes.
        if let Err(error) = copy(&host.join(name), &to, 0) {
            tracing::debug!(file = %host.join(name).display(), %error, "left out of the host image");
        }
    }
    let passwd = fs::read_to_string(host.join("passwd")).unwrap_or_default();
    let group = fs::read_to_string(host.join("group")).unwrap_or_default();
    let (passwd, shadow) = users(&passwd);
    let (group, gshadow) = groups(&group);
    let files: [(&str, &str, u32); 9] = [
        ("passwd", &passwd, 0o644),
        ("group", &group, 0o644),
        ("shadow", &shadow, 0o600),
        ("gshadow", &gshadow, 0o600),
        ("hostname", "sandbox\n", 0o644),
        ("hosts", "127.0.0.1\tlocalhost sandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n", 0o644),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nrpc: files\n",
            0o644,
        ),
        ("fstab", "", 0o644),
        ("machine-id", "", 0o644),
    ];
    for (name, text, bits) in files {
        fs::write(target.join(name), text)?;
        mode(&target.join(name), bits)?;
    }
    symlink("/proc/self/mounts", target.join("mtab"))
}

/// Copies a file, a link or a directory with what everybody may read in it.
fn copy(from: &Path, to: &Path, depth: u32) -> io::Result<()> {
    let meta = match fs::symlink_metadata(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let secret = from.file_name().is_some_and(|name| SECRET.iter().any(|secret| name == *secret));
    if secret || depth > MAX_DEPTH {
        return Ok(());
    }
    if meta.is_symlink() {
        let link = fs::read_link(from)?;
        // A link out of /usr and /etc (resolv.conf into /run, say) would lead nowhere inside.
        return if leads_inside(from, &link) { copy_link(from, &link, to) } else { copy_target(from, to) };
    }
    if meta.mode() & 0o004 == 0 {
        return Ok(());
    }
    if meta.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()), depth + 1)?;
        }
        mode(to, 0o755)
    } else if meta.is_file() && meta.len() <= MAX_FILE {
        fs::copy(from, to).map(drop)
    } else {
        Ok(())
    }
}

/// Copies a link. There are hundreds, and a second name for the same link takes a tenth of the time of a new one on
/// some file systems. Not so for files: whoever changed the copy's owner or mode would change the host's file.
fn copy_link(from: &Path, link: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| symlink(link, to))
}

/// Directories that are the same inside.
const INSIDE: [&str; 5] = ["/usr", "/etc", "/bin", "/lib", "/sbin"];

/// Whether what a link means exists inside too.
pub(super) fn leads_inside(from: &Path, link: &Path) -> bool {
    let is_inside = |path: &Path| INSIDE.iter().any(|inside| path.starts_with(inside));
    // Most of the hundreds of links can be told by what they say, which costs no system call.
    if link.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir)) {
        return !link.is_absolute() || is_inside(link);
    }
    // One that leads nowhere may do so inside too.
    fs::canonicalize(from).map_or(true, |target| is_inside(&target))
}

fn copy_target(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::metadata(from)?;
    let readable = meta.is_file() && meta.mode() & 0o004 != 0 && meta.len() <= MAX_FILE;
    if readable { fs::copy(from, to).map(drop) } else { Ok(()) }
}

fn is_system(id: Option<&&str>) -> bool {
    id.and_then(|id| id.parse::<u32>().ok()).is_some_and(|id| id < FIRST_PERSON || id == NOBODY)
}

/// The host's users without its people, and their locked passwords.
fn users(passwd: &str) -> (String, String) {
    let (mut users, mut shadow) = (String::new(), String::new());
    let lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let system = lines.filter(|fields| fields.len() == 7 && fields[0] != "root" && is_system(fields.get(2)));
    let root = ["root", "x", "0", "0", "root", "/root", root_shell()].to_vec();
    for user in std::iter::once(root).chain(system) {
        let _ = writeln!(users, "{}:x:{}", user[0], user[2..].join(":"));
        let _ = writeln!(shadow, "{}:*:19000:0:99999:7:::", user[0]);
    }
    (users, shadow)
}

fn root_shell() -> &'static str {
    if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

/// The host's groups without its people's, and without members.
fn groups(group: &str) -> (String, String) {
    let (mut groups, mut shadow) = (String::new(), String::new());
    let lines = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let system = lines.filter(|fields| fields.len() == 4 && fields[0] != "root" && is_system(fields.get(2)));
    for group in std::iter::once(["root", "x", "0", ""].to_vec()).chain(system) {
        let _ = writeln!(groups, "{}:x:{}:", group[0], group[2]);
        let _ = writeln!(shadow, "{}:*::", group[0]);
    }
    (groups, shadow)
}

pub(super) fn mode(path: &Path, bits: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(bits))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn people_and_what_only_root_may_read_are_left_out() {
        let home = tempfile::tempdir().unwrap();
        let host = home.path().join("host");
        fs::create_dir_all(host.join("apt/auth.conf.d")).unwrap();
        fs::create_dir_all(host.join("ssl/private")).unwrap();
        for name in [
            "shadow",
            "apt/auth.conf",
            "apt/auth.conf.d/mirror",
            "ssl/private/key.pem",
            "apt/sources.list",
            "apt/secret",
        ] {
            fs::write(host.join(name), "text").unwrap();
        }
        mode(&host.join("apt/secret"), 0o600).unwrap();
        let passwd = "root:x:0:0:r:/root:/bin/zsh\ndaemon:x:1:1::/:/bin/false\nann:x:1000:1000:Ann:/home/ann:/bin/sh\nnobody:x:65534:65534::/:/x\n";
        fs::write(host.join("passwd"), passwd).unwrap();
        fs::write(host.join("group"), "root:x:0:\nadm:x:4:ann,bob\nann:x:1000:\n").unwrap();
        let target = home.path().join("etc");
        build(&host, &target).unwrap();

        let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
        assert!(!read("passwd").contains("ann") && read("passwd").contains("nobody"));
        assert!(!read("group").contains("ann") && read("group").contains("adm:x:4:\n"));
        assert!(read("shadow").starts_with("root:*:"));
        assert_eq!(read("apt/sources.list"), "text");
        for name in ["apt/auth.conf", "apt/auth.conf.d", "apt/secret", "ssl/private"] {
            assert!(!target.join(name).exists(), "{name}");
        }
    }
}
