//! Programs that do not want to end, or that hold up who waits for their end. Each would run for ever.

use crate::kit::Shell;

/// One program.
pub struct Nasty {
    /// Its text. `NO` is printed by what must not run after a time-out or a cancel.
    pub text: &'static str,
    /// Whether a shell at a terminal would live on after it.
    pub keeps_shell: bool,
    /// The shells that it is for; all, when there are none.
    shells: &'static [Shell],
}

impl Nasty {
    /// All of them that a shell can run.
    pub fn all(shell: Shell) -> Vec<&'static Self> {
        PROGRAMS.iter().filter(|nasty| nasty.shells.is_empty() || nasty.shells.contains(&shell)).collect()
    }

    /// Whether the shell is another one after it: with traps or options that the next program would meet.
    pub fn changes_shell(&self) -> bool {
        const CHANGES: [&str; 7] = ["trap ", "set ", "setopt ", "unsetopt ", "TRAP", "PROMPT_", "precmd"];
        !self.keeps_shell || CHANGES.iter().any(|word| self.text.starts_with(word))
    }

    /// The shell lives on.
    const fn kept(text: &'static str) -> Self {
        Self { text, keeps_shell: true, shells: &[] }
    }

    /// The shell may end by it.
    const fn lost(text: &'static str) -> Self {
        Self { text, keeps_shell: false, shells: &[] }
    }

    const fn only(self, shells: &'static [Shell]) -> Self {
        Self { shells, ..self }
    }
}

const BASH: &[Shell] = &[Shell::Bash];
const ZSH: &[Shell] = &[Shell::Zsh];
const NOT_ZSH: &[Shell] = &[Shell::Dash, Shell::Bash, Shell::Ash];
const BOTH: &[Shell] = &[Shell::Bash, Shell::Zsh];

