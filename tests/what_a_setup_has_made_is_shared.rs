//! A sample is set up once, and what comes of it is what every sandbox of the sample begins with: as its own, to change as it likes.

use crate::{
    kit::{
        Dice, Options, Runtime, Sandbox, Server, create_sandbox,
        datasets::Dataset,
        docker::shared_docker,
        v1,
        within::{self, USUAL, ask_until, within},
    },
    what_differs_from_the_image_is_told::{all_that_is_done_is_told, changeable, changes, many_changes},
};
use std::fs;
use v1::start_progress::Step;

crate::in_every_runtime!(
    each_sandbox_has_it_as_its_own,
    each_file_is_a_file_of_its_own,
    whatever_differs_from_it_is_told,
    those_who_come_together_wait_for_one_setup,
    it_outlives_the_server_and_goes_when_its_room_is_wanted,
    a_server_that_is_killed_leaves_nothing_half_made,
);

/// Something that is different each time it is made.
const UNIQUE: &str = "cat /proc/sys/kernel/random/uuid > unique";

async fn unique(s: &Sandbox) -> String {
    s.run("cat /workspace/unique").await.out().to_owned()
}

async fn each_sandbox_has_it_as_its_own(on: Runtime) {
    let dataset = Dataset::new();
    let setup = [
        UNIQUE,
        "echo theirs > theirs; chown 1234:70000 theirs 2>/dev/null || chown 1234:5678 theirs; chmod 4750 theirs",
        "mkdir -p /opt/tool/bin d/e; echo x > d/e/f; ln -s /etc/passwd link; echo '#!/bin/sh' > /usr/bin/made-by-setup",
        "rm /etc/hosts; echo more >> /etc/passwd; setfacl -m u:1:r d 2>/dev/null; true",
    ];
    dataset.add("one", &setup);
    let server = Server::start(dataset.options(on));
    let first = create_sandbox(&server, Dataset::request(on, "one")).await;
    let look = "stat -c '%u:%g %a %n' theirs d d/e/f unique /opt/tool /usr/bin/made-by-setup; readlink link; tail -1 /etc/passwd; \
                ls /etc/hosts 2>&1 | grep -c 'No such'; cat d/e/f";
    let seen = first.default_session().await.run(look).await;
    let out = seen.out().to_owned();
    assert!(out.starts_with("1234:") && out.contains("0:0 644 unique") && out.contains("\nmore\n"), "{out}");
    assert_eq!(changes(&first, 1000).await, Vec::<String>::new());
    // It is theirs to change in every way, a renamed directory too, and nobody else sees it.
    let change = "rm -r d/e; mkdir d/e; echo mine > theirs; rm unique link; mv /opt/tool /opt/other 2>/dev/null || { cp -r /opt/tool /opt/other; \
                  rm -r /opt/tool; }; chown 7 /usr/bin/made-by-setup; echo back > /etc/hosts; ls d/e; cat theirs; ls /opt";
    first.default_session().await.run(change).await.expect("mine\nother\n", "", 0);
    let told = changes(&first, 1000).await;
    let expected = [
        "~/opt",
        "+/opt/other",
        "-/opt/tool",
        "~/usr/bin/made-by-setup",
        "~/workspace/d/e",
        "-/workspace/d/e/f",
        "-/workspace/link",
        "~/workspace/theirs",
        "-/workspace/unique",
    ];
    for expected in expected {
        assert!(told.iter().any(|told| told == expected), "{expected} is not in {told:#?}");
    }
    let second = create_sandbox(&server, Dataset::request(on, "one")).await;
    let session = second.default_session().await;
    assert_eq!(session.run(look).await.out(), out);
    assert_eq!(changes(&second, 1000).await, Vec::<String>::new());
    // Its own files count, and those of the layer do not.
    let stats = v1::GetSandboxStatsRequest { sandbox_id: second.id.clone() };
    let stats = second.clients.sandboxes.clone().get_sandbox_stats(stats).await.unwrap().into_inner();
    assert!(stats.disk_bytes.is_none_or(|bytes| bytes < 1 << 20), "{stats:?}");
    first.delete().await;
    assert_eq!(session.run(look).await.out(), out);
}

