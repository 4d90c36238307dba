//! Random sequences of definitions, options, aliases and traps: a session prints and returns what the shell alone does to
//! which the same is typed, and what it was comes back when its shell ends.
//!
//! The usual run repeats the same few sequences, so that it fails for a change and not by chance. `SANDSHELL_TEST_SEQUENCES` sets
//! how many there are in all and takes others each time, as `./test-long` does; an hour of them is worth while after changes in
//! these rooms.

use crate::kit::{At, Dice, Sandbox, Session, Shell, sequences::Sequences, token, v1};

crate::in_every_shell!(a_sequence_does_what_it_does_in_the_shell_alone, what_a_sequence_has_made_comes_back,);

/// The seed of the usual run, and how many sequences it has in all.
const USUAL_SEED: u64 = 7;
const USUAL: u64 = 280;

/// Sequences of each test, and the dice they are thrown with. There are seven shells, and two tests of each.
fn how_many() -> (u64, Dice) {
    let asked = std::env::var("SANDSHELL_TEST_SEQUENCES").ok().and_then(|text| text.parse().ok());
    let dice = if asked.is_some() { Dice::new() } else { Dice::of(USUAL_SEED) };
    (u64::div_ceil(asked.unwrap_or(USUAL), 14), dice)
}

async fn a_sequence_does_what_it_does_in_the_shell_alone(at: At) {
    let sandbox = at.sandbox().await;
    let (number, mut dice) = how_many();
    for _ in 0..number {
        let commands = sequence(at.shell, &mut dice, 8);
        let session = sandbox.session(at.shell.path()).await;
        let alone = alone(&sandbox, at.shell, &commands).await;
        for (number, command) in commands.iter().enumerate() {
            let got = session.run(command).await;
            // A mistake ends a script of dash and ash, and no session.
            let is_script = at.shell == Shell::Dash || at.shell == Shell::Ash;
            let Some((stdout, status)) = alone.get(number) else {
                assert!(is_script, "the shell alone ended at `{command}` of\n{}", commands.join("\n"));
                break;
            };
            // What zsh alone cannot parse leaves it the status of an earlier failure. Here it is that of a text that fails.
            let kept = at.shell == Shell::Zsh && *status != 0 && got.err().contains("parse error");
            let is_same = got.stdout == *stdout && (got.exit_code() == *status || kept && got.exit_code() == 1);
            assert!(
                is_same && !got.exited.shell_exited,
                "`{command}` prints {:?} and returns {status} in the shell alone, and {got:?} here, after\n{}",
                String::from_utf8_lossy(stdout),
                commands[..number].join("\n")
            );
        }
        session.close().await;
    }
}

async fn what_a_sequence_has_made_comes_back(at: At) {
    let sandbox = at.sandbox().await;
    let (number, mut dice) = how_many();
    for _ in 0..number {
        let session = sandbox.session(at.shell.path()).await;
        let mut typed = Vec::new();
        for _ in 0..2 {
            for command in sequence(at.shell, &mut dice, 8) {
                session.run(&command).await;
                typed.push(command);
            }
            let before = state(&session, at.shell).await;
            // To wait for an idle shell takes longer than all the rest. (Whether one that shows what it does has saved its state
            // cannot be seen by how much it writes.)
            let is_quiet = !typed.iter().any(|command| command == "\\set -v" || command == "\\set -x");
            // zsh forgets EXIT traps at the first call of a function after it became another shell, and ours with them.
            let forgets = at.shell == Shell::Zsh && typed.iter().any(|command| command.contains("emulate"));
            if forgets && !is_quiet {
                break;
            }
            if forgets {
                session.settled().await;
            }
            if dice.below(20) == 0 && is_quiet {
                session.settled().await;
                typed.push("\\kill -9 $$".to_owned());
            } else {
                typed.push("\\exit 7".to_owned());
            }
            let got = session.run(&typed[typed.len() - 1]).await;
            // In its POSIX mode bash takes no function whose name is none there, and the answer tells which.
            let is_posix = at.shell == Shell::Bash && typed.iter().any(|command| command.contains("posix"));
            if is_posix && got.exited.not_restored.iter().any(|what| what.starts_with("function ")) {
                break;
            }
            let after = state(&session, at.shell).await;
            let lost = before.difference(&after).map(|line| format!("- {line}"));
            let changed: Vec<_> = lost.chain(after.difference(&before).map(|line| format!("+ {line}"))).collect();
            assert!(
                got.exited.shell_exited && got.exited.not_restored.is_empty() && changed.is_empty(),
                "{changed:#?}, not restored {:?}, after\n{}\n{got:?}",
                got.exited.not_restored,
                typed.join("\n")
            );
        }
        session.close().await;
    }
}

