//! `SampleService` and `sandshell sample`: what there is to work on, without what would give it away, and with every mistake told.

use crate::kit::{
    Options, Server,
    cli::{prints, refuses, sandshell},
    errors::expect_error,
    samples::{CALCULATOR, HIDDEN, write_sample},
    v1::{
        GetSampleRequest, ListDatasetsRequest, ListSamplesRequest, Sample, codebase::Kind,
        sample_service_client::SampleServiceClient,
    },
    within::{until, within},
};
use prost::Message;
use serde_json::Value;
use std::{fs, path::Path};
use tonic::{Code, transport::Channel};

/// A catalogue of two datasets; one of its samples has mistakes.
fn catalogue() -> tempfile::TempDir {
    let here = tempfile::tempdir().unwrap();
    let samples = here.path();
    for name in ["small/halves", "small/thirds", "large/halves"] {
        write_sample(&samples.join(name), CALCULATOR);
    }
    let other = CALCULATOR.replace("python\"", "C\"").replace("\"small\"", "\"other\"").replace("Division", "Memory");
    write_sample(&samples.join("large/memory"), &other);
    write_sample(&samples.join("large/broken"), &CALCULATOR.replace("timeout = \"90s\"", "timeout = \"soon\""));
    fs::write(samples.join("large/dataset.toml"), "title = \"Large ones\"\ndescription = \"More *work*.\"\n").unwrap();
    here
}

fn serving(directory: &Path) -> Server {
    let args = vec!["--catalog".to_owned(), directory.display().to_string()];
    Server::start(Options { args, ..Options::default() })
}

async fn client(server: &Server) -> SampleServiceClient<Channel> {
    SampleServiceClient::new(server.connect().await.channel)
}

fn get(dataset: &str, sample_id: &str) -> GetSampleRequest {
    GetSampleRequest { dataset: dataset.to_owned(), sample_id: sample_id.to_owned() }
}

