//! What is made of the things that a shell has listed: pieces of a script, in the order in which a new shell can take them.

use super::{Dialect, names, quoting::quoted};
use crate::agent::shell::saved::{Item, Kind, Saved};
use std::borrow::Cow;

/// A name for people, and what a shell evaluates.
pub(super) type Piece = (String, Vec<u8>);

/// When a piece has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Names of other things may be in the user's language.
    Locale,
    Variable,
    /// After its value.
    Attribute,
    Other,
    /// Functions are defined before aliases work, so that no alias changes them.
    Function,
    FunctionAttribute,
    Alias,
    Emulation,
    Option,
    Trap,
    /// What is executed around every command.
    Hook,
    /// The word that all pieces before it use.
    Builtin,
}

impl Dialect {
    /// The pieces of a state. What a new shell has by itself, and what must not come back, is none of them.
    pub(super) fn pieces(self, saved: &Saved) -> Vec<Piece> {
        let items = self.without_repetitions(&saved.items);
        let syntax = if self == Self::Zsh { self.syntax(&saved.items) } else { Vec::new() };
        let mut pieces: Vec<(Turn, Piece)> = items.into_iter().filter_map(|item| self.piece(item, &syntax)).collect();
        pieces.extend(parameters(&saved.items));
        pieces.sort_by_key(|(turn, _)| *turn);
        let first = match self {
            Self::Posix => None,
            Self::Bash => Some("\\builtin shopt -u expand_aliases; \\builtin shopt -s extglob"),
            // With this option zsh quotes in another way what it lists, and a function has to be read without it.
            Self::Zsh if saved.items.iter().any(|item| item.text == b"set -o rcquotes") => {
                Some("\\builtin setopt noaliases rcquotes; \\builtin unalias -a")
            }
            Self::Zsh => Some("\\builtin setopt noaliases; \\builtin unalias -a"),
        };
        let first = first.map(|code| ("what the shell begins with".to_owned(), code.into()));
        first.into_iter().chain(pieces.into_iter().map(|(_, piece)| piece)).collect()
    }

    /// A name for people, unless nobody would miss it.
    pub(in crate::agent::shell) fn label(self, kind: Kind, text: &[u8]) -> Option<String> {
        let name = self.name(kind, text);
        match kind {
            Kind::Exported | Kind::Readonly | Kind::Variable => {
                (!self.is_own_variable(&name)).then(|| format!("variable {name}"))
            }
            Kind::Function | Kind::Attributes => (!names::is_ours(&name)).then(|| format!("function {name}")),
            Kind::Alias => Some(format!("alias {name}")),
            Kind::Option => (!names::is_own_option(&name)).then(|| format!("option {name}")),
            Kind::Trap => (!names::is_own_trap(&String::from_utf8_lossy(text), &name)).then(|| format!("trap {name}")),
            Kind::Umask => Some("umask".to_owned()),
            Kind::Emulation => Some("emulation mode".to_owned()),
            Kind::Parameter => Some("positional parameters".to_owned()),
        }
    }

    /// Whether a variable in a list of all is one that programs see.
    pub(in crate::agent::shell) fn lists_as_exported(self, text: &[u8]) -> bool {
        match self {
            Self::Posix => false,
            Self::Bash => word(text, 1).contains(&b'x'),
            Self::Zsh => text.starts_with(b"export "),
        }
    }

    /// Whether a variable is listed without its value. zsh does so when it is hidden (`typeset -H`).
    pub(in crate::agent::shell) fn hides_value(self, text: &[u8]) -> bool {
        self == Self::Zsh && !text.contains(&b'=')
    }

    /// dash and ash list a variable once more with each attribute that it has.
    fn without_repetitions(self, items: &[Item]) -> Vec<&Item> {
        let listed_before: std::collections::HashSet<Cow<'_, str>> = items
            .iter()
            .filter(|item| self == Self::Posix && matches!(item.kind, Kind::Exported | Kind::Readonly))
            .map(|item| self.name(item.kind, &item.text))
            .collect();
        let repeats =
            |item: &Item| item.kind == Kind::Variable && listed_before.contains(&self.name(item.kind, &item.text));
        items.iter().filter(|item| !repeats(item)).collect()
    }

