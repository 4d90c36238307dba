//! What is made of the things that a shell has listed: pieces of a script, in the order in which a new shell can take them.

use super::{
    Dialect, names,
    quoting::quoted,
    words::{before_equals, last_word, word},
    zsh,
};
use crate::agent::shell::saved::{Item, Kind, Saved};
use std::borrow::Cow;

/// A name for people, under which it is told when it fails, and what a shell evaluates.
pub(super) type Piece = (Option<String>, Vec<u8>);

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
    AllFunctions,
    FunctionAttribute,
    Alias,
    Emulation,
    Option,
    /// After those that change it: in bash `shopt -u extdebug` turns off what `set -o functrace` turns on.
    LateOption,
    Trap,
    /// What is executed around every command.
    Hook,
    /// Words that all pieces before them use.
    Builtin,
}

impl Dialect {
    /// The pieces of a state. What a new shell has by itself, and what must not come back, is none of them.
    pub(super) fn pieces(self, saved: &Saved) -> Vec<Piece> {
        let items = self.without_repetitions(&saved.items);
        let syntax = if self == Self::Zsh { zsh::syntax(&saved.items) } else { Vec::new() };
        let mut pieces: Vec<(Turn, Piece)> = items.into_iter().filter_map(|item| self.piece(item, &syntax)).collect();
        pieces.extend(parameters(&saved.items));
        if saved.functions_doubtful {
            // What each of them does is set right, if need be, by all of them together.
            for (turn, (label, _)) in &mut pieces {
                *label = label.take().filter(|_| *turn != Turn::Function);
            }
            let functions = saved.items.iter().filter(|item| item.kind == Kind::Function);
            let all = functions.flat_map(|item| item.text.iter().copied()).collect();
            pieces.push((Turn::AllFunctions, (Some("functions".to_owned()), all)));
        }
        pieces.sort_by_key(|(turn, _)| *turn);
        let first = match self {
            Self::Posix => None,
            Self::Bash => Some("\\builtin shopt -u expand_aliases; \\builtin shopt -s extglob".to_owned()),
            Self::Zsh => {
                // With these options zsh lists things in another way, and understands only with them what it has listed.
                let listing = ["rcquotes", "typesettounset"].iter().filter(|option| zsh::is_on(&saved.items, option));
                let options: Vec<_> = ["noaliases"].iter().chain(listing).copied().collect();
                Some(format!("\\builtin setopt {}; \\builtin unalias -a", options.join(" ")))
            }
        };
        let first = first.map(|code| (None, code.into_bytes()));
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

    /// Whether a variable is listed without its value. zsh does so when it is hidden (`typeset -H`), and when it has none,
    /// which an option makes possible.
    pub(in crate::agent::shell) fn hides_value(self, text: &[u8], listed_before: &[Item]) -> bool {
        self == Self::Zsh && !text.contains(&b'=') && !zsh::is_on(listed_before, "typesettounset")
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
            Kind::Exported | Kind::Variable if self == Self::Zsh => (Turn::Variable, zsh::with_precision(text)),
            Kind::Exported | Kind::Variable if self == Self::Bash => (Turn::Variable, value_first(text)),
            Kind::Exported | Kind::Variable => (Turn::Variable, text.to_vec()),
            Kind::Readonly => (Turn::Attribute, text.to_vec()),
            Kind::Function => {
                let is_last = name == "builtin" || name == "command" && self == Self::Bash;
                let turn = if is_last { Turn::Builtin } else { Turn::Function };
                (turn, if self == Self::Zsh { zsh::function(text, syntax)? } else { bash_function(text) })
            }
            Kind::Attributes => (Turn::FunctionAttribute, builtin(text)),
            Kind::Alias if self == Self::Posix => (Turn::Alias, builtin(&[b"alias ", text].concat())),
            Kind::Alias => (Turn::Alias, builtin(text)),
            Kind::Emulation if text.trim_ascii() == b"zsh" => return None,
            Kind::Emulation => (Turn::Emulation, builtin(&[b"emulate ", text.trim_ascii()].concat())),
            Kind::Option if name == "posix" => (Turn::Emulation, builtin(text)),
            Kind::Option if text.starts_with(b"set ") => (Turn::LateOption, builtin(text)),
            Kind::Option => (Turn::Option, builtin(text)),
            Kind::Trap if matches!(&*name, "DEBUG" | "ERR" | "ZERR" | "RETURN") => (Turn::Hook, builtin(text)),
            // It is understood as a function is, when it is set.
            Kind::Trap if self == Self::Zsh => (Turn::Function, zsh::trap(text, syntax)),
            Kind::Trap => (Turn::Trap, builtin(text)),
            Kind::Umask => (Turn::Other, [b"umask ", text.trim_ascii()].concat()),
            Kind::Parameter => return None,
        };
        Some((turn, (Some(label), code)))
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

fn parameters(items: &[Item]) -> Option<(Turn, Piece)> {
    let all: Vec<_> = items.iter().filter(|item| item.kind == Kind::Parameter).map(|item| quoted(&item.text)).collect();
    let code = [b"set -- ".as_slice(), &all.join(b" ".as_slice())].concat();
    (!all.is_empty()).then(|| (Turn::Other, (Some("positional parameters".to_owned()), code)))
}