fn names(samples: &[Sample]) -> Vec<String> {
    samples.iter().map(|sample| format!("{}/{}", sample.dataset, sample.sample_id)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_see_has_no_hidden_part() {
    let here = catalogue();
    let server = serving(here.path());
    let mut client = client(&server).await;
    let sample = within("a sample", client.get_sample(get("small", "halves"))).await.expect("it").into_inner();
    let expected = Sample {
        dataset: "small".into(),
        sample_id: "halves".into(),
        title: "Division".into(),
        language: "python".into(),
        tags: vec!["maths".into(), "small".into()],
        image: "host".into(),
        version: "1".into(),
        description: "# Halves\n\nHalf of three is one and a half.".into(),
        codebase: Some(crate::kit::v1::Codebase { kind: Kind::Directory.into(), commit: String::new() }),
        setup: vec![],
        verification_timeout: Some(prost_types::Duration { seconds: 90, nanos: 0 }),
        protected_paths: vec!["/.tests/**".into()],
        fingerprint: sample.fingerprint.clone(),
    };
    assert_eq!(sample, expected);
    let lists = within("a list", client.list_samples(ListSamplesRequest::default())).await.expect("it").into_inner();
    let datasets =
        within("a list", client.list_datasets(ListDatasetsRequest::default())).await.expect("it").into_inner();
    let shown = prints(&["sample", "show", "small/halves", "--server", &server.url()]);
    let as_json = prints(&["sample", "show", "small/halves", "--json", "--server", &server.url()]);
    let all = [sample.encode_to_vec(), lists.encode_to_vec(), datasets.encode_to_vec(), shown.into(), as_json.into()];
    for answer in all {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("Division") || answer.contains("large"), "it is about the samples: {answer}");
        assert!(!answer.contains(HIDDEN), "a hidden part is in {answer}");
    }
    // And it is where the test looks for it.
    let patch = fs::read_to_string(here.path().join("small/halves/reference.patch")).unwrap();
    assert!(patch.contains(HIDDEN) && CALCULATOR.contains(HIDDEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages_and_filters_and_count_what_is_broken() {
    let here = catalogue();
    let server = serving(here.path());
    let mut client = client(&server).await;
    let datasets =
        within("a list", client.list_datasets(ListDatasetsRequest::default())).await.expect("it").into_inner();
    assert_eq!((datasets.total_size, datasets.next_page_token.as_str()), (2, ""));
    let large = &datasets.datasets[0];
    assert_eq!(
        (large.name.as_str(), large.title.as_str(), large.sample_count, large.broken_count),
        ("large", "Large ones", 2, 1)
    );
    assert_eq!(large.languages, [("c".to_owned(), 1), ("python".to_owned(), 1)].into());
    let mut request = ListDatasetsRequest { page_size: 1, ..Default::default() };
    let first = within("a page", client.list_datasets(request.clone())).await.expect("it").into_inner();
    request.page_token = first.next_page_token;
    let second = within("a page", client.list_datasets(request)).await.expect("it").into_inner();
    assert_eq!(
        (second.datasets[0].name.as_str(), second.next_page_token.as_str(), second.total_size),
        ("small", "", 2)
    );

    let mut request = ListSamplesRequest { page_size: 3, ..Default::default() };
    let first = within("a page", client.list_samples(request.clone())).await.expect("it").into_inner();
    assert_eq!(
        (names(&first.samples), first.total_size),
        (["large/halves", "large/memory", "small/halves"].map(String::from).to_vec(), 4)
    );
    assert!(first.samples.iter().all(|sample| sample.description.is_empty() && !sample.fingerprint.is_empty()));
    request.page_token = first.next_page_token;
    let second = within("a page", client.list_samples(request)).await.expect("it").into_inner();
    assert_eq!((names(&second.samples), second.next_page_token.as_str()), (vec!["small/thirds".to_owned()], ""));
    for (wanted, found) in [
        (ListSamplesRequest { language: "C".into(), ..Default::default() }, "large/memory"),
        (ListSamplesRequest { tags: vec!["maths".into(), "other".into()], ..Default::default() }, "large/memory"),
        (ListSamplesRequest { dataset: "small".into(), text: "THIRDS".into(), ..Default::default() }, "small/thirds"),
        (ListSamplesRequest { text: "memory".into(), ..Default::default() }, "large/memory"),
    ] {
        let list = within("a list", client.list_samples(wanted)).await.expect("it").into_inner();
        assert_eq!((names(&list.samples), list.total_size), (vec![found.to_owned()], 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_named() {
    let here = catalogue();
    let server = serving(here.path());
    let mut client = client(&server).await;
    let error = within("an error", client.get_sample(get("none", "halves"))).await.expect_err("no dataset");
    expect_error(&error, Code::NotFound, "DATASET_NOT_FOUND");
    let error = within("an error", client.get_sample(get("small", "none"))).await.expect_err("no sample");
    expect_error(&error, Code::NotFound, "SAMPLE_NOT_FOUND");
    // One that has mistakes is none, and says so to the operator only.
    let error = within("an error", client.get_sample(get("large", "broken"))).await.expect_err("a broken sample");
    expect_error(&error, Code::NotFound, "SAMPLE_NOT_FOUND");
    let error = within("an error", client.get_sample(get("", "halves"))).await.expect_err("two of them");
    expect_error(&error, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert!(error.message().contains("in \"large\" and in \"small\""), "{error:?}");
    let found = within("a sample", client.get_sample(get("", "thirds"))).await.expect("only one").into_inner();
    assert_eq!(found.dataset, "small");
    let none = ListSamplesRequest { dataset: "none".into(), ..Default::default() };
    let error = within("an error", client.list_samples(none)).await.expect_err("no dataset");
    expect_error(&error, Code::NotFound, "DATASET_NOT_FOUND");
    let logged = "large/broken/sample.toml:12: verification.timeout: \"soon\" is not a time";
    assert!(server.log().contains(logged), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_seen_without_a_restart() {
    let here = catalogue();
    let server = serving(here.path());
    let mut client = client(&server).await;
    let fingerprint = async |client: &mut SampleServiceClient<Channel>| {
        let sample = within("a sample", client.get_sample(get("small", "halves"))).await;
        sample.map(|sample| sample.into_inner().fingerprint).unwrap_or_default()
    };
    let before = fingerprint(&mut client).await;
    // One that is mended is there, and so is one that is new; the file may be deep in the sample.
    write_sample(&here.path().join("large/broken"), CALCULATOR);
    write_sample(&here.path().join("new/one"), CALCULATOR);
    fs::create_dir_all(here.path().join("small/halves/code/deep/down")).unwrap();
    fs::write(here.path().join("small/halves/code/deep/down/file"), "new").unwrap();
    for (dataset, id) in [("large", "broken"), ("new", "one")] {
        until("the new sample", async || client.get_sample(get(dataset, id)).await.is_ok()).await;
    }
    until("the changed file", async || fingerprint(&mut client).await != before).await;
    let changed = fingerprint(&mut client).await;
    fs::write(here.path().join("small/halves/code/deep/down/file"), "other").unwrap();
    until("the changed file, once more", async || fingerprint(&mut client).await != changed).await;
    fs::remove_dir_all(here.path().join("new")).unwrap();
    until("the end of a sample", async || client.get_sample(get("new", "one")).await.is_err()).await;
    // The directory itself may be replaced.
    fs::rename(here.path().join("small"), here.path().join("renamed")).unwrap();
    until("the renamed dataset", async || client.get_sample(get("renamed", "halves")).await.is_ok()).await;
}

#[test]
fn the_command_line_lists_and_checks() {
    let here = catalogue();
    let server = serving(here.path());
    let url = server.url();
    let table = prints(&["sample", "list", "--dataset", "small", "--server", &url]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["small/halves", "python", "maths,small", "Division"], "{table}");
    assert_eq!(lines.len(), 3, "{table}");
    let all: Value =
        serde_json::from_str(&prints(&["sample", "list", "--tag", "other", "--json", "--server", &url])).unwrap();
    assert_eq!((all.as_array().unwrap().len(), &all[0]["sample_id"]), (1, &"memory".into()), "{all}");
    let table = prints(&["sample", "list", "--datasets", "--server", &url]);
    assert!(
        table.lines().any(|line| line.split_whitespace().eq(["large", "2", "1", "c,python", "Large", "ones"])),
        "{table}"
    );
    refuses(&["sample", "show", "none/none", "--server", &url], &["dataset \"none\" was not found"]);

    let directory = here.path().display().to_string();
    let checked = sandshell(&["sample", "check", &directory]);
    let told = String::from_utf8(checked.stdout).unwrap();
    assert!(
        !checked.status.success()
            && told.contains("large/broken/sample.toml:12: verification.timeout: \"soon\" is not a time"),
        "{told}"
    );
    assert!(told.ends_with("4 good samples in 2 datasets, 1 mistakes\n"), "{told}");
    write_sample(&here.path().join("large/broken"), CALCULATOR);
    let all: Value = serde_json::from_str(&prints(&["sample", "check", "--json", &directory])).unwrap();
    assert_eq!(
        (&all["problems"], &all["datasets"][0]["samples"]),
        (&Value::Array(vec![]), &serde_json::json!(["broken", "halves", "memory"]))
    );
    let empty = tempfile::tempdir().unwrap();
    assert!(!sandshell(&["sample", "check", empty.path().to_str().unwrap()]).status.success(), "nothing is no success");
    let missing = empty.path().join("missing").display().to_string();
    refuses(&["serve", "--catalog", &missing], &["--catalog", "missing", "No such file"]);
}
