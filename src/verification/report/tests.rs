//! Reports as the programs write them, and such as nobody honest writes.

use super::*;

fn told(form: Form, text: &str) -> (Vec<(String, Outcome)>, bool) {
    let report = read(form, text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (report.tests.into_iter().map(|test| (test.name, test.outcome)).collect(), report.problem.is_none())
}

fn expect(form: Form, text: &str, expected: &[(&str, Outcome)]) {
    let expected: Vec<_> = expected.iter().map(|(name, outcome)| ((*name).to_owned(), *outcome)).collect();
    assert_eq!(told(form, text), (expected, true), "{text}");
}

fn bad(form: Form, text: &str) -> BadReport {
    match read(form, text.as_bytes()) {
        Err(error) => error,
        Ok(report) => panic!("{report:?} of {text}"),
    }
}

use Outcome::{Failed, Passed, Skipped};

#[test]
fn junit() {
    let text = r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" tests="4">
        <testcase classname="tests.test_a.T" name="test_one" time="0.001" />
        <testcase classname="tests.test_a.T" name="test_two" time="1,234.5"><failure message="assert 1 == 2">E  a &lt; b &#65;</failure></testcase>
        <testcase classname="tests.test_a" name="test_three"><skipped type="pytest.skip" message="no">x</skipped></testcase>
        <testcase classname="tests.test_a" name="test_four"><skipped type="pytest.xfail" message="yes"/></testcase>
        <testcase name="alone"><system-out><![CDATA[<failure/>]]></system-out><error/></testcase>
        </testsuite></testsuites>"#;
    expect(
        Form::Junit,
        text,
        &[
            ("tests.test_a.T.test_one", Passed),
            ("tests.test_a.T.test_two", Failed),
            ("tests.test_a.test_three", Skipped),
            ("tests.test_a.test_four", Passed),
            ("alone", Failed),
        ],
    );
    let report = read(Form::Junit, text.as_bytes()).unwrap();
    assert_eq!(report.tests[1].message, "assert 1 == 2E  a < b A");
    assert_eq!(report.tests[1].duration, Some(Duration::from_secs_f64(1234.5)));
    // A program of Rust's, by cargo nextest.
    let rust = r#"<testsuites><testsuite name="calc"><testcase name="tests::zero" classname="calc"/></testsuite></testsuites>"#;
    expect(Form::Junit, rust, &[("calc.tests::zero", Passed)]);
}

#[test]
fn junit_that_means_harm_is_refused() {
    let laughs = r#"<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuites><testsuite><testcase name="&b;"/></testsuite></testsuites>"#;
    bad(Form::Junit, laughs);
    bad(Form::Junit, r#"<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuites/>"#);
    bad(Form::Junit, "<testsuite><testcase name=\"a\"><failure>&secret;</failure></testcase></testsuite>");
    bad(Form::Junit, &format!("{}{}", "<testsuite>".repeat(1000), "</testsuite>".repeat(1000)));
    bad(Form::Junit, "<testsuite></testsuites>");
    bad(Form::Junit, "");
    bad(Form::Junit, "<html/>");
    let many = format!(
        "<testsuite>{}</testsuite>",
        (0..=MOST_TESTS).map(|n| format!("<testcase name=\"{n}\"/>")).collect::<String>()
    );
    assert_eq!(bad(Form::Junit, &many), BadReport::TooManyTests);
    assert_eq!(read(Form::Junit, &vec![b' '; MOST_BYTES + 1]), Err(BadReport::TooLarge));
    // What is cut off is not the whole truth.
    match read(Form::Junit, b"<testsuite><testcase name=\"a\"/>") {
        Ok(report) => assert!(report.problem.is_some()),
        Err(BadReport::Malformed { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    // A long name and a long message are cut, and cost no more than that.
    let long = "x".repeat(100_000);
    let text = format!(
        "<testsuite><testcase name=\"{long}\"><failure message=\"{long}\">{long}</failure></testcase></testsuite>"
    );
    let report = read(Form::Junit, text.as_bytes()).unwrap();
    assert_eq!((report.tests[0].name.len(), report.tests[0].message.len()), (MOST_NAME, MOST_MESSAGE));
}

#[test]
fn a_failure_is_never_overwritten_by_a_pass() {
    for order in [["<failure/>", ""], ["", "<failure/>"]] {
        let cases: String = order.iter().map(|inside| format!("<testcase name=\"t\">{inside}</testcase>")).collect();
        expect(Form::Junit, &format!("<testsuite>{cases}</testsuite>"), &[("t", Failed)]);
    }
    expect(Form::Tap, "1..2\nnot ok 1 - t\nok 2 - t\n", &[("t", Failed)]);
}

#[test]
fn tap() {
    let text = "TAP version 13\n1..5\nok 1 - adds\nnot ok 2 - divides\n  ---\n  message: by zero\n  duration_ms: 1.5\n  ...\nok 3 # SKIP not here\nnot ok 4 - later # TODO soon\nok - no number\n";
    expect(
        Form::Tap,
        text,
        &[("adds", Passed), ("divides", Failed), ("test 3", Skipped), ("later", Skipped), ("no number", Passed)],
    );
    let report = read(Form::Tap, text.as_bytes()).unwrap();
    assert!(
        report.tests[1].message.contains("by zero") && report.tests[1].duration == Some(Duration::from_micros(1500))
    );
    // Fewer tests than planned, given up, and no plan at all: the run was cut off.
    for cut in ["1..3\nok 1\nok 2\n", "1..1\nok 1\nBail out! no disk\n", "ok 1\nok 2\n"] {
        assert!(!told(Form::Tap, cut).1, "{cut}");
    }
    bad(Form::Tap, "Segmentation fault\n");
}

#[test]
fn tap_of_node_has_tests_within_tests() {
    let text = "TAP version 13\n# Subtest: division\n    # Subtest: by one\n    ok 1 - by one\n      ---\n      duration_ms: 0.5\n      ...\n    # Subtest: by zero\n    not ok 2 - by zero\n      ---\n      error: 'no'\n      ...\n    1..2\nnot ok 1 - division\n  ---\n  type: 'suite'\n  ...\n# Subtest: alone\nok 2 - alone\n1..2\n# tests 3\n";
    expect(
        Form::Tap,
        text,
        &[("division > by one", Passed), ("division > by zero", Failed), ("division", Failed), ("alone", Passed)],
    );
    // One whose own end failed, although all in it passed.
    let text = "# Subtest: s\n    ok 1 - a\n    1..1\nnot ok 1 - s\n1..1\n";
    expect(Form::Tap, text, &[("s > a", Passed), ("s", Failed)]);
}

/// Texts in which each line would cost as much as all before it. Otherwise it would take hours.
#[test]
fn the_worst_text_takes_no_longer_than_another() {
    let tests: String = (0..MOST_TESTS).map(|number| format!("ok - {number}\n")).collect();
    let blocks = "ok - 0\n  ---\n  ...\n".repeat(MOST_BYTES / 80);
    assert!(read(Form::Tap, format!("{tests}{blocks}").as_bytes()).is_ok());
    let long = format!("# Subtest: {}\n", "x".repeat(MOST_BYTES / 8));
    let below = "    ok\n".repeat(MOST_BYTES / 56);
    assert!(read(Form::Tap, format!("{long}{below}").as_bytes()).is_ok());
}

/// What the code under test prints is in the same text where there is no file for the report.
#[test]
fn what_looks_like_a_report_in_a_report_hides_no_failure() {
    use super::super::verdict::{Ending, Evidence, Expected, judge};
    let is_success = |form, text: &str| match read(form, text.as_bytes()) {
        Ok(report) => {
            let expected = Expected { fail_to_pass: &["calc.hidden".to_owned()], pass_to_pass: &[] };
            judge(Ending::Exited(0), &Evidence::Report(report), expected).why.is_none()
        }
        Err(_) => false,
    };
    // Subtests that fail in its place, a block of words without an end, one that is no block, a test before it, and half a line before it.
    let forged = "ok 1 - calc.hidden\n";
    for before in [
        &format!("    {forged}    not ok 2 - other\n"),
        &format!("    {forged}    not ok 2 - other\n    1..2\n"),
        "# Subtest: calc\n    ok 1 - hidden\n    not ok 2 - other\n",
        &format!("{forged}1..1\n  ---\n"),
        &format!("{forged}1..1\n---\n"),
        &format!("{forged}  ---\n"),
        forged,
        &format!("{forged}..."),
    ] {
        for real in ["not ok 1 - calc.hidden\n1..1\n", "not ok 1 - calc.hidden\n"] {
            assert!(!is_success(Form::Tap, &format!("{before}{real}")), "{before}{real}");
        }
    }
    // A test that prints into the line in which its end is told, beside another that fails.
    for printed in ["ok\n", "ok\ntest result: ok. 1 passed; 0 failed\n", "\nfailures:\n\n"] {
        let text = format!(
            "running 2 tests\ntest calc.hidden ... {printed}FAILED\ntest other ... FAILED\n\nfailures:\n\n---- other stdout ----\nfailures:\n\n\n\
             failures:\n    calc.hidden\n    other\n\ntest result: FAILED. 0 passed; 2 failed; 0 ignored\n"
        );
        assert!(!is_success(Form::Cargo, &text), "{text}");
    }
    // A summary of a test's own, after which nothing would be read.
    let text = "PASS [   0.001s] calc.hidden\n     Summary [   0.001s] 1 test run: 1 passed\n        FAIL [   0.001s] calc.hidden\n\
                Summary [   0.002s] 1 test run: 1 failed\n";
    assert!(!is_success(Form::Nextest, text));
    let tried = "TRY 1 FAIL [   0.001s] calc.hidden\n  TRY 9 PASS [   0.001s] calc.hidden\nSummary [   0.001s] 1 test run: 1 passed\n\
                 Summary [   0.002s] 1 test run: 1 failed\n  TRY 1 FAIL [   0.001s] calc.hidden\n";
    assert!(!is_success(Form::Nextest, tried));
    // All of it is a success where nothing failed.
    assert!(is_success(Form::Tap, "ok 1 - calc.hidden\n  ---\n  a: 1\n  ...\n1..1\n"));
    assert!(is_success(
        Form::Cargo,
        "running 1 test\ntest calc.hidden ... ok\n\ntest result: ok. 1 passed; 0 failed\n"
    ));
    assert!(is_success(Form::Nextest, "PASS [   0.001s] calc.hidden\nSummary [   0.001s] 1 test run: 1 passed\n"));
}

#[test]
fn cargo() {
    let text = "\nrunning 4 tests\ntest tests::adds ... ok\ntest tests::panics - should panic ... ok\ntest tests::zero ... FAILED\ntest tests::slow ... ignored, takes long\n\nfailures:\n\n---- tests::zero stdout ----\nthread 'tests::zero' panicked\nleft: 1\n\n\nfailures:\n    tests::zero\n\ntest result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n   Doc-tests calc\n\nrunning 1 test\ntest src/lib.rs - divide (line 3) ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
    expect(
        Form::Cargo,
        text,
        &[
            ("tests::adds", Passed),
            ("tests::panics", Passed),
            ("tests::zero", Failed),
            ("tests::slow", Skipped),
            ("src/lib.rs - divide (line 3)", Passed),
        ],
    );
    assert!(read(Form::Cargo, text.as_bytes()).unwrap().tests[2].message.contains("left: 1"));
    // The second program was ended in the middle.
    let text =
        "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed\n\nrunning 2 tests\ntest b ... ok\n";
    assert!(!told(Form::Cargo, text).1);
    bad(Form::Cargo, "error[E0308]: mismatched types\nerror: could not compile `calc`\n");
}

#[test]
fn nextest() {
    let text = "    Starting 4 tests across 2 binaries\n\x1b[32m        PASS\x1b[0m [   0.005s] (1/4) calc tests::adds\n        FAIL [   0.004s] calc tests::zero\n     SIGABRT [   0.010s] calc::it aborts\n  TRY 1 FAIL [   0.001s] calc flaky\n  TRY 2 PASS [   0.001s] calc flaky\n  TRY 1 FAIL [   0.001s] calc never\n  TRY 2 FAIL [   0.001s] calc never\n────────\n     Summary [   0.020s] 5 tests run: 2 passed, 3 failed, 0 skipped\n        FAIL [   0.004s] calc tests::zero\n";
    expect(
        Form::Nextest,
        text,
        &[
            ("calc tests::adds", Passed),
            ("calc tests::zero", Failed),
            ("calc::it aborts", Failed),
            ("calc flaky", Passed),
            ("calc never", Failed),
        ],
    );
    assert!(!told(Form::Nextest, "        PASS [   0.005s] calc a\n").1);
    bad(Form::Nextest, "error: could not compile\n");
}

#[test]
fn pytest() {
    let text = "tests/test_a.py .FsE\n==== PASSES ====\n=========================== short test summary info ============================\nPASSED tests/test_a.py::T::test_one\nPASSED tests/test_a.py::test_p[a - b]\nSKIPPED [1] tests/test_a.py:7: not here\nXFAIL tests/test_a.py::test_x - known\nERROR tests/test_b.py - ImportError: no\nFAILED tests/test_a.py::test_two[x] - assert 1 == 2\n=== 1 failed, 2 passed, 1 skipped, 1 error in 0.05s ===\n";
    expect(
        Form::Pytest,
        text,
        &[
            ("tests/test_a.py::T::test_one", Passed),
            ("tests/test_a.py::test_p[a - b]", Passed),
            ("tests/test_a.py:7", Skipped),
            ("tests/test_a.py::test_x", Passed),
            ("tests/test_b.py", Failed),
            ("tests/test_a.py::test_two[x]", Failed),
        ],
    );
    // Ended by os._exit in the middle; and a summary without the tests.
    bad(Form::Pytest, "tests/test_a.py .");
    assert!(!told(Form::Pytest, "=== 1 failed, 2 passed in 0.05s ===\n").1);
}

#[test]
fn go() {
    let text = "# example.com/calc\n{\"Action\":\"run\",\"Package\":\"example.com/calc\",\"Test\":\"TestAdd\"}\n{\"Action\":\"pass\",\"Package\":\"example.com/calc\",\"Test\":\"TestAdd\",\"Elapsed\":0.5}\n{\"Action\":\"run\",\"Package\":\"example.com/calc\",\"Test\":\"TestZero/by_zero\"}\n{\"Action\":\"output\",\"Package\":\"example.com/calc\",\"Test\":\"TestZero/by_zero\",\"Output\":\"    want 1\\n\"}\n{\"Action\":\"fail\",\"Package\":\"example.com/calc\",\"Test\":\"TestZero/by_zero\"}\n{\"Action\":\"skip\",\"Package\":\"example.com/calc\",\"Test\":\"TestLater\"}\n{\"Action\":\"run\",\"Package\":\"example.com/calc\",\"Test\":\"TestHangs\"}\n{\"Action\":\"fail\",\"Package\":\"example.com/calc\"}\n{\"Action\":\"fail\",\"Package\":\"example.com/broken\"}\n";
    expect(
        Form::Go,
        text,
        &[
            ("example.com/calc.TestAdd", Passed),
            ("example.com/calc.TestZero/by_zero", Failed),
            ("example.com/calc.TestLater", Skipped),
            ("example.com/calc.TestHangs", Failed),
            ("example.com/broken", Failed),
        ],
    );
    assert!(read(Form::Go, text.as_bytes()).unwrap().tests[1].message.contains("want 1"));
    bad(Form::Go, "go: command not found\n");
}

#[test]
fn listed() {
    let text = "{\"name\":\"a\",\"outcome\":\"passed\",\"duration\":0.25}\n\n{\"name\":\"b\",\"outcome\":\"failed\",\"message\":\"no\"}\n";
    expect(Form::Listed, text, &[("a", Passed), ("b", Failed)]);
    for wrong in ["ok", "{\"name\":\"a\"}", "{\"name\":\"a\",\"outcome\":\"fine\"}", "[]"] {
        bad(Form::Listed, wrong);
    }
}

proptest::proptest! {
    /// Whatever a sandbox writes, reading it ends, with a bounded answer.
    #[test]
    fn any_text_is_a_report_or_is_refused(
        text in "(<testsuite>|</testsuite>|<testcase name=\"a\">|</testcase>|<failure>|&#9;|&a;|1\\.\\.2\n|ok 1 - a\n|not ok\n|    ok 1\n|# Subtest: x\n|  ---\n|  \\.\\.\\.\n|test a \\.\\.\\. ok\n|running 1 test\n|== short test summary info ==\n|PASSED a\n|\\PC|\n){0,60}"
    ) {
        for form in [Form::Junit, Form::Tap, Form::Cargo, Form::Nextest, Form::Pytest, Form::Go, Form::Listed] {
            if let Ok(report) = read(form, text.as_bytes()) {
                proptest::prop_assert!(report.tests.iter().all(|test| test.name.len() <= MOST_NAME && test.message.len() <= MOST_MESSAGE));
            }
        }
    }
}
