//! How a session's shell is given variables and a directory for one command, and how it gets back what it had.
//!
//! Three scripts, each sourced by a line of its own: one prints what the variables are now, one sets them, one puts back
//! what they were. Nothing of ours is kept in the shell meanwhile, so the command can neither see nor change it, and a next
//! shell can be given the same script when the command ends this one.

use super::{Dialect, quoting::quoted};
use std::path::Path;

/// Files of the scripts, and the FIFO for what the first of them prints.
const LOOK: &str = "look";
const LEND: &str = "lend";
const RECLAIM: &str = "reclaim";
/// FIFO on which a shell prints what variables are.
pub(in crate::agent::shell) const WAS: &str = "was";

/// One of the scripts.
#[derive(Debug, Clone, Copy)]
pub(in crate::agent::shell) enum Errand {
    /// Prints what variables are.
    Look,
    /// Sets them, and changes the directory.
    Lend,
    /// Puts back what was there.
    Reclaim,
}

/// Variables of zsh that change whose process the shell is.
const ZSH_IDENTITY: [&str; 5] = ["UID", "EUID", "GID", "EGID", "USERNAME"];

/// What there is to put back of one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent::shell) struct Was {
    /// Puts it back.
    restore: Vec<u8>,
    /// Whether it must be unset before it can take any text: it is an array, say, or a number.
    typed: bool,
}

impl Errand {
    /// The file that it is in.
    pub(in crate::agent::shell) fn file(self) -> &'static str {
        match self {
            Self::Look => LOOK,
            Self::Lend => LEND,
            Self::Reclaim => RECLAIM,
        }
    }
}

impl Dialect {
    /// Lines that source a script, and report under `over` whatever came of it.
    pub(in crate::agent::shell) fn errand(self, errand: Errand, over: u64, directory: &str) -> String {
        let builtin = self.builtin();
        let output = match errand {
            Errand::Look => format!("{directory}/{WAS}"),
            Errand::Lend | Errand::Reclaim => "/dev/null".to_owned(),
        };
        format!(
            "{builtin} . {directory}/{} >|{output} 2>/dev/null || {builtin} :\n{}",
            errand.file(),
            self.report(over, directory)
        )
    }

    /// Whether a shell lets a variable be set for a command at all.
    pub(in crate::agent::shell) fn lends(self, name: &str) -> bool {
        self != Self::Zsh || !ZSH_IDENTITY.contains(&name)
    }

    /// The last line of each script: says that all of it was done.
    pub(in crate::agent::shell) fn all_done(self, done: u64, directory: &str) -> String {
        format!("{}\n", self.report_command(done, directory))
    }

    /// Prints what each variable is, as [`Self::was`] reads it.
    pub(in crate::agent::shell) fn look_script(self, names: &[String]) -> Vec<u8> {
        let mut script = String::new();
        for name in names {
            script += &match self {
                Self::Posix => format!("\\command printf '%s%s\\000' \"${{{name}+=}}\" \"${{{name}-}}\"\n"),
                Self::Bash => format!("\\builtin declare -p {name}\n\\builtin printf '\\000'\n"),
                // The options of zsh itself, whatever the user has set; they end with the function.
                Self::Zsh => format!(
                    "() {{\n\\builtin emulate -L zsh\n\\builtin printf '%s\\000%s\\000' \"${{(t){name}}}\" \"${{{name}-}}\"\n\
                     \\builtin typeset -p {name}\n\\builtin printf '\\000'\n}}\n"
                ),
            };
        }
        if self == Self::Posix {
            script += "\\command export -p\n\\command printf '\\000'\n";
        }
        script.into_bytes()
    }

    /// Reads what [`Self::look_script`] printed. `None` when it is not whole.
    pub(in crate::agent::shell) fn was(self, names: &[String], printed: &[u8]) -> Option<Vec<Was>> {
        let mut records = printed.split(|byte| *byte == 0);
        let mut found = Vec::new();
        match self {
            Self::Posix => {
                let values = names.iter().map(|_| records.next()).collect::<Option<Vec<_>>>()?;
                let exported = exported(records.next()?);
                for (name, value) in names.iter().zip(values) {
                    let is_exported = exported.contains(&name.as_bytes());
                    found.push(Was { restore: posix_restore(name, value, is_exported), typed: false });
                }
            }
            Self::Bash => {
                for name in names {
                    found.push(bash_was(name, records.next()?.trim_ascii_end()));
                }
            }
            Self::Zsh => {
                for name in names {
                    let (kind, value, text) = (records.next()?, records.next()?, records.next()?);
                    found.push(zsh_was(name, &String::from_utf8_lossy(kind), value, text.trim_ascii_end()));
                }
            }
        }
        // Behind the last NUL there is nothing.
        records.next().is_some_and(<[u8]>::is_empty).then_some(found)
    }

