//! The Python client, in turn with the Rust one that measures everything else.

use crate::{
    Options,
    report::{Samples, Table},
    server::Server,
};
use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// As in `python.py`.
const SESSIONS: usize = 64;

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let mut python = Python::start(server);
    let mut client = server.client.clone();
    let sandbox = client.create_sandbox().await;
    let session = client.create_session(&sandbox).await.session_id;
    // Both grow warm first.
    python.does("exec", 50);
    let [mut ours, mut theirs] = std::array::from_fn(|_| Vec::new());
    for _ in 0..options.samples(50) {
        ours.extend(python.does("exec", 50));
        for _ in 0..50 {
            let start = Instant::now();
            client.run_in(&session, "true").await;
            theirs.push(start.elapsed());
        }
    }
    client.delete_sandbox(sandbox).await;
    let (ours, theirs): (Samples, Samples) = (ours.into_iter().collect(), theirs.into_iter().collect());
    table.times("`session.exec(\"true\")` from Python", &ours, Some(("Run(\"true\") from Rust", &theirs)));
    let writes: Samples = python.does("write", options.samples(200)).into_iter().collect();
    table.times("`files.write` of 1 MiB from Python", &writes, None);
    let each = options.samples(200);
    let took = python.does("many", each);
    let rate = (SESSIONS * each) as f64 / took[0].as_secs_f64();
    table.number(
        "`session.exec` in 64 sessions at once from Python",
        &format!("{rate:.0} a second"),
        "one process, every answer checked",
    );
    python.stop();
}

/// A program that has the client.
struct Python {
    child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Python {
    fn start(server: &Server) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let interpreter = root.join("target/python-venv/bin/python");
        let source = root.join("clients/python");
        let made = Command::new(&interpreter).args(["setup.py", "generate"]).current_dir(&source).status();
        assert!(made.is_ok_and(|status| status.success()), "./test makes target/python-venv, which this needs");
        let mut child = Command::new(interpreter)
            .arg(root.join("benches/python.py"))
            .arg(server.url())
            .env("PYTHONPATH", source.join("src"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asks, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, asks, answers: BufReader::new(answers).lines() }
    }

    fn does(&mut self, what: &str, count: usize) -> Vec<Duration> {
        writeln!(self.asks, "{what} {count}").unwrap();
        let answer = self.answers.next().expect("it ended").unwrap();
        let seconds: Vec<f64> = serde_json::from_str(&answer).unwrap();
        seconds.into_iter().map(Duration::from_secs_f64).collect()
    }

    fn stop(mut self) {
        drop(self.asks);
        let _ = self.child.wait();
    }
}