fn sequence(shell: Shell, dice: &mut Dice, length: u64) -> Vec<String> {
    let mut commands = Vec::new();
    for _ in 0..2 + dice.below(length) {
        let is_use = dice.below(3) == 0;
        let mut sequences = Sequences::new(shell, dice);
        commands.push(if is_use { sequences.use_of_it() } else { sequences.definition() });
    }
    commands
}

/// What a shell prints and returns for each command when all of them are typed into it.
async fn alone(sandbox: &Sandbox, shell: Shell, commands: &[String]) -> Vec<(Vec<u8>, i32)> {
    let mark = token();
    let builtin = if shell == Shell::Zsh { "\\builtin" } else { "\\command" };
    let mut typed = "PS1= PS2=\n".to_owned();
    for command in commands {
        // `$?` of the next command is that of this one.
        typed += &format!(
            "{command}\n{{ {builtin} eval 'status_=$?; {builtin} printf \"{mark}%s{mark}\" \"$status_\"; (\\exit \"$status_\")'; }} 2>/dev/null\n"
        );
    }
    let arguments = match shell {
        Shell::Dash => "/bin/dash -m -s",
        Shell::Ash => "/bin/busybox ash -m -s",
        Shell::Bash => "/bin/bash --norc --noprofile --noediting +o history -i",
        Shell::Zsh => {
            "/bin/zsh -f -i +o zle -o interactivecomments -o nopromptsp -o nopromptcr -o nocheckjobs -o nohup"
        }
    };
    let shell = shell.path().to_owned();
    let start = v1::ExecStart { stdin: true, shell, ..sandbox.start(format!("exec {arguments}")) };
    let running = sandbox.exec(start).await;
    running.stdin(&typed).await;
    running.close_stdin().await;
    let finished = running.finish().await;
    let mut answers = Vec::new();
    let text = finished.stdout;
    let mut rest = text.as_slice();
    while let Some(at) = find(rest, mark.as_bytes()) {
        let stdout = rest[..at].to_vec();
        rest = &rest[at + mark.len()..];
        let end = find(rest, mark.as_bytes()).expect("the end of a status");
        let status = String::from_utf8_lossy(&rest[..end]).parse();
        let all = String::from_utf8_lossy(&text);
        answers
            .push((stdout, status.unwrap_or_else(|_| panic!("no status in {all:?}, after\n{}", commands.join("\n")))));
        rest = &rest[end + mark.len()..];
    }
    answers
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// All lines in which a shell lists what it is, but for those that change from one shell to the next.
async fn state(session: &Session, shell: Shell) -> std::collections::BTreeSet<String> {
    const OWN: &[&str] =
        &["PPID", "_=", "SANDSHELL_", "LINENO", "OPTIND", "RANDOM", "SECONDS", "FUNCNAME", "HISTCMD", "TTYIDLE"];
    let listing = match shell {
        Shell::Dash | Shell::Ash => {
            "\\command set; \\command export -p; \\command readonly -p; \\command alias; \\command set +o; \\command trap; \\command umask"
        }
        Shell::Bash => {
            "\\builtin declare -p V W _x LONG_name2 RO1 RO2 arr map num upper IFS PATH HOME 2>/dev/null; \\builtin declare -f; \
             \\builtin declare -F; \\builtin alias -p; \\builtin set +o; \\builtin shopt -p; \\builtin trap -p; \\builtin umask"
        }
        Shell::Zsh => {
            "\\builtin typeset -p V W _x LONG_name2 RO1 RO2 arr map num upper IFS PATH HOME 2>/dev/null; \\builtin functions; \
             \\builtin alias -L; \\builtin set +o; \\builtin emulate; \\builtin trap; \\builtin umask"
        }
    };
    let builtin = if shell == Shell::Zsh { "\\builtin" } else { "\\command" };
    let got = session.run(format!("{listing}; {builtin} printf '<%s>' \"$#\" \"$@\"; {builtin} pwd")).await;
    let listed = got.out();
    let is_own = |line: &str| OWN.iter().any(|name| line.contains(name));
    listed.lines().filter(|line| !is_own(line)).map(str::to_owned).collect()
}