    fn piece(self, item: &Item, syntax: &[u8]) -> Option<(Turn, Piece)> {
        let text = item.text.as_slice();
        let label = self.label(item.kind, text)?;
        let name = self.name(item.kind, text).into_owned();
        let builtin = |text: &[u8]| [self.builtin().as_bytes(), b" ", text].concat();
        let (turn, code) = match item.kind {
            Kind::Exported | Kind::Variable if name == "LANG" || name.starts_with("LC_") => {
                (Turn::Locale, text.to_vec())
            }
            // The array of a variable like PATH, which zsh lists with both.
            Kind::Variable
                if self == Self::Zsh && word(text, 1).starts_with(b"-a") && word(text, 1).contains(&b'T') =>
            {
                return None;
            }
            Kind::Exported | Kind::Variable if self == Self::Zsh => (Turn::Variable, with_precision(text)),
            Kind::Exported | Kind::Variable if self == Self::Bash => (Turn::Variable, value_first(text)),
            Kind::Exported | Kind::Variable => (Turn::Variable, text.to_vec()),
            Kind::Readonly => (Turn::Attribute, text.to_vec()),
            Kind::Function => {
                let turn = if name == "builtin" { Turn::Builtin } else { Turn::Function };
                (turn, if self == Self::Zsh { zsh_function(text, syntax)? } else { bash_function(text) })
            }
            Kind::Attributes => (Turn::FunctionAttribute, builtin(text)),
            Kind::Alias if self == Self::Posix => (Turn::Alias, builtin(&[b"alias ", text].concat())),
            Kind::Alias => (Turn::Alias, builtin(text)),
            Kind::Emulation if text.trim_ascii() == b"zsh" => return None,
            Kind::Emulation => (Turn::Emulation, builtin(&[b"emulate ", text.trim_ascii()].concat())),
            Kind::Option => (Turn::Option, builtin(text)),
            Kind::Trap if matches!(&*name, "DEBUG" | "ERR" | "ZERR" | "RETURN") => (Turn::Hook, builtin(text)),
            Kind::Trap => (Turn::Trap, builtin(text)),
            Kind::Umask => (Turn::Other, [b"umask ", text.trim_ascii()].concat()),
            Kind::Parameter => return None,
        };
        Some((turn, (label, code)))
    }

    /// Settings under which a function's text means what it meant to the zsh that listed it. What is `+o` there is so by
    /// default.
    fn syntax(self, items: &[Item]) -> Vec<u8> {
        let decides = |item: &&Item| {
            item.kind == Kind::Option
                && item.text.starts_with(b"set -o ")
                && names::is_of_syntax(&self.name(item.kind, &item.text))
        };
        items.iter().filter(decides).flat_map(|item| [b"\\builtin ", item.text.as_slice(), b"; "].concat()).collect()
    }

    /// The name in a statement.
    fn name(self, kind: Kind, text: &[u8]) -> Cow<'_, str> {
        let name = match kind {
            Kind::Variable if self == Self::Posix => before_equals(text),
            Kind::Alias if self == Self::Posix => before_equals(text),
            Kind::Exported | Kind::Readonly | Kind::Variable | Kind::Alias => {
                let mut rest = text;
                // The command's name, options, then the name.
                loop {
                    rest = rest.iter().position(|byte| *byte == b' ').map_or(b"".as_slice(), |at| &rest[at + 1..]);
                    if !rest.starts_with(b"-") && !rest.starts_with(b"+") {
                        break before_equals(rest.split(|byte| *byte == b' ').next().unwrap_or_default());
                    }
                    if kind == Kind::Alias && rest.starts_with(b"-- ") {
                        break before_equals(&rest[3..]);
                    }
                }
            }
            Kind::Function if self == Self::Zsh => {
                let quoted = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
                quoted.strip_prefix(b"$'").and_then(|name| name.strip_suffix(b"'")).unwrap_or(quoted)
            }
            Kind::Function => {
                let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let line = line.strip_suffix(b" () ").unwrap_or(line);
                line.strip_prefix(b"function ").unwrap_or(line)
            }
            Kind::Option => last_word(text).strip_prefix(b"-").unwrap_or_else(|| last_word(text)),
            Kind::Attributes | Kind::Trap => last_word(text).strip_prefix(b"SIG").unwrap_or_else(|| last_word(text)),
            Kind::Umask | Kind::Emulation | Kind::Parameter => b"",
        };
        Cow::Owned(String::from_utf8_lossy(name).into_owned())
    }
}

