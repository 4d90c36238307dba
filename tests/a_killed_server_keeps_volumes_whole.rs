//! The server is killed at random points while volumes are made, used and deleted. What was told to be there is there with all that was
//! written, what was told to be gone is gone, and of everything else nothing is left.

use crate::kit::{
    Clients, Dice, Options, Runtime, Server, create_sandbox,
    docker::shared_docker,
    errors::expect_error,
    postgres::Postgres,
    v1,
    volumes::{create_volume, get_volume, named, of, prints, refused, volumes, with_volumes},
    within,
};
use futures_util::future::join_all;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tonic::{Code, transport::Endpoint};

const KILLS: usize = 8;

crate::in_every_runtime!(nothing_that_was_told_is_lost_and_nothing_else_stays);

async fn nothing_that_was_told_is_lost_and_nothing_else_stays(on: Runtime) {
    let dir = tempfile::tempdir().expect("a directory for data");
    let data_dir = dir.path().join("data");
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address").to_string()
    };
    let options =
        |keep| Options { data_dir: Some(data_dir.clone()), keep, listen: Some(address.clone()), ..on.options() };
    let mut server = start(options(true)).await;
    // One with something in it, which is used all the time.
    let volume = create_volume(&server, named("kept")).await;
    let sandbox = create_sandbox(&server, with_volumes(on, &[("kept", "/data")])).await;
    prints(&sandbox, "echo content >/data/file").await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = (0..3).map(|number| work(format!("http://{address}"), number, stop.clone()));
    let kills = async {
        let mut dice = Dice::new();
        for _ in 0..KILLS {
            // Not a wait for something, but a point in the middle of it.
            tokio::time::sleep(Duration::from_millis(dice.below(400))).await;
            tokio::task::spawn_blocking(move || server.crash()).await.expect("a killed server");
            server = start(options(true)).await;
        }
        stop.store(true, Ordering::Relaxed);
        server
    };
    let (server, told) = tokio::join!(kills, join_all(clients));
    let mut kept: BTreeSet<String> = told.into_iter().flatten().collect();
    kept.insert("kept".to_owned());
    println!("{KILLS} kills; {} volumes were told to be there", kept.len());

    let request = v1::ListVolumesRequest { page_size: 1000, ..Default::default() };
    let listed = volumes(&server).await.list_volumes(request).await.expect("a list").into_inner();
    assert_eq!(listed.volumes.iter().map(|volume| volume.name.clone()).collect::<BTreeSet<_>>(), kept, "names");
    let ids: BTreeSet<_> = listed.volumes.iter().map(|volume| volume.volume_id.clone()).collect();
    assert_eq!(there(on, &data_dir), ids, "files");
    // It was used by the same sandbox all the time.
    let used = get_volume(&server, "kept").await.expect("it is there");
    assert_eq!((used.used_by.len(), used.volume_id), (1, volume.volume_id));
    expect_error(
        &refused(&server, with_volumes(on, &[("kept", "/data")])).await,
        Code::FailedPrecondition,
        "VOLUME_IN_USE",
    );
    let sandbox = sandbox.through(&server).await;
    prints(&sandbox, "echo more >>/data/file").await;
    sandbox.delete().await;
    tokio::task::spawn_blocking(move || server.stop()).await.expect("the server's end");
    let server = start(options(false)).await;
    let next = create_sandbox(&server, with_volumes(on, &[("kept", "/data:ro")])).await;
    assert_eq!(prints(&next, "cat /data/file").await, "content\nmore\n");
    next.delete().await;
    let mut client = volumes(&server).await;
    for volume in kept {
        client.delete_volume(v1::DeleteVolumeRequest { volume }).await.expect("it is deleted");
    }
    assert_eq!(there(on, &data_dir), BTreeSet::new());
    tokio::task::spawn_blocking(move || server.stop()).await.expect("the server's end");
}

async fn start(options: Options) -> Server {
    tokio::task::spawn_blocking(move || Server::start(options)).await.expect("a server")
}

