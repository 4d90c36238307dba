//! The README's lines for grpcurl, run with the real one: it knows nothing of the API but what reflection says.

use crate::kit::{python::grpcurl, shared};

const README: &str = include_str!("../README.md");

/// The lines of the README that call a server without a key, as arguments.
fn lines() -> Vec<Vec<String>> {
    let lines = README.lines().filter_map(|line| line.strip_prefix("grpcurl -plaintext "));
    lines.map(|line| [vec!["-plaintext".to_owned()], words(line)].concat()).collect()
}

/// Splits a line as a shell would, as far as the README needs it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Calls the server that is meant.
fn call(arguments: &[String]) -> (bool, String) {
    let here = |argument: &String| argument.replace("localhost:50051", shared().address());
    let output = grpcurl(&arguments.iter().map(here).collect::<Vec<_>>());
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// The id that an answer has under this name.
fn id(answer: &str, name: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_else(|e| panic!("{e}: {answer}"));
    answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned()
}

#[test]
fn line_by_line() {
    let (mut sandbox, mut session, mut called) = (String::new(), String::new(), 0);
    for arguments in lines() {
        let known = |argument: &String| argument.replace("sbx-…/…", &session).replace("sbx-…", &sandbox);
        let arguments: Vec<_> = arguments.iter().map(known).collect();
        let (ok, answer) = call(&arguments);
        assert!(ok, "{arguments:?}: {answer}");
        called += 1;
        match arguments.last().unwrap().rsplit('/').next().unwrap() {
            "list" => {
                for service in ["SandboxService", "SessionService", "FileService", "CodeService"] {
                    assert!(answer.contains(&format!("sandshell.v1.{service}\n")), "{answer}");
                }
            }
            "CreateSandbox" => sandbox = id(&answer, "sandboxId"),
            "CreateSession" => session = id(&answer, "sessionId"),
            "Run" if arguments.contains(&"text".to_owned()) => {
                assert!(answer.contains("stdout: \"Linux sandbox "), "{answer}");
                assert!(answer.contains("reason: REASON_EXITED\n"), "{answer}");
            }
            "Run" => {
                assert!(answer.contains("\"exitCode\": 0,\n"), "{answer}");
                assert!(answer.contains("\"reason\": \"REASON_EXITED\""), "{answer}");
            }
            "DeleteSandbox" => {}
            other => panic!("what should {other} answer?"),
        }
    }
    assert_eq!(called, 6);
}

/// By what reflection knows of `google.rpc`.
#[test]
fn the_details_of_an_error_are_shown() {
    let request = r#"{"labels": {"": "x"}, "resources": {"memory_bytes": 1}}"#;
    let arguments = ["-plaintext", "-d", request, "localhost:50051", "sandshell.v1.SandboxService/CreateSandbox"];
    let (ok, answer) = call(&arguments.map(str::to_owned));
    assert!(!ok && answer.contains("InvalidArgument"), "{answer}");
    for part in [
        "\"@type\":\"type.googleapis.com/google.rpc.BadRequest\"",
        "\"field\":\"resources.memory_bytes\"",
        "\"domain\":\"sandshell\"",
    ] {
        assert!(answer.replace("\": ", "\":").contains(part), "{part} is not in: {answer}");
    }
}

/// Earlier versions named the values of two enums without a prefix; clients that have those names still mean the same.
#[test]
fn earlier_names_of_values_are_understood() {
    use prost::Message;
    let known = prost_types::FileDescriptorSet::decode(sandshell::api::FILE_DESCRIPTOR_SET).unwrap();
    let file = known.file.iter().find(|file| file.name() == "sandshell/v1/session.proto").unwrap();
    let exited = file.message_type.iter().find(|message| message.name() == "Exited").unwrap();
    for (holder, name, prefix, values) in
        [(&file.enum_type, "Stream", "STREAM_", 3), (&exited.enum_type, "Reason", "REASON_", 7)]
    {
        let values_of = |with_prefix: bool| -> Vec<(i32, String)> {
            let all = holder.iter().find(|kind| kind.name() == name).unwrap().value.iter();
            let some = all.filter(|value| value.number() != 0 && value.name().starts_with(prefix) == with_prefix);
            some.map(|value| (value.number(), value.name().trim_start_matches(prefix).to_owned())).collect()
        };
        assert_eq!(values_of(true), values_of(false));
        assert_eq!(values_of(true).len(), values);
    }
}