fn word(text: &[u8], number: usize) -> &[u8] {
    text.split(|byte| *byte == b' ').nth(number).unwrap_or_default()
}

fn last_word(text: &[u8]) -> &[u8] {
    text.rsplit(|byte| *byte == b' ' || *byte == b'\n').next().unwrap_or_default()
}

fn before_equals(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'=').next().unwrap_or_default()
}

/// With the keyword, which takes names that are no names without it.
fn bash_function(text: &[u8]) -> Vec<u8> {
    let keyword: &[u8] = if text.starts_with(b"function ") { b"" } else { b"function " };
    [keyword, text].concat()
}

/// First the value, then what is done to values that are assigned: this one may be older than that.
fn value_first(text: &[u8]) -> Vec<u8> {
    let (flags, rest) = (word(text, 1), text.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default());
    let changes = |flag: &u8| b"iluc".contains(flag);
    if flags.contains(&b'n') || !flags.iter().any(changes) || !rest.contains(&b'=') {
        return text.to_vec();
    }
    let (of_arrays, others): (Vec<u8>, Vec<u8>) = flags[1..].iter().partition(|flag| b"aA".contains(flag));
    let first: &[u8] = if of_arrays.is_empty() { b"-" } else { &of_arrays };
    [b"declare -", first, b" ", rest, b"; declare -", &others, b" ", before_equals(rest)].concat()
}

/// By an assignment, which takes any name. What zsh cannot parse it does not define, without an error.
fn zsh_function(text: &[u8], syntax: &[u8]) -> Option<Vec<u8>> {
    let at = text.iter().position(|byte| *byte == b'\n')?;
    let (name, body) = (&text[..at], &text[at + 1..]);
    let define = b"functions[$1]=$2; \\builtin test x${functions[$1]+1} = x1 } ".as_slice();
    Some([b"() { \\builtin setopt localoptions norcquotes; ".as_slice(), syntax, define, name, b" ", body].concat())
}

/// zsh lists a floating point number with as many digits as it shows, and without saying how many these are.
fn with_precision(text: &[u8]) -> Vec<u8> {
    let flags = word(text, 1);
    let shown = text
        .iter()
        .position(|byte| *byte == b'.')
        .map_or(0, |point| text[point + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count());
    let kind = flags.iter().find(|flag| matches!(flag, b'E' | b'F'));
    match kind {
        Some(kind) if flags.starts_with(b"-") => {
            let digits = if *kind == b'E' { shown + 1 } else { shown };
            let flags: Vec<u8> = flags[1..].iter().filter(|flag| *flag != kind).copied().collect();
            let more = format!("-{}{digits}", char::from(*kind));
            let flags = if flags.is_empty() {
                more.into_bytes()
            } else {
                [b"-", flags.as_slice(), b" ", more.as_bytes()].concat()
            };
            let rest = &text[word(text, 0).len() + 1 + word(text, 1).len()..];
            [word(text, 0), b" ", &flags, rest].concat()
        }
        _ => text.to_vec(),
    }
}

fn parameters(items: &[Item]) -> Option<(Turn, Piece)> {
    let all: Vec<_> = items.iter().filter(|item| item.kind == Kind::Parameter).map(|item| quoted(&item.text)).collect();
    let code = [b"set -- ".as_slice(), &all.join(b" ".as_slice())].concat();
    (!all.is_empty()).then(|| (Turn::Other, ("positional parameters".to_owned(), code)))
}
