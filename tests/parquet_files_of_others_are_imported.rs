//! `sandshell sample import` makes the same samples of a Parquet file as of the same records in JSON lines, whoever has written it and how; and what
//! is damaged or too large is an error that names the file.

use crate::kit::{
    Dice,
    cli::{refuses, sandshell},
    show,
};
use parquet::{
    basic::{Compression, GzipLevel, ZstdLevel},
    data_type::{ByteArray, ByteArrayType},
    file::{
        properties::{WriterProperties, WriterVersion},
        writer::SerializedFileWriter,
    },
    schema::parser::parse_message_type,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path, process::Output, sync::Arc};

/// Columns in their order, and whether a column is a list of texts.
const COLUMNS: [(&str, bool); 7] = [
    ("instance_id", false),
    ("repo", false),
    ("base_commit", false),
    ("problem_statement", false),
    ("patch", false),
    ("FAIL_TO_PASS", true),
    ("PASS_TO_PASS", false),
];

fn records() -> Vec<Value> {
    let record = |number: usize| {
        let names: Vec<_> = (0..number % 4).map(|test| format!("tests/t.py::test_{test}[é, \"x\"]")).collect();
        json!({
            "instance_id": format!("owner__calc-{number}"), "repo": "owner/calc", "base_commit": "0123456789abcdef0123456789abcdef01234567",
            "problem_statement": format!("# Task {number}\n\n{}", "Do it. ".repeat(number * 100)),
            "patch": if number.is_multiple_of(3) { Value::Null } else { "--- a/calc.py\n+++ b/calc.py\n".into() },
            "FAIL_TO_PASS": if number == 5 { Value::Null } else { json!(names) },
            "PASS_TO_PASS": json!(names).to_string(),
        })
    };
    (0..9).map(record).collect()
}

/// How a file is written.
struct Form {
    name: &'static str,
    properties: WriterProperties,
    /// Records of a group of rows.
    group: usize,
}

const LIST: &str = "optional group NAME (LIST) { repeated group list { optional binary element (UTF8); } }";

