//! Names of images in registries, and the operator's patterns for them.

/// The longest name: registries take up to 255 bytes, a tag has up to 128, a digest 71.
const LONGEST: usize = 512;

/// Whether a name could be that of an image. Its finer points are for whoever looks it up.
pub(super) fn is_wellformed(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@".contains(&byte);
    name.len() <= LONGEST
        && name.bytes().all(plain)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.ends_with(|last: char| last.is_ascii_alphanumeric())
        && name.split('/').all(|part| !part.is_empty() && part != "..")
}

/// Whether a name fits a pattern, in which `*` stands for anything. Both are completed first, as the tools of this field do:
/// `debian` is `docker.io/library/debian:latest`; a pattern without a tag or digest is for all of them.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (completed(pattern), completed(name));
    let tagged = tag_at(&pattern).is_some() || pattern.ends_with('*');
    let short = tag_at(&name).map_or(name.as_str(), |at| &name[..at]);
    let tail = with_tag(&name);
    matches(pattern.as_bytes(), if tagged { tail.as_bytes() } else { short.as_bytes() })
}

/// A name of an image as a daemon tells it: with the tag or the digest that it has, `latest` unless it says.
pub(crate) fn with_tag(name: &str) -> String {
    tagged(&completed(name))
}

/// The same without the registry, if it says none. Without a tag a daemon would pull all that there are.
pub(crate) fn tagged(name: &str) -> String {
    if tag_at(name).is_some() { name.to_owned() } else { format!("{name}:latest") }
}

/// Which registry an image comes from.
pub(crate) fn registry(name: &str) -> &str {
    match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// With the registry, and the folder of the one that everybody means.
fn completed(name: &str) -> String {
    let name = name.strip_prefix("index.docker.io/").unwrap_or(name);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':', '*']) || first == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None if name.starts_with('*') => name.to_owned(),
        None => format!("docker.io/library/{name}"),
    }
}

/// Where the tag or the digest begins: a colon before the last `/` is a registry's port.
fn tag_at(name: &str) -> Option<usize> {
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    name[last..].find(['@', ':']).map(|at| last + at)
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Greedy with one place to come back to, so that no pattern takes long.
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star, from)) = back {
            back = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["debian", "debian:bookworm", "localhost:5000/a/b:1", "ghcr.io/a/b@sha256:0123", "sha256:0123"] {
            assert!(is_wellformed(good), "{good}");
        }
        for bad in ["", "/etc", "a b", "-x", "a/../b", "a//b", "a:", "a\nb", "x?y=1"] {
            assert!(!is_wellformed(bad), "{bad:?}");
        }
    }

    #[test]
    fn patterns_are_for_whole_names() {
        for (pattern, name) in [
            ("debian", "debian"),
            ("debian", "debian:bookworm"),
            ("debian", "docker.io/library/debian:12"),
            ("debian:*", "debian"),
            ("debian:latest", "debian"),
            ("python:3.*", "python:3.12-slim"),
            ("registry.example.com/team/*", "registry.example.com/team/a/b:1"),
            ("localhost:5000/*", "localhost:5000/x"),
            ("someone/*", "someone/thing:1"),
            ("*", "anything/at/all:1"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("debian", "debian2"),
            ("debian", "evil/debian"),
            ("debian", "evil.com/library/debian"),
            ("debian:bookworm", "debian:bookworm-evil"),
            ("registry.example.com/team/*", "registry.example.com.evil.org/team/x"),
            ("someone/*", "registry.example.com/someone/x"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    /// What a pattern means, as simply as it can be said.
    fn means(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|from| means(rest, &text[from..])),
            Some((first, rest)) => text.split_first().is_some_and(|(byte, text)| byte == first && means(rest, text)),
        }
    }

    proptest::proptest! {
        #[test]
        fn a_pattern_means_what_it_says(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            proptest::prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), means(pattern.as_bytes(), text.as_bytes()));
        }

        /// Any text: no panic, and what is taken for a name is plain.
        #[test]
        fn any_text_can_be_looked_at(name in "\\PC{0,80}", pattern in "\\PC{0,80}") {
            let _ = fits(&pattern, &name);
            if is_wellformed(&name) {
                proptest::prop_assert!(name.is_ascii() && !name.contains("..") || !name.split('/').any(|part| part == ".."));
                proptest::prop_assert!(!name.starts_with('-') && !name.starts_with('/'));
            }
        }

        /// A name fits itself and its repository, its short and its long form are one, and another registry's is another.
        #[test]
        fn a_name_is_what_it_stands_for(repository in "[a-z0-9]{1,8}(/[a-z0-9]{1,8})?", tag in "[a-z0-9]{1,8}") {
            let name = format!("{repository}:{tag}");
            proptest::prop_assume!(!repository.starts_with("localhost/"));
            proptest::prop_assert!(is_wellformed(&name) && fits(&name, &name) && fits(&repository, &name));
            let long = if repository.contains('/') { format!("docker.io/{name}") } else { format!("docker.io/library/{name}") };
            proptest::prop_assert!(fits(&name, &long) && fits(&long, &name));
            let stranger = format!("evil.example/{name}");
            proptest::prop_assert!(!fits(&name, &stranger) && !fits(&repository, &stranger));
        }
    }

    #[test]
    fn a_name_says_its_tag_and_its_registry() {
        for (reference, whole, from) in [
            ("debian", "debian:latest", "docker.io"),
            ("team/debian:12", "team/debian:12", "docker.io"),
            ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000"),
            ("ghcr.io/a/b@sha256:00", "ghcr.io/a/b@sha256:00", "ghcr.io"),
        ] {
            assert_eq!((tagged(reference).as_str(), registry(reference)), (whole, from));
        }
    }
}
