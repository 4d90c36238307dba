//! The network and other sandboxes.

use super::python;
use crate::kit::{Runtime, token, v1};

crate::in_every_runtime!(the_network_is_its_own_loopback, sandboxes_do_not_see_each_other,);

async fn the_network_is_its_own_loopback(on: Runtime) {
    let s = on.sandbox().await;
    let got = s.run("cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '").await;
    assert_eq!(got.out(), "lo\n", "{got:?}");
    let (address, port) = on.shared().address().split_once(':').unwrap();
    let connect = format!(
        "
import socket
for address in (('{address}', {port}), ('1.1.1.1', 53), ('169.254.169.254', 80)):
    try: socket.create_connection(address, 2); print('connected', address)
    except OSError: print('no')
for path in ('\\0/tmp/.X11-unix/X0', '/run/docker.sock', '/var/run/docker.sock', '/run/dbus/system_bus_socket'):
    try: s = socket.socket(socket.AF_UNIX); s.connect(path); print('connected', path)
    except OSError: print('no')
"
    );
    let got = python(&s, &connect).await;
    assert_eq!(got.out(), "no\n".repeat(7), "{got:?}");
    // Its own works.
    let own = "
import socket
a = socket.create_server(('127.0.0.1', 0)); b = socket.create_connection(a.getsockname()); c, _ = a.accept()
b.send(b'x'); print(c.recv(1))
";
    assert_eq!(python(&s, own).await.out(), "b'x'\n");
    assert_eq!(s.described.network.map(|n| n.mode()), Some(v1::network::Mode::None));
}

async fn sandboxes_do_not_see_each_other(on: Runtime) {
    let (one, two) = (on.sandbox().await, on.sandbox().await);
    let word = token();
    let first = one.session("").await;
    first
        .run(format!("for d in /workspace /tmp /dev/shm /root /var/tmp; do echo secret >$d/{word}; done"))
        .await
        .expect("", "", 0);
    first.run(format!("sh -c 'sleep 1000; :' {word} & /usr/bin/python3 -m http.server 8123 >/dev/null 2>&1 &")).await;
    let got = two.run(&format!("for d in /workspace /tmp /dev/shm /root /var/tmp; do cat $d/{word}; done; find / -name {word} -not -path '/proc/*'; cat /proc/*/cmdline | grep {word}")).await;
    assert_eq!(got.out(), "", "{got:?}");
    let connect = "
import socket
try: socket.create_connection(('127.0.0.1', 8123), 2); print('connected')
except OSError: print('no')
";
    assert_eq!(python(&two, connect).await.out(), "no\n");
    assert_ne!(
        one.run("readlink /proc/self/ns/user /proc/self/ns/ipc /proc/self/ns/uts").await.out(),
        two.run("readlink /proc/self/ns/user /proc/self/ns/ipc /proc/self/ns/uts").await.out()
    );
    two.run("kill -9 -1; true").await;
    first.alive().await;
    one.delete().await;
    two.run("echo alive").await.expect("alive\n", "", 0);
}