fn write(path: &Path, records: &[Value], form: &Form) {
    let fields = COLUMNS.map(|(name, is_list)| {
        let text = "optional binary NAME (UTF8);";
        if is_list { LIST } else { text }.replace("NAME", name)
    });
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {} }}", fields.concat())).unwrap());
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(form.properties.clone())).unwrap();
    for records in records.chunks(form.group) {
        let mut group = writer.next_row_group().unwrap();
        for (name, is_list) in COLUMNS {
            // How deep a value is there: 0, nothing; in a list, 1 is one that is empty.
            let (mut values, mut there, mut again) = (Vec::new(), Vec::new(), Vec::new());
            let most = if is_list { 3 } else { 1 };
            for record in records {
                let entries = match &record[name] {
                    Value::Null => None,
                    Value::Array(all) => Some(all.as_slice()),
                    text => Some(std::slice::from_ref(text)),
                };
                again.push(0);
                match entries {
                    None => there.push(0),
                    Some([]) => there.push(1),
                    Some(all) => {
                        again.extend(vec![1; all.len() - 1]);
                        there.extend(vec![most; all.len()]);
                        values.extend(all.iter().map(|text| ByteArray::from(text.as_str().unwrap())));
                    }
                }
            }
            let mut column = group.next_column().unwrap().expect("a column");
            let again = is_list.then_some(again.as_slice());
            column.typed::<ByteArrayType>().write_batch(&values, Some(&there), again).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn forms() -> Vec<Form> {
    let of = |compression| WriterProperties::builder().set_compression(compression);
    vec![
        Form { name: "plain", properties: of(Compression::UNCOMPRESSED).build(), group: 100 },
        Form { name: "snappy", properties: of(Compression::SNAPPY).build(), group: 2 },
        Form { name: "gzip", properties: of(Compression::GZIP(GzipLevel::default())).build(), group: 4 },
        Form {
            name: "zstd",
            // Small pages, and the later of the two forms: several of each group.
            properties: of(Compression::ZSTD(ZstdLevel::default()))
                .set_writer_version(WriterVersion::PARQUET_2_0)
                .set_dictionary_enabled(false)
                .set_data_page_row_count_limit(2)
                .set_write_batch_size(1)
                .build(),
            group: 5,
        },
    ]
}

/// Imports a file, and gives what was said and all files of the samples.
fn imported(source: &Path, into: &Path) -> (Value, BTreeMap<String, Vec<u8>>) {
    let outcome = import(source, into);
    let told: Value = serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("no JSON: {outcome:?}"));
    let (mut files, mut waiting) = (BTreeMap::new(), vec![into.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.path().is_dir() {
                waiting.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(into).unwrap().display().to_string();
                files.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    (told, files)
}

fn import(source: &Path, into: &Path) -> Output {
    let [source, into] = [source, into].map(|path| path.to_str().unwrap());
    sandshell(&["sample", "import", source, "--into", into, "--json"])
}

#[test]
fn the_samples_are_those_of_json_lines() {
    let here = tempfile::tempdir().unwrap();
    let (records, lines) = (records(), here.path().join("records.jsonl"));
    fs::write(&lines, records.iter().map(|record| format!("{record}\n")).collect::<String>()).unwrap();
    let (told, expected) = imported(&lines, &here.path().join("lines"));
    assert_eq!(told["imported"].as_array().map(Vec::len), Some(records.len()), "{told}");
    for form in forms() {
        let source = here.path().join("records.parquet");
        write(&source, &records, &form);
        let (told, files) = imported(&source, &here.path().join(form.name));
        assert_eq!(told["failed"], json!([]), "{}", form.name);
        assert_eq!(files.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{}", form.name);
        for (name, content) in files {
            assert!(content == expected[&name], "{}: {name}: {}", form.name, show(&content));
        }
    }
}

/// `tests/parquet/README.md` says who has written it.
#[test]
fn another_writers_file_gives_them_too() {
    let here = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet");
    let [(_, lines), (told, rows)] =
        ["records.jsonl", "records.parquet"].map(|name| imported(&source.join(name), &here.path().join(name)));
    assert_eq!(told["imported"], json!(["right", "empty", "cheat", "open", "strict"]), "{told}");
    assert_eq!(told["failed"], json!([]), "{told}");
    let notes = told["notes"].to_string();
    for column in ["meta", "stars", "score", "license"] {
        assert!(notes.contains(&format!("{column} has no counterpart")), "{column}: {notes}");
    }
    // A time has no counterpart in JSON, where it is a text.
    let without_time = |files: BTreeMap<String, Vec<u8>>| {
        let texts = files.into_iter().map(|(name, content)| (name, String::from_utf8(content).unwrap()));
        let lines =
            |text: &str| text.lines().filter(|line| !line.starts_with("created_at = ")).map(str::to_owned).collect();
        texts.map(|(name, text)| (name, lines(&text))).collect::<BTreeMap<String, Vec<String>>>()
    };
    assert_eq!(without_time(rows), without_time(lines));
}

/// A list of which no writer has seen an entry is an empty one.
#[test]
fn lists_without_any_entry_are_empty() {
    let here = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet/no_entries.parquet");
    let (told, files) = imported(&source, here.path());
    assert_eq!(
        (&told["imported"], &told["failed"]),
        (&json!(["owner__calc-0", "owner__calc-1"]), &json!([])),
        "{told}"
    );
    let toml = String::from_utf8_lossy(&files["owner__calc-0/sample.toml"]);
    assert!(toml.contains("fail_to_pass = [\"t\"]\n") && !toml.contains("pass_to_pass"), "{toml}");
}

#[test]
fn a_file_without_rows_is_named() {
    let here = tempfile::tempdir().unwrap();
    let source = here.path().join("none.parquet");
    write(&source, &[], &forms()[0]);
    let [source, into] = [&source, &here.path().join("set")].map(|path| path.to_str().unwrap().to_owned());
    refuses(&["sample", "import", &source, "--into", &into], &[&source, "has no record"]);
}

#[test]
fn a_compression_that_is_not_read_is_told_with_those_that_are() {
    let here = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet/lz4.parquet");
    let (error, imported) = refused(&source, &here.path().join("set"));
    let expected = "it is compressed by LZ4_RAW, and what is read is Snappy, gzip, zstd or not compressed";
    assert_eq!((error.as_str(), imported), (expected, 0));
}

/// The error that is told of a file, and which samples came before.
#[track_caller]
fn refused(source: &Path, into: &Path) -> (String, usize) {
    let outcome = import(source, into);
    let told: Value = serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("no JSON: {outcome:?}"));
    assert_eq!(outcome.status.code(), Some(1), "{told}");
    let failed = told["failed"].as_array().unwrap().last().unwrap_or_else(|| panic!("nothing failed: {told}"));
    assert_eq!(failed["id"].as_str(), source.to_str(), "the file is named: {told}");
    (failed["error"].as_str().unwrap().to_owned(), told["imported"].as_array().unwrap().len())
}

#[test]
fn what_is_damaged_is_an_error_that_names_the_file() {
    let here = tempfile::tempdir().unwrap();
    let (source, into) = (here.path().join("records.parquet"), here.path().join("set"));
    // With a checksum, no byte of a page that was changed is taken for the writer's.
    for form in forms() {
        write(&source, &records(), &form);
        let whole = fs::read(&source).unwrap();
        for (what, bytes) in [
            ("nothing but its beginning", b"PAR1".to_vec()),
            ("its first half", whole[..whole.len() / 2].to_vec()),
            ("a byte less at its end", whole[..whole.len() - 1].to_vec()),
            ("an encrypted schema", [b"PARE", &whole[4..whole.len() - 4], b"PARE"].concat()),
            (
                "a schema that is longer than the file",
                [&whole[..whole.len() - 8], &[255, 255, 255, 127], b"PAR1"].concat(),
            ),
        ] {
            fs::write(&source, bytes).unwrap();
            let (error, imported) = refused(&source, &into);
            assert!(imported == 0 && !error.is_empty(), "{}: {what}: {error}", form.name);
        }
    }
    // Wherever a few bytes are changed, it ends in order, and says so if it has not read all.
    let (mut dice, form) = (Dice::new(), &forms()[1]);
    write(&source, &records(), form);
    let whole = fs::read(&source).unwrap();
    for round in 0..25 {
        let mut bytes = whole.clone();
        // More often where the sizes are: in the last part there is nothing else.
        let from = if round % 2 == 0 { bytes.len() / 2 } else { 4 };
        for _ in 0..1 + dice.below(3) {
            let at = from + dice.below((bytes.len() - from) as u64) as usize;
            bytes[at] = dice.below(256) as u8;
        }
        fs::write(&source, bytes).unwrap();
        let outcome = import(&source, &here.path().join(format!("round-{round}")));
        let told: Value = serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("no JSON: {outcome:?}"));
        assert!(matches!(outcome.status.code(), Some(0 | 1)), "{outcome:?}");
        assert!(outcome.stderr.is_empty(), "{outcome:?}");
        assert!(outcome.status.success() == told["failed"].as_array().unwrap().is_empty(), "{told}");
    }
}

#[test]
fn what_is_too_large_takes_no_memory() {
    let here = tempfile::tempdir().unwrap();
    let (source, into) = (here.path().join("long.parquet"), here.path().join("set"));
    // What is small in the file may be a long text.
    let mut records = records();
    records.truncate(2);
    records[1]["problem_statement"] = "x".repeat(65 << 20).into();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    write(&source, &records, &Form { name: "long", properties, group: 9 });
    assert!(fs::metadata(&source).unwrap().len() < 100_000);
    let (error, imported) = refused(&source, &into);
    assert_eq!((error.as_str(), imported), ("row 2 has more than 67108864 bytes", 1));
    // A page that says that it needs as much as there may be: what reads it is ended, and nobody else.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet/says_2_gib.parquet");
    let (error, imported) = refused(&source, &into);
    assert_eq!((error.as_str(), imported), ("it is damaged, or reading it needs more than 2 GiB of memory", 0));
}

#[test]
fn columns_that_are_missing_are_named() {
    let here = tempfile::tempdir().unwrap();
    let source = here.path().join("other.parquet");
    let schema =
        parse_message_type("message schema { optional binary instance_id (UTF8); optional int64 stars; }").unwrap();
    let file = fs::File::create(&source).unwrap();
    SerializedFileWriter::new(file, Arc::new(schema), Arc::default()).unwrap().close().unwrap();
    let (error, _) = refused(&source, &here.path().join("set"));
    for words in [
        "no column repo or",
        "no column base_commit or",
        "no column problem_statement or",
        "columns are instance_id, stars",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
}
