//! Many idle sandboxes, each with a live shell.

use crate::{
    Options, processes,
    report::{Samples, Table},
    server::Server,
};
use std::time::Instant;

/// As many as a client with some patience asks for; two processors have enough to do with that.
const CREATED_AT_ONCE: usize = 8;

/// As many as a server has at most unless the operator says otherwise. Also in a quick run: what is asked is whether each costs the same.
const MANY: usize = 1000;

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    with(server, options.samples(500), table).await;
    let many = Server::start_with(&["--max-sandboxes", &(MANY + 100).to_string()]).await;
    with(&many, MANY, table).await;
    many.stop();
}

async fn with(server: &Server, count: usize, table: &mut Table) {
    let server_before = server_kib(server);
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
    let server_each = (server_kib(server) as f64 - server_before as f64) / count as f64;

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
    let memory = format!("memory of each of the {count} (PSS of all its processes)");
    table.number(&memory, &format!("{:.2} MiB", kib as f64 / 1024.0), &note);
    let memory = format!("memory of the server for each of the {count}");
    table.number(
        &memory,
        &format!("{server_each:.1} KiB"),
        &format!("{:.1} MiB before", server_before as f64 / 1024.0),
    );
    table.times(&format!("`Run(\"true\")` in each of the {count}, first time"), &run, None);
}

fn server_kib(server: &Server) -> u64 {
    processes::memory_kib(&processes::Pids::from([server.pid()]))
}