const PROGRAMS: &[Nasty] = &[
    // Programs that take signals in their own way.
    Nasty::kept("sleep 1000; echo NO"),
    Nasty::kept("sh -c 'trap \"\" INT; sleep 1000'; echo NO"),
    Nasty::kept("sh -c 'trap \"\" INT TERM HUP QUIT; while :; do sleep 0.02; done'; echo NO"),
    Nasty::kept("sh -c 'trap \"exit 9\" INT; while :; do sleep 0.02; done'; echo NO"),
    Nasty::kept("sh -c 'trap \"exit 0\" INT; while :; do sleep 0.02; done'; echo NO"),
    Nasty::kept("sh -c 'trap \"\" INT; trap \"exit 8\" TERM; while :; do sleep 0.02; done'; echo NO"),
    Nasty::kept("sh -c 'trap \"echo a; sleep 0.1\" INT TERM; while :; do sleep 0.02; done'; echo NO"),
    Nasty::kept("nohup sleep 1000 >/dev/null 2>&1; echo NO"),
    Nasty::kept("sh -c 'exec 0<&- 1>&- 2>&-; exec sleep 1000'; echo NO"),
    // Shells that do.
    Nasty::kept("trap '' INT; sleep 1000; echo NO"),
    Nasty::kept("trap - INT; sleep 1000; echo NO"),
    Nasty::kept("trap 'x=1' INT; sleep 1000; echo NO"),
    Nasty::kept("trap '' INT TERM HUP; while :; do :; done; echo NO"),
    Nasty::kept("trap 'x=1' INT; while :; do :; done; echo NO"),
    Nasty::lost("trap 'sleep 1000' INT; sleep 1000; echo NO"),
    Nasty::lost("trap 'while :; do :; done' INT; sleep 1000; echo NO"),
    Nasty::lost("set -e; sleep 1000; echo NO"),
    Nasty::kept("set +m; sh -c 'trap \"\" INT TERM; sleep 1000'; echo NO"),
    Nasty::kept("set +m; sleep 1000 & sleep 1000; echo NO"),
    // Lists, loops and functions.
    Nasty::kept("while :; do :; done; echo NO"),
    Nasty::kept("while sleep 0.01; do :; done; echo NO"),
    Nasty::kept("for i in 1 2 3; do sleep 1000; echo NO; done; echo NO"),
    Nasty::kept("f() { g; echo NO; }; g() { sleep 1000; echo NO; }; f; echo NO"),
    Nasty::kept("f() { while :; do :; done; }; g() { f; echo NO; }; g || echo NO"),
    Nasty::kept("eval 'eval \"sleep 1000; echo NO\"; echo NO'; echo NO"),
    Nasty::kept("printf 'sleep 1000; echo NO\\n' >/tmp/$$; . /tmp/$$; echo NO"),
    Nasty::kept("if sleep 1000; then echo NO; else echo NO; fi; echo NO"),
    // Subshells, pipelines, substitutions.
    Nasty::kept("(((sleep 1000); echo NO); echo NO); echo NO"),
    Nasty::kept("(trap '' INT TERM; sleep 1000); echo NO"),
    Nasty::kept("x=$(sleep 1000; echo y); echo NO"),
    Nasty::kept("x=$(trap '' INT TERM; sleep 1000); echo NO"),
    Nasty::kept("sleep 1000 | sleep 1000 | sleep 1000; echo NO"),
    Nasty::kept("while sleep 0.01; do echo x; done | while read x; do :; done; echo NO"),
    Nasty::kept("sh -c 'trap \"\" INT TERM; sleep 1000' | cat; echo NO"),
    // Trees, and what leaves its tree.
    Nasty::kept("sh -c 'sh -c \"sh -c \\\"sleep 1000; :\\\"; :\"; :'; echo NO"),
    Nasty::kept("sh -c 'for i in 1 2 3; do (for j in 1 2 3; do (sleep 1000) & done; wait) & done; wait'; echo NO"),
    Nasty::kept("/usr/bin/setsid -w sh -c 'trap \"\" INT TERM; sleep 1000'; echo NO"),
    Nasty::kept("sh -c '(setsid sleep 1000 &); sleep 1000'; echo NO"),
    Nasty::kept("sh -c 'trap \"\" INT; sleep 1000 & sleep 1000 & exec sleep 1000'; echo NO"),
    // Who stops whom.
    // zsh goes on with nothing after a program that was stopped.
    Nasty::kept("sh -c 'kill -STOP $$'; sleep 1000; echo NO").only(NOT_ZSH),
    Nasty::kept("sh -c 'kill -STOP $PPID'; sleep 1000; echo NO"),
    Nasty::kept("kill -STOP $$; sleep 1000; echo NO"),
    Nasty::kept("kill -STOP $PPID; sleep 1000; echo NO"),
    Nasty::kept("(sleep 0.05; kill -STOP $$) & sleep 1000; echo NO"),
    Nasty::lost(
        "sh -c 'n=0; while [ $n -lt 20 ]; do kill -STOP $PPID; sleep 0.02; n=$((n + 1)); done' & sleep 1000; echo NO",
    ),
    Nasty::lost(TRACED),
    Nasty::kept(SPAWNS_BY_VFORK),
    // Waiting and reading.
    Nasty::kept("sleep 1000 & wait; echo NO"),
    Nasty::kept("sleep 1000 & wait $!; echo NO"),
    Nasty::kept("read x </dev/tty; sleep 1000; echo NO"),
    Nasty::kept("rm -f /tmp/f$$; mkfifo /tmp/f$$; read x </tmp/f$$; echo NO"),
    Nasty::kept("rm -f /tmp/f$$; mkfifo /tmp/f$$; cat /tmp/f$$; echo NO"),
    Nasty::kept("rm -f /tmp/f$$; mkfifo /tmp/f$$; exec 7<>/tmp/f$$; read x <&7; echo NO"),
    Nasty::kept("rm -f /tmp/f$$; mkfifo /tmp/f$$; echo x >/tmp/f$$; echo NO"),
    // Floods.
    Nasty::kept("cat /dev/zero >/dev/null; echo NO"),
    Nasty::kept("cat /dev/zero | sleep 1000; echo NO"),
    Nasty::kept("yes; echo NO"),
    Nasty::kept("while :; do echo x; done; echo NO"),
    Nasty::kept("(while sleep 0.01; do echo background; done) & sleep 1000; echo NO"),
    Nasty::kept("yes | while read x; do :; done; echo NO"),
    // Shells that are no shells any more.
    Nasty::lost("exec sleep 1000"),
    Nasty::lost("exec sh -c 'trap \"\" INT TERM; while :; do sleep 0.02; done'"),
    Nasty::lost("trap 'sleep 1000' EXIT; exit 3"),
    Nasty::lost("trap 'while :; do :; done' EXIT; exit 3"),
    Nasty::lost("kill -9 $$; echo NO"),
    // Of one shell or the other.
    Nasty::kept("while read -r x; do :; done < <(yes); echo NO").only(BOTH),
    Nasty::kept("x=(1 2); while ((1)); do ((x[1]++)); done; echo NO").only(BOTH),
    Nasty::kept("mapfile x < <(sleep 1000); echo NO").only(BASH),
    Nasty::kept("coproc sleep 1000; wait; echo NO").only(BASH),
    Nasty::kept("PROMPT_COMMAND='sleep 0.05'; sleep 1000; echo NO").only(BASH),
    Nasty::kept("trap 'sleep 0.01' DEBUG; while :; do :; done; echo NO").only(BASH),
    Nasty::kept("select x in a b; do echo NO; done </dev/zero; sleep 1000; echo NO").only(BASH),
    Nasty::kept("zmodload zsh/zselect; zselect -t 100000; echo NO").only(ZSH),
    Nasty::kept("precmd() { sleep 0.05; }; sleep 1000; echo NO").only(ZSH),
    Nasty::kept("{ sleep 1000; } always { x=1; }; echo NO").only(ZSH),
    Nasty::kept("TRAPINT() { return 0; }; sleep 1000; echo NO").only(ZSH),
    Nasty::kept("setopt zle; sleep 1000; echo NO").only(ZSH),
    Nasty::kept("unsetopt monitor; sleep 1000 | sleep 1000; echo NO").only(ZSH),
];

/// A background process traces the shell and keeps it from going on. A real shell is lost until somebody kills the tracer.
const TRACED: &str = "/usr/bin/python3 -c 'import ctypes, sys, time
libc = ctypes.CDLL(None)
shell = int(sys.argv[1])
for request in (0x4206, 0x4207): libc.ptrace(request, shell, None, None)
time.sleep(1000)' $$ & sleep 1000; echo NO";

/// A process that waits in the kernel for a child which never becomes another program.
const SPAWNS_BY_VFORK: &str = "/usr/bin/python3 -c 'import ctypes
libc = ctypes.CDLL(None)
if libc.vfork() == 0:
    while True: libc.pause()'; echo NO";
