//! Names of what a new shell makes itself, or must not be given.

use super::{ABANDON_FILE, Dialect, INTERRUPT_FILE, SAVE_FILE};

/// What names of ours begin with.
const OURS: &str = "SANDSHELL_";

/// Variables of every shell that say what the shell itself does or is.
const OF_ANY: &[&str] =
    &["_", "PPID", "PWD", "LINENO", "RANDOM", "SECONDS", "FUNCNAME", "EPOCHSECONDS", "EPOCHREALTIME"];

const OF_BASH: &[&str] = &[
    "BASH",
    "BASHOPTS",
    "BASHPID",
    "BASH_ALIASES",
    "BASH_ARGC",
    "BASH_ARGV",
    "BASH_ARGV0",
    "BASH_CMDS",
    "BASH_COMMAND",
    "BASH_EXECUTION_STRING",
    "BASH_LINENO",
    "BASH_MONOSECONDS",
    "BASH_REMATCH",
    "BASH_SOURCE",
    "BASH_SUBSHELL",
    "BASH_TRAPSIG",
    "BASH_VERSINFO",
    "BASH_VERSION",
    "COMP_WORDBREAKS",
    "DIRSTACK",
    "EUID",
    "GROUPS",
    "HISTCMD",
    "PIPESTATUS",
    "SHELLOPTS",
    "SRANDOM",
    "UID",
];

const OF_ZSH: &[&str] = &[
    "0",
    "ARGC",
    "COLUMNS",
    "CPUTYPE",
    "EGID",
    "ERRNO",
    "EUID",
    "GID",
    "HISTCMD",
    "LINES",
    "MACHTYPE",
    "OSTYPE",
    "TRY_BLOCK_ERROR",
    "TRY_BLOCK_INTERRUPT",
    "TTY",
    "TTYIDLE",
    "UID",
    "USERNAME",
    "VENDOR",
    "ZSH_ARGZERO",
    "ZSH_EVAL_CONTEXT",
    "ZSH_EXECUTION_STRING",
    "ZSH_NAME",
    "ZSH_PATCHLEVEL",
    "ZSH_SCRIPT",
    "ZSH_SUBSHELL",
    "ZSH_VERSION",
    "aliases",
    "argv",
    "builtins",
    "commands",
    "dirstack",
    "dis_aliases",
    "dis_builtins",
    "dis_functions",
    "dis_functions_source",
    "dis_galiases",
    "dis_patchars",
    "dis_reswords",
    "dis_saliases",
    "epochtime",
    "errnos",
    "funcfiletrace",
    "funcsourcetrace",
    "funcstack",
    "functions",
    "functions_source",
    "functrace",
    "galiases",
    "history",
    "historywords",
    "jobdirs",
    "jobstates",
    "jobtexts",
    "keymaps",
    "langinfo",
    "mapfile",
    "modules",
    "nameddirs",
    "options",
    "parameters",
    "patchars",
    "pipestatus",
    "reswords",
    "saliases",
    "signals",
    "status",
    "sysparams",
    "termcap",
    "terminfo",
    "userdirs",
    "usergroups",
    "widgets",
    "zsh_eval_context",
    "zsh_scheduled_events",
];

/// Options that are not brought back. A shell that ended over `set -e` would end over the next failure again; one that
/// executes nothing (`set -n`) never executes anything; the others only say how the shell was started.
const OPTIONS: &[&str] = &[
    "errexit",
    "noexec",
    "exec",
    "interactive",
    "stdin",
    "shinstdin",
    "onecmd",
    "singlecommand",
    "privileged",
    "restricted",
    "restricted_shell",
    "login",
    "login_shell",
    "zle",
    "emacs",
    "vi",
    "debug",
    "nolog",
];

impl Dialect {
    /// Whether a variable is the shell's own, or ours.
    pub(super) fn is_own_variable(self, name: &str) -> bool {
        let more = match self {
            Self::Posix => &[],
            Self::Bash => OF_BASH,
            Self::Zsh => OF_ZSH,
        };
        is_ours(name) || OF_ANY.contains(&name) || more.contains(&name)
    }
}

/// Whether a name is ours.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(OURS)
}

/// Whether a trap is one of ours, or the one that was carried out when the shell ended.
pub(super) fn is_own_trap(text: &str, signal: &str) -> bool {
    matches!(signal, "EXIT" | "0") || [SAVE_FILE, INTERRUPT_FILE, ABANDON_FILE].iter().any(|ours| text.contains(ours))
}

/// Whether an option is not brought back. What bash calls `compat31` and so on it also keeps in a variable.
pub(super) fn is_own_option(name: &str) -> bool {
    OPTIONS.contains(&name)
        || name.starts_with("compat")
        || name.strip_prefix("no").is_some_and(|name| OPTIONS.contains(&name))
}
