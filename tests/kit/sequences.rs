//! Random sequences of what people do in shells: definitions, options, aliases, traps, and uses of them.

use super::{Dice, Shell};

/// Names of variables, functions and aliases. Few, so that they meet.
const VARIABLES: &[&str] = &["V", "W", "_x", "LONG_name2"];
const FUNCTIONS: &[&str] = &["f", "g", "pwd", "printf", "cd_", "then_"];
const ODD_FUNCTIONS: &[&str] = &["a-b", "if", "x.y", "function", "test", "declare_"];
const ALIASES: &[&str] = &["f", "al", "pwd", "echo_", "then_", "ls"];
const SIGNALS: &[&str] = &["USR1", "USR2", "HUP"];

/// Parts of values in which something could be misunderstood.
const PARTS: &[&str] = &[
    "a", "B", " ", "  ", "'", "\"", "\\", "$", "$V", "`", "${", "}", "{", "(", ")", ";", "&", "|", "<", ">", "*", "?",
    "[a]", "~", "!", "#", "%", "=", "\n", "\t", "\u{1}", "\u{7f}", "é", "漢", "''", "\n}\n", "alias ", "$'", "\\n",
    "-", "--", ":",
];

/// A generator for one shell.
pub struct Sequences<'a> {
    shell: Shell,
    dice: &'a mut Dice,
}

impl<'a> Sequences<'a> {
    /// Throws these dice.
    pub fn new(shell: Shell, dice: &'a mut Dice) -> Self {
        Self { shell, dice }
    }

