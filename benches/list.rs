//! Pages of a long list: rows of many sandboxes, as many servers that share a database would have.

use crate::{
    Options,
    report::{Samples, Table},
    server::Server,
};
use sandshell::{
    api::v1::ListSandboxesRequest,
    store::{Durability, Quota, SandboxRow, SandboxState, Settings, Store},
    tenant,
};
use std::time::{Instant, SystemTime};

const ROWS: usize = 10_000;
/// As a server writes them.
const DETAILS: &str = r#"{"image":"host","runtime":"linux","working_directory":"/workspace","limits":{"memory_bytes":null,
"cpu_millis":null,"max_processes":null,"disk_bytes":null},"network":"none","warnings":[]}"#;

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let store = Store::in_directory(server.data_dir(), Durability::Kill).await.unwrap();
    let start = Instant::now();
    for number in 0..ROWS {
        let labels = [("app", "bench".to_owned()), ("team", (number % 10).to_string()), ("n", number.to_string())];
        let row = SandboxRow {
            id: format!("sbx-{number:026}"),
            tenant: tenant::DEFAULT.to_owned(),
            server: "another".to_owned(),
            state: SandboxState::Running,
            create_time: SystemTime::now(),
            settings: Settings {
                labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
                ..Settings::default()
            },
            memory_bytes: 1 << 30,
            details: DETAILS.to_owned(),
            end_time: None,
        };
        store.insert_sandbox(&row, Quota::default(), None, &[]).await.unwrap();
    }
    eprintln!("{ROWS} rows in {:.1} s", start.elapsed().as_secs_f64());
    let mut client = server.client.clone();
    for labels in [&[][..], &[("team", "3")][..], &[("app", "bench"), ("team", "3")][..]] {
        let mut samples = Samples::default();
        let (mut page_token, mut seen) = (String::new(), 0);
        for _ in 0..options.samples(200) {
            let request = ListSandboxesRequest {
                labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
                page_size: 100,
                page_token: page_token.clone(),
            };
            let start = Instant::now();
            let page = client.sandboxes.list_sandboxes(request).await.unwrap().into_inner();
            samples.push(start.elapsed());
            seen += page.sandboxes.len();
            assert_eq!(page.total_size as usize, if labels.is_empty() { ROWS } else { ROWS / 10 });
            page_token = page.next_page_token;
        }
        assert!(seen > 0);
        table.times(&format!("a page of 100 of {ROWS} sandboxes, {} labels asked for", labels.len()), &samples, None);
    }
}