    /// Sets variables, and changes the directory.
    pub(in crate::agent::shell) fn lend_script<'a>(
        self,
        variables: impl Iterator<Item = (&'a str, &'a str, &'a Was)>,
        directory: Option<&Path>,
    ) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        let builtin = self.builtin().as_bytes();
        let mut steps: Vec<Vec<u8>> = Vec::new();
        for (name, value, was) in variables {
            if was.typed {
                steps.push([builtin, b" unset -v ", name.as_bytes()].concat());
            }
            let assignment = quoted(format!("{name}={value}").as_bytes());
            steps.push([builtin, b" export ", &assignment].concat());
        }
        if let Some(directory) = directory {
            steps.push(self.change_directory(directory.as_os_str().as_bytes()));
        }
        // One list with what follows, which ends at what fails. (The last part of a list would end a shell under `set -e`.)
        steps.iter().flat_map(|step| [&step[..], b" &&\n"].concat()).collect()
    }

    /// Puts back what was there, each piece of it whatever becomes of the others.
    pub(in crate::agent::shell) fn reclaim_script<'a>(
        self,
        was: impl Iterator<Item = &'a Was>,
        directory: Option<&Path>,
    ) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        // The directory first: to change it sets variables.
        let directory = directory.map(|directory| self.change_directory(directory.as_os_str().as_bytes()));
        let mut script = Vec::new();
        for step in directory.into_iter().chain(was.map(|was| was.restore.clone())) {
            match self {
                // An error in zsh, as for a variable that the command has made readonly, would end the whole script.
                Self::Zsh => script.extend([&b"{\n"[..], &step, b"\n} always {\nTRY_BLOCK_ERROR=0\n}\n"].concat()),
                Self::Posix | Self::Bash => {
                    script.extend([&step, &b" || "[..], self.builtin().as_bytes(), b" :\n"].concat());
                }
            }
        }
        script
    }

    fn change_directory(self, directory: &[u8]) -> Vec<u8> {
        let directory = quoted(directory);
        match self {
            Self::Posix | Self::Bash => [self.builtin().as_bytes(), b" cd -- ", &directory].concat(),
            // Without the hooks of the user's, and without a stack of directories.
            Self::Zsh => {
                [&b"() {\n\\builtin emulate -L zsh -o no_auto_pushd\n\\builtin cd -q -- "[..], &directory, b"\n}"]
                    .concat()
            }
        }
    }
}

fn posix_restore(name: &str, value: &[u8], exported: bool) -> Vec<u8> {
    let assignment = |value: &[u8]| quoted(&[name.as_bytes(), b"=", value].concat());
    match value.strip_prefix(b"=") {
        None if exported => format!("\\command unset -v {name} && \\command export {name}").into_bytes(),
        None => format!("\\command unset -v {name}").into_bytes(),
        Some(value) if exported => [&b"\\command export "[..], &assignment(value)].concat(),
        // Nothing but this takes the export away. An assignment is not tried where it would end the script.
        Some(value) => [format!("\\command unset -v {name} && {name}=").as_bytes(), &quoted(value)].concat(),
    }
}

/// `text` is what `declare -p` says, as `declare -x A="b"`.
fn bash_was(name: &str, text: &[u8]) -> Was {
    let attributes = text.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let mut restore = format!("\\builtin unset -v {name}").into_bytes();
    if !text.is_empty() {
        // Only a word `declare` as it is takes the value of an array.
        let is_list = text.windows(2).any(|part| part == b"=(");
        restore.extend(if is_list { &b" && \\builtin eval "[..] } else { b" && \\builtin " });
        restore.extend(if is_list { quoted(text) } else { text.to_vec() });
    }
    Was { restore, typed: !matches!(attributes, b"" | b"--" | b"-x") }
}

/// `kind` is what `${(t)…}` says, as `integer-export`, and `text` what `typeset -p` does.
fn zsh_was(name: &str, kind: &str, value: &[u8], text: &[u8]) -> Was {
    if kind.is_empty() {
        return Was { restore: format!("\\builtin unset -v {name}").into_bytes(), typed: false };
    }
    let has = |word: &str| kind.split('-').any(|part| part == word);
    if has("special") && !has("array") && !has("association") {
        // To unset one would take away what is special of it.
        let command = if has("export") { "export" } else { "typeset -g +x" };
        let assignment = quoted(&[name.as_bytes(), b"=", value].concat());
        return Was { restore: [b"\\builtin ", command.as_bytes(), b" ", &assignment].concat(), typed: false };
    }
    // Only a word `typeset` as it is takes the value of an array, and so would an alias take it.
    let alone = "() {\n\\builtin emulate -L zsh -o no_aliases\n\\builtin eval ";
    let restore =
        [format!("\\builtin unset -v {name} && {alone}").into_bytes(), quoted(text), b"\n}".to_vec()].concat();
    Was { restore, typed: !kind.split('-').all(|part| matches!(part, "scalar" | "export")) }
}

/// The names in what `export -p` prints: `export A='b'` or `export A`, where a value may hold line ends.
fn exported(listing: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    let (mut begin, mut quote, mut escaped) = (0, None, false);
    for (at, &byte) in listing.iter().enumerate() {
        match (quote, byte) {
            _ if escaped => escaped = false,
            (None | Some(b'"'), b'\\') => escaped = true,
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if byte == open => quote = None,
            (None, b'\n') => {
                let line = &listing[begin..at];
                let name = line.strip_prefix(b"export ").unwrap_or(line);
                names.extend(name.split(|byte| *byte == b'=').next());
                begin = at + 1;
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_looks_like_an_export_is_none() {
        let listing = b"export A='x\nexport B='\"'\"'y'\nexport C\nexport D=\"a\\\"\nexport E\"\n";
        assert_eq!(exported(listing), [&b"A"[..], b"C", b"D"]);
    }

    #[test]
    fn what_is_not_whole_is_not_taken() {
        let names = ["A".to_owned(), "B".to_owned()];
        for dialect in [Dialect::Posix, Dialect::Bash, Dialect::Zsh] {
            assert_eq!(dialect.was(&names, b"=1\0"), None, "{dialect:?}");
        }
        let whole = Dialect::Posix.was(&names, b"=1\0\0export A='1'\n\0").unwrap();
        assert_eq!(whole[0].restore, b"\\command export 'A=1'");
        assert_eq!(whole[1].restore, b"\\command unset -v B");
    }
}