/// Programs take two files of the same device and number for one: `diff` finds no difference then, `cp` refuses, and `rm` and `find` see a loop.
async fn each_file_is_a_file_of_its_own(on: Runtime) {
    let dataset = Dataset::new();
    let setup = [
        "for i in $(seq 300); do echo theirs >theirs-$i; mkdir directory-$i; done",
        "ln theirs-1 linked; echo x >/usr/share/theirs",
    ];
    dataset.add("one", &setup);
    let server = Server::start(dataset.options(on));
    let session = create_sandbox(&server, Dataset::request(on, "one")).await.default_session().await;
    let make = "for i in $(seq 300); do echo ours >/tmp/ours-$i; mkdir ours-$i; done; ln /tmp/ours-1 /tmp/linked; echo y >/usr/share/ours; echo more >>theirs-2; echo more >>/etc/passwd";
    session.run(make).await.expect("", "", 0);
    let twice = "for top in / '/usr/share -maxdepth 1'; do find $top -xdev ! -path '/proc/*' ! -path '/sys/*' \\( -type d -o -links 1 \\) -printf '%D %i %y\\n' 2>/tmp/said | sort | \
                 uniq -d; cat /tmp/said; done";
    session.run(twice).await.expect("", "", 0);
    let count = session.run("find / -xdev -path '/workspace/*' ! -path '*/.git*' | wc -l; find / -xdev -type f -samefile theirs-1 | wc -l; find / -xdev -type f -samefile /tmp/ours-1 | wc -l");
    count.await.expect("903\n2\n2\n", "", 0);
    session.run("for i in $(seq 300); do diff -q theirs-$i /tmp/ours-$i; done | wc -l").await.expect("300\n", "", 0);
    session.run("cd /; rm -r /workspace; ls /workspace 2>/dev/null").await.expect("", "", 2);
}

