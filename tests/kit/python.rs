//! Python clients: a virtual environment with grpc, and scripts in `tests/python`.

use super::certificates::{self, Authority};
use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::LazyLock,
};

const REQUIREMENTS: &str = include_str!("../python/requirements.txt");

/// What `clients/python/pyproject.toml` names.
const NEEDED_BY_THE_CLIENT: [&str; 3] = ["grpcio==", "googleapis-common-protos==", "pathspec=="];

/// Runs a script of `tests/python` with these arguments; fails with all it said when it does.
pub fn run_script(script: &str, arguments: &[&str]) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(ENVIRONMENT.join("bin/python"));
    command.arg(root.join("tests/python").join(script)).args(arguments).current_dir(&root);
    run(command)
}

/// Runs the tests of the Python client, against this server and with this program.
pub fn test_client(server: &str, program: &str) -> String {
    let certificates = certificates();
    let client = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/python");
    let python = |arguments: &[&str]| {
        let mut command = Command::new(ENVIRONMENT.join("bin/python"));
        command.args(arguments).current_dir(&client).env_remove("SANDSHELL_SERVER").env_remove("SANDSHELL_KEY");
        command.env("SANDSHELL_TEST_SERVER", server).env("SANDSHELL_PROGRAM", program);
        command.env("SANDSHELL_TEST_CERTIFICATES", certificates.path()).env_remove("SANDSHELL_CA");
        run(command)
    };
    python(&["setup.py", "generate"]);
    python(&["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"])
}

/// Certificates in files: an authority, one of this machine and one of another name that it has signed, and another authority.
fn certificates() -> tempfile::TempDir {
    let at = tempfile::tempdir().expect("a directory");
    let (ours, other) = (Authority::new(), Authority::new());
    certificates::write(at.path(), "ca.pem", &ours.pem);
    certificates::write(at.path(), "other.pem", &other.pem);
    for (name, names) in [("server", ["localhost", "127.0.0.1"].as_slice()), ("elsewhere", &["elsewhere.test"])] {
        let pair = ours.sign(names);
        certificates::write(at.path(), &format!("{name}.pem"), &pair.certificate);
        certificates::write(at.path(), &format!("{name}.key"), &pair.key);
    }
    at
}

/// The program `grpcurl`, which comes as a Python package.
pub fn grpcurl(arguments: &[String]) -> Output {
    let mut command = Command::new(ENVIRONMENT.join("bin/grpcurl"));
    command.args(arguments).output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"))
}

/// Made once, by `./test` or here.
static ENVIRONMENT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/python-venv");
    let installed = root.join("requirements.txt");
    // One process at a time: a test runner may start several.
    let lock = std::fs::File::create(root.with_extension("lock")).expect("a lock");
    lock.lock().expect("the lock");
    if std::fs::read_to_string(&installed).is_ok_and(|had| had == REQUIREMENTS) {
        return root;
    }
    let mut venv = Command::new("/usr/bin/python3");
    venv.args(["-m", "venv", "--clear"]).arg(&root);
    run(venv);
    let mut pip = Command::new(root.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(REQUIREMENTS.lines());
    run(pip);
    // What the client needs, as files: its wheel is tried in an environment that has nothing.
    let mut wheels = Command::new(root.join("bin/pip"));
    wheels.args(["download", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--dest"]);
    wheels.arg(root.join("wheels"));
    wheels.args(REQUIREMENTS.lines().filter(|line| NEEDED_BY_THE_CLIENT.iter().any(|name| line.starts_with(name))));
    run(wheels);
    std::fs::write(&installed, REQUIREMENTS).expect("a note of what was installed");
    root
});

fn run(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|e| {
        panic!("cannot start {command:?}: {e}; these tests need: apt-get install python3 python3-venv")
    });
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed ({})\n--- stdout\n{out}\n--- stderr\n{err}", output.status);
    out.into_owned()
}