    fn one<'b>(&mut self, of: &[&'b str]) -> &'b str {
        of[self.dice.below(of.len() as u64) as usize]
    }

    fn has_lists(&self) -> bool {
        self.shell == Shell::Bash || self.shell == Shell::Zsh
    }

    /// A value of any bytes that a request can hold, quoted.
    fn value(&mut self) -> String {
        let length = self.dice.below(6);
        let value: String = (0..length).map(|_| self.one(PARTS)).collect();
        match self.dice.below(8) {
            0 => "\"$(\\command printf 'x\\377\\303')\"".to_owned(),
            _ => quoted(&value),
        }
    }

    fn body(&mut self) -> String {
        let (variable, other) = (self.one(VARIABLES), self.one(&["f", "g", "pwd", "al"]));
        let value = self.value();
        match self.dice.below(9) {
            0 => format!("\\echo {value} \"$*\""),
            1 => format!("\\command printf '<%s>' {value} \"${{{variable}-unset}}\"; return {}", self.dice.below(4)),
            2 => format!("pwd {value}; \\echo \"$#\""),
            3 => format!("case \"${{1-}}\" in *a*) \\echo yes;; {value}) \\echo odd;; *) \\echo no;; esac"),
            4 => "for i in 1 2; do\n  # a comment\n  \\echo \"$i\" &&\n    \\true\ndone".to_owned(),
            5 => format!("\\cat <<'END'\nit's \"$x\" \\ `y`\n}}\n{other} () \n{{ \nEND"),
            6 => format!("\\cat <<END | \\tr a b\n${{{variable}-}} x\nEND\n(\\echo sub) 2>/dev/null"),
            7 => format!("local loc={value}; \\echo \"$loc\"; {variable}=\"$loc\""),
            _ => format!("if \\test \"${{1-}}\" = stop; then \\echo stopped; else {other} stop; fi"),
        }
    }

    /// A command that changes what a shell is.
    pub fn definition(&mut self) -> String {
        let (variable, value) = (self.one(VARIABLES), self.value());
        match self.dice.below(if self.has_lists() { 20 } else { 15 }) {
            0 | 1 => format!("{variable}={value}"),
            2 => format!("\\export {variable}={value}"),
            3 => format!("\\export {variable}"),
            4 => format!("\\unset {variable}"),
            5 => {
                let name = self.one(&["RO1", "RO2"]);
                format!("\\test \"${{{name}+1}}\" || \\readonly {name}={value}")
            }
            6 | 7 => {
                let odd = self.has_lists() && self.dice.below(3) == 0;
                let (name, body) = (self.one(if odd { ODD_FUNCTIONS } else { FUNCTIONS }), self.body());
                // Without aliases: one of them could have the name.
                let keyword = if self.has_lists() { "function " } else { "\\unalias -a; " };
                let parentheses = if self.has_lists() { "" } else { "()" };
                let separator = if self.has_lists() { " " } else { "\n" };
                format!("{}{separator}{name}{parentheses} {{\n{body}\n}}", keyword.trim_end())
            }
            8 => {
                // What follows an alias is on the line of a here-document's last word, so that it does not end. A session ends it
                // with the command, and the shell alone takes all later commands for a part of it.
                let (name, mut body) = loop {
                    let (name, body) = (self.one(ALIASES), self.body());
                    if !body.contains("<<") {
                        break (name, body);
                    }
                };
                if !self.has_lists() {
                    // Outside of functions dash and ash refuse it alone, and not in a text that is evaluated by `command`.
                    body = body.replace("local ", "");
                }
                format!("\\alias {name}={}", quoted(&body))
            }
            9 => {
                let name = self.one(ALIASES);
                format!("\\unalias {name} 2>/dev/null")
            }
            10 => {
                let (signal, body) = (self.one(SIGNALS), self.body());
                // A trap is no function.
                let text = body.replace("local ", "").split("; return").next().unwrap_or_default().to_owned();
                self.one(&["-", "''", "text"])
                    .replace("text", &quoted(&text))
                    .split('\0')
                    .map(|text| format!("\\trap -- {text} {signal}"))
                    .collect()
            }
            11 => format!("\\umask 0{}{}", self.dice.below(4), self.dice.below(8)),
            12 => {
                let (second, third) = (self.value(), self.value());
                format!("\\set -- {value} {second} {third}")
            }
            13 => self.option(),
            14 => format!("IFS={value}"),
            15 => {
                let second = self.value();
                format!("arr=({value} '' {second})")
            }
            16 => {
                let second = self.value();
                format!("\\typeset -A map; map[k]={value}; map[other]={second}")
            }
            17 => "\\typeset -i num=7; num=num+1".to_owned(),
            18 => format!("\\typeset -u upper={value}"),
            _ => format!("\\typeset -x {variable}; \\cd /usr"),
        }
    }

    fn option(&mut self) -> String {
        let of_all =
            ["set -u", "set +u", "set -C", "set +C", "set -a", "set +a", "set -x", "set +x", "set -v", "set +v"];
        let bash = [
            "shopt -s extglob",
            "shopt -u extglob",
            "shopt -s nullglob",
            "shopt -s dotglob",
            "set -o pipefail",
            "set -f",
            "set +f",
            "set -o posix",
            "set +o posix",
            "shopt -u sourcepath",
            "shopt -s expand_aliases",
            "shopt -s xpg_echo",
            "set -E",
            "set -T",
            "shopt -s inherit_errexit",
            "shopt -s localvar_inherit",
            "set +h",
            "set -P",
        ];
        let zsh = [
            "setopt ksharrays",
            "unsetopt ksharrays",
            "setopt shwordsplit",
            "setopt extendedglob",
            "setopt nullglob",
            "setopt noglob",
            "setopt globsubst",
            "setopt ignorebraces",
            "setopt kshglob",
            "setopt posixbuiltins",
            "setopt nomultios",
            "setopt noequals",
            "emulate sh",
            "emulate ksh",
            "emulate zsh",
            "setopt interactivecomments",
            "setopt localoptions",
            "setopt kshoptionprint",
            "setopt typesetsilent",
            "setopt pipefail",
            "setopt noaliases",
            "setopt warncreateglobal",
        ];
        let option = match (self.shell, self.dice.below(2)) {
            (Shell::Bash, 0) => self.one(&bash),
            (Shell::Zsh, 0) => self.one(&zsh),
            (Shell::Dash | Shell::Ash, 0) => self.one(&["set -f", "set +f"]),
            _ => self.one(&of_all),
        };
        format!("\\{option}")
    }

    /// A command that shows what a shell is.
    pub fn use_of_it(&mut self) -> String {
        let variable = self.one(VARIABLES);
        let functions = if self.has_lists() { [FUNCTIONS, ODD_FUNCTIONS].concat() } else { FUNCTIONS.to_vec() };
        match self.dice.below(14) {
            0 => format!("\\echo \"${{{variable}-unset}}\""),
            1 => format!("\\command printf '<%s>' ${{{variable}-unset}}"),
            2 => format!("/usr/bin/printenv {variable}"),
            3 | 4 => format!("\\{} 1 a 2>/dev/null", self.one(&functions)),
            5 | 6 => format!("{} a 2>/dev/null", self.one(&["f", "al", "pwd", "echo_", "g"])),
            7 => format!("\\kill -{} $$", self.one(&["WINCH", "URG", "CONT"])),
            8 => format!("\\echo \"$?\"; (\\exit {})", self.dice.below(5)),
            9 => "\\false".to_owned(),
            10 => "\\command printf '<%s>' \"$#\" \"$@\"".to_owned(),
            11 => "\\umask; \\echo \"${arr-}${num-}${upper-}${map-}\"".to_owned(),
            12 => "x=$(f a 2>/dev/null); \\echo \"$? $x\"".to_owned(),
            _ => "\\trap >|/tmp/traps; \\grep -v SANDSHELL_ /tmp/traps".to_owned(),
        }
    }
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}