/// Makes volumes and deletes most of them, again and again, however often the server is away. Returns what it was told to be there.
async fn work(url: String, number: usize, stop: Arc<AtomicBool>) -> BTreeSet<String> {
    let endpoint = Endpoint::from_shared(url).expect("an address");
    let channel = endpoint.connect_lazy();
    let mut client = of(&Clients::new(channel));
    let mut kept = BTreeSet::new();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{number}-{round}");
        let request = v1::CreateVolumeRequest { request_id: name.clone(), ..named(&name) };
        within::until("a volume, in the end", async || match client.create_volume(request.clone()).await {
            Ok(_) => true,
            Err(status) if is_away(&status) => false,
            Err(status) => panic!("{status:?}"),
        })
        .await;
        if round % 3 == 0 {
            kept.insert(name);
            continue;
        }
        let request = v1::DeleteVolumeRequest { volume: name };
        within::until("a deletion, in the end", async || match client.delete_volume(request.clone()).await {
            Ok(_) => true,
            // An earlier try has done it.
            Err(status) if status.code() == Code::NotFound => true,
            Err(status) if is_away(&status) => false,
            Err(status) => panic!("{status:?}"),
        })
        .await;
    }
    kept
}

/// Whether the server is away, or its last words were cut off.
fn is_away(status: &tonic::Status) -> bool {
    // What has a source was made on this side.
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

/// Volumes that have files, wherever these are.
fn there(on: Runtime, data_dir: &Path) -> BTreeSet<String> {
    match on {
        Runtime::Linux => {
            let entries = fs::read_dir(data_dir.join("volumes")).expect("a directory").flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
        Runtime::Docker => {
            let instance = fs::read_to_string(data_dir.join("docker/instance")).expect("the data directory's word");
            let filter = format!("label=sandshell.instance={instance}");
            let format = "{{.Label \"sandshell.volume\"}}";
            let said = shared_docker().run(&["volume", "ls", "--filter", &filter, "--format", format]);
            said.lines().filter(|id| id.starts_with("vol-")).map(str::to_owned).collect()
        }
    }
}

/// With PostgreSQL the same is certain, for several servers too; and whose a volume is, is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_database_of_several_servers_decides_who_writes() {
    let postgres = Postgres::start().await;
    let dirs = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let [first, second] = dirs.each_ref().map(|dir| {
        let args = vec!["--database".to_owned(), postgres.url()];
        Server::start(Options { args, data_dir: Some(dir.path().to_owned()), ..Default::default() })
    });
    create_volume(&first, named("data")).await;
    let status = volumes(&second).await.create_volume(named("data")).await.expect_err("the name is the tenant's");
    expect_error(&status, Code::AlreadyExists, "ALREADY_EXISTS");
    let request = with_volumes(Runtime::Linux, &[("data", "/data")]);
    expect_error(&refused(&second, request.clone()).await, Code::FailedPrecondition, "ON_OTHER_SERVER");
    let status = volumes(&second).await.delete_volume(v1::DeleteVolumeRequest { volume: "data".into() }).await;
    expect_error(&status.expect_err("its files are elsewhere"), Code::FailedPrecondition, "ON_OTHER_SERVER");
    let clients = first.connect().await.sandboxes;
    let tries = (0..4).map(|_| {
        let (mut client, request) = (clients.clone(), request.clone());
        async move { client.create_sandbox(request).await }
    });
    let answers = within("four answers", join_all(tries)).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    for status in answers.into_iter().filter_map(Result::err) {
        expect_error(&status, Code::FailedPrecondition, "VOLUME_IN_USE");
    }
    let listed = volumes(&second).await.list_volumes(v1::ListVolumesRequest::default()).await.expect("a list");
    assert_eq!(listed.into_inner().volumes[0].used_by.len(), 1);
    tokio::task::spawn_blocking(move || drop((first, second))).await.expect("the servers' end");
}
