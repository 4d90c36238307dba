//! A request may name a user: what that user may not do is refused, and what is made belongs to them.

use crate::kit::{Runtime, errors::expect_error, v1};
use tonic::Code;

crate::in_every_runtime!(
    what_is_made_belongs_to_the_user,
    what_the_user_may_not_do_is_refused,
    an_unknown_user_is_named
);

async fn what_is_made_belongs_to_the_user(on: Runtime) {
    let s = on.sandbox().await;
    s.run("echo 'ann:x:1234:1235::/home/ann:/bin/sh' >> /etc/passwd; echo 'team:x:77:ann' >> /etc/group; mkdir -m 1777 /tmp/d").await.expect("", "", 0);
    for (user, owner) in [
        ("ann", "1234 1235"),
        ("1234", "1234 1235"),
        ("ann:team", "1234 77"),
        ("4242:11", "4242 11"),
        ("nobody", "65534 65534"),
    ] {
        let open = v1::WriteOpen { user: user.into(), parents: true, ..s.open_file(&format!("/tmp/d/{user}/f")) };
        s.try_write(open, b"x").await.unwrap();
        s.run(&format!("stat -c '%u %g' /tmp/d/{user} /tmp/d/{user}/f")).await.expect(
            format!("{owner}\n{owner}\n"),
            "",
            0,
        );
    }
    // A group that lets the user in.
    s.run("mkdir -m 770 /tmp/team; chgrp team /tmp/team").await;
    let open = v1::WriteOpen { user: "ann".into(), ..s.open_file("/tmp/team/f") };
    assert_eq!(s.try_write(open, b"x").await.unwrap().owner, "ann");
    // The next request is nobody's but its own again.
    assert_eq!(s.write("/tmp/d/own", "x").await.owner, "root");
}

async fn what_the_user_may_not_do_is_refused(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -m 777 /tmp/d; printf secret > /tmp/d/f; chmod 600 /tmp/d/f; mkdir -m 700 /tmp/closed; touch /tmp/closed/f").await;
    let read = v1::ReadRequest {
        sandbox_id: s.id.clone(),
        path: "/tmp/d/f".into(),
        user: "nobody".into(),
        ..Default::default()
    };
    expect_error(&s.try_read(read.clone()).await.unwrap_err(), Code::PermissionDenied, "PERMISSION_DENIED");
    let closed = v1::ReadRequest { path: "/tmp/closed/f".into(), ..read };
    expect_error(&s.try_read(closed).await.unwrap_err(), Code::PermissionDenied, "PERMISSION_DENIED");
    // Although the directory would let it be replaced.
    let open = v1::WriteOpen { user: "nobody".into(), ..s.open_file("/tmp/d/f") };
    expect_error(&s.try_write(open, b"x").await.unwrap_err(), Code::PermissionDenied, "PERMISSION_DENIED");
    let path = "/tmp/d/f".to_owned();
    let chmod = v1::SetAttributesRequest {
        sandbox_id: s.id.clone(),
        path,
        user: "nobody".into(),
        mode: Some(0o777),
        ..Default::default()
    };
    let refused = s.clients.files.clone().set_attributes(chmod).await.unwrap_err();
    expect_error(&refused, Code::PermissionDenied, "PERMISSION_DENIED");
    assert_eq!(s.read("/tmp/d/f").await, b"secret");
}

async fn an_unknown_user_is_named(on: Runtime) {
    let s = on.sandbox().await;
    for user in ["nosuch", "root:nosuch", "-1", ":"] {
        let open = v1::WriteOpen { user: user.into(), ..s.open_file("/tmp/f") };
        let refused = s.try_write(open, b"x").await.unwrap_err();
        expect_error(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        crate::kit::errors::expect_bad_fields(&refused, &["user"]);
    }
}