/// Changes of every kind in the layer, and then in a sandbox that is made from it.
async fn whatever_differs_from_it_is_told(on: Runtime) {
    let (dataset, mut dice) = (Dataset::new(), Dice::new());
    dataset.add("plain", &[]);
    let server = Server::start(dataset.options(on));
    let names = changeable(&create_sandbox(&server, Dataset::request(on, "plain")).await).await;
    dataset.add("changed", &[&many_changes(&names, &mut dice)]);
    let s = within("the sample to be seen", async {
        loop {
            match server.connect().await.sandboxes.create_sandbox(Dataset::request(on, "changed")).await {
                Ok(_) => break create_sandbox(&server, Dataset::request(on, "changed")).await,
                Err(status) if status.code() == tonic::Code::NotFound => {}
                Err(status) => panic!("{status:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(changes(&s, 1000).await, Vec::<String>::new());
    all_that_is_done_is_told(&s, on, &mut dice).await;
}

async fn those_who_come_together_wait_for_one_setup(on: Runtime) {
    let dataset = Dataset::new();
    dataset.add("one", &["sleep 1", UNIQUE]);
    let server = Server::start(dataset.options(on));
    // One that begins it, and goes away in the midst of it.
    let mut clients = server.connect().await;
    let mut steps = clients.sandboxes.create_and_watch_sandbox(Dataset::request(on, "one")).await.unwrap().into_inner();
    within("a setup that has begun", async {
        loop {
            let step = steps.message().await.unwrap().unwrap().sandbox.unwrap();
            if step.start_progress.unwrap_or_default().step() == Step::PreparingSample {
                break;
            }
        }
    })
    .await;
    let others: Vec<_> = (0..3)
        .map(|_| {
            let request = Dataset::request(on, "one");
            let mut clients = clients.clone();
            tokio::spawn(async move { clients.sandboxes.create_sandbox(request).await.unwrap().into_inner() })
        })
        .collect();
    drop(steps);
    let mut made = Vec::new();
    for other in others {
        let id = within("a sandbox", other).await.unwrap().sandbox_id;
        let start = v1::ExecStart {
            target: Some(v1::exec_start::Target::SandboxId(id)),
            command: "cat /workspace/unique".into(),
            ..Default::default()
        };
        let request = v1::RunRequest { start: Some(start), ..Default::default() };
        made.push(clients.sessions.run(request).await.unwrap().into_inner().stdout);
    }
    assert!(made[0].len() > 30 && made.iter().all(|one| *one == made[0]), "{made:?}");
    // The sandbox in which it was prepared is nobody's, and gone.
    let listed = clients.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.total_size, 3, "{listed:?}");
}

async fn it_outlives_the_server_and_goes_when_its_room_is_wanted(on: Runtime) {
    let (dataset, home) = (Dataset::new(), tempfile::tempdir().unwrap());
    dataset.add("one", &[UNIQUE, "head -c 3000000 /dev/zero > large"]);
    dataset.add("two", &[UNIQUE]);
    let options = |more: &[&str]| {
        let mut options = Options { keep: true, data_dir: Some(home.path().join("data")), ..dataset.options(on) };
        options.args.extend(more.iter().map(|more| (*more).to_owned()));
        options
    };
    let server = Server::start(options(&[]));
    let used = create_sandbox(&server, Dataset::request(on, "one")).await;
    let first = unique(&used).await;
    let session = used.default_session().await;
    session.run("A=kept; echo x > new").await.expect("", "", 0);
    server.crash();

    // However small the room is: what is in use stays.
    let server = Server::start(options(&["--max-layer-bytes", "0"]));
    let (used, session) = (used.through(&server).await, session.through(&server).await);
    session.run("echo $A; cat unique").await.expect(format!("kept\n{first}"), "", 0);
    assert!(changes(&used, 1000).await.contains(&"+/workspace/new".to_owned()));
    let get = v1::GetSandboxRequest { sandbox_id: used.id.clone() };
    let described = used.clients.sandboxes.clone().get_sandbox(get).await.unwrap().into_inner();
    assert_eq!(
        (&described.default_session_id, &described.sample),
        (&used.described.default_session_id, &used.described.sample)
    );
    let other = create_sandbox(&server, Dataset::request(on, "two")).await;
    let same = create_sandbox(&server, Dataset::request(on, "one")).await;
    assert_eq!(unique(&same).await, first);
    assert!(changes(&same, 1000).await.is_empty());
    // Nobody uses it any more, and another sample takes the room.
    used.delete().await;
    same.delete().await;
    dataset.add("two", &["true", UNIQUE]);
    let second = unique(&other).await;
    let again = within("another layer of the changed sample", async {
        loop {
            let s = create_sandbox(&server, Dataset::request(on, "two")).await;
            if unique(&s).await != second {
                break s;
            }
        }
    })
    .await;
    // Both of the other one's are in use; its own makes room.
    within::until("the room of what nobody uses", async || layers(&server, on) == 2).await;
    assert_ne!(unique(&create_sandbox(&server, Dataset::request(on, "one")).await).await, first);
    assert_eq!(unique(&other).await, second, "what is in use has stayed");
    for s in [again, other] {
        s.delete().await;
    }
    drop(server);
}

/// How many layers the server has.
fn layers(server: &Server, on: Runtime) -> usize {
    if on == Runtime::Linux {
        return fs::read_dir(server.data_dir().join("layers")).unwrap().count();
    }
    let instance = fs::read_to_string(server.data_dir().join("docker/instance")).unwrap();
    let images = shared_docker().run(&["images", "-q", &format!("sandshell-layer-{instance}")]);
    images.lines().count()
}

async fn a_server_that_is_killed_leaves_nothing_half_made(on: Runtime) {
    let (dataset, home, mut dice) = (Dataset::new(), tempfile::tempdir().unwrap(), Dice::new());
    dataset.add("one", &["head -c 300000 /dev/urandom > data; cp -r /etc copy", UNIQUE]);
    let options = || Options { keep: true, data_dir: Some(home.path().join("data")), ..dataset.options(on) };
    for _ in 0..4 {
        let server = Server::start(options());
        let mut clients = server.connect().await;
        let making = tokio::spawn(async move { clients.sandboxes.create_sandbox(Dataset::request(on, "one")).await });
        // Anywhere in the work; where exactly makes no difference to what has to be.
        tokio::time::sleep(std::time::Duration::from_millis(dice.below(1200))).await;
        server.crash();
        let _ = making.await;
    }
    let server = Server::start(options());
    let listed = server.connect().await.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await;
    for sandbox in listed.unwrap().into_inner().sandboxes {
        let request = v1::DeleteSandboxRequest { sandbox_id: sandbox.sandbox_id };
        server.connect().await.sandboxes.delete_sandbox(request).await.unwrap();
    }
    let s = create_sandbox(&server, Dataset::request(on, "one")).await;
    assert!(unique(&s).await.len() > 30);
    assert_eq!(changes(&s, 1000).await, Vec::<String>::new());
    let look = "cd /workspace; ls -A | tr '\\n' ' '; wc -c <data; ls -A copy | cksum; ls -A /etc | cksum";
    let seen = s.run(look).await.out().to_owned();
    let lines: Vec<_> = seen.lines().collect();
    assert!(lines[0] == ".git copy data file run.sh unique 300000" && lines[1] == lines[2], "{seen}");
    s.delete().await;
    if on == Runtime::Linux {
        let below =
            |name: &str| fs::read_dir(server.data_dir().join(name)).unwrap().flatten().map(|entry| entry.file_name());
        assert_eq!(below("layers").count(), 1, "{:?}", below("layers").collect::<Vec<_>>());
        let empty = ask_until(USUAL, || (below("sandboxes").count() == 0).then_some(()));
        assert!(empty.is_some(), "{:?}", below("sandboxes").collect::<Vec<_>>());
    }
}
