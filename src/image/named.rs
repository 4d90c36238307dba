//! Images that the operator has given names.

use super::{Image, ImageNames, references};
use std::path::Path;

/// An image that the operator has given a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// What it stands for.
    pub image: Image,
    /// What clients are told of it.
    pub description: String,
}

impl NamedImage {
    /// What `NAME=SOURCE` names, on a runtime that has such images. Looks at the file system.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn new(name: &str, source: &str, description: &str, names: ImageNames) -> std::result::Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            return Err("the name of an image has 1 to 63 letters, digits and ._-".to_owned());
        }
        if name == "host" && source != "host" {
            return Err("the name host is taken: it stands for the host's own programs".to_owned());
        }
        let image = match names {
            ImageNames::References if references::is_wellformed(source) => Image::Reference(source.to_owned()),
            ImageNames::References => {
                return Err(format!("{source:?} is no name of an image in a registry, as debian:bookworm"));
            }
            ImageNames::Files if source == "host" => Image::Host,
            ImageNames::Files if source.starts_with('/') => {
                let found = Path::new(source).canonicalize().and_then(|path| path.read_dir().map(|_| path));
                Image::Directory(found.map_err(|error| format!("{source}: {error}"))?)
            }
            ImageNames::Files => {
                return Err(format!("{source:?} is neither host nor the path of a directory, which begins with /"));
            }
        };
        Ok(Self { image, description: description.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_what_the_runtime_has() {
        let new = |name: &str, source: &str, names| NamedImage::new(name, source, "", names).map(|named| named.image);
        assert_eq!(new("code-space", "host", ImageNames::Files), Ok(Image::Host));
        assert_eq!(new("tmp", "/tmp", ImageNames::Files).map(|image| matches!(image, Image::Directory(_))), Ok(true));
        assert_eq!(new("py", "python:3.12", ImageNames::References), Ok(Image::Reference("python:3.12".into())));
        for (name, source, names) in [
            ("", "host", ImageNames::Files),
            ("a/b", "host", ImageNames::Files),
            ("host", "/tmp", ImageNames::Files),
            ("x", "/no/such", ImageNames::Files),
            ("x", "python:3.12", ImageNames::Files),
            ("x", "/tmp", ImageNames::References),
        ] {
            assert!(new(name, source, names).is_err(), "{name}={source}");
        }
    }
}
