//! Many idle sandboxes, each with a live shell.

use crate::{
    Options, processes,
    report::{Samples, Table},
    server::Server,
};
use std::time::Instant;

/// As many as a client with some patience asks for; two processors have enough to do with that.
const CREATED_AT_ONCE: usize = 8;

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let count = options.samples(500);
    let before = processes::in_sandboxes();
    let start = Instant::now();
    let work: Vec<_> = (0..CREATED_AT_ONCE)
        .map(|worker| {
            let mut client = server.client.clone();
            tokio::spawn(async move {
                let mut made = Vec::new();
                for _ in (worker..count).step_by(CREATED_AT_ONCE) {
                    let sandbox = client.create_sandbox().await;
                    let session = client.create_session(&sandbox).await.session_id;
                    made.push((sandbox, session));
                }
                made
            })
        })
        .collect();
    let mut made = Vec::new();
    for task in work {
        made.extend(task.await.unwrap());
    }
    let seconds = start.elapsed().as_secs_f64();
    let inside: processes::Pids = processes::in_sandboxes().difference(&before).copied().collect();
    let kib = processes::memory_kib(&inside) / count as u64;

    let mut client = server.client.clone();
    let mut run = Samples::default();
    for (_, session) in &made {
        let start = Instant::now();
        client.run_in(session, "true").await;
        run.push(start.elapsed());
    }

    let start = Instant::now();
    for (sandbox, _) in made {
        client.delete_sandbox(sandbox).await;
    }
    let deleted = start.elapsed().as_secs_f64();
    let what = format!("{count} sandboxes with a shell each: time to create them all");
    table.number(&what, &format!("{seconds:.1} s"), &format!("{deleted:.1} s to delete them, one by one"));
    let note = format!("{:.1} processes each", inside.len() as f64 / count as f64);
    table.number("memory of each (PSS of all its processes)", &format!("{:.2} MiB", kib as f64 / 1024.0), &note);
    table.times("`Run(\"true\")` in each of them, first time", &run, None);
}
