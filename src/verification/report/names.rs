//! Names of tests, so that what a sample expects is found in what a report tells, whoever has written which.
//!
//! `tests/test_calc.py::TestDivision::test_zero` of pytest, `tests.test_calc.TestDivision` and `test_zero` of its JUnit file, and
//! `test_zero (tests.test_calc.TestDivision)` of unittest are the same test; so are `calc::tests::zero` of cargo and
//! `calc tests::zero` of nextest.

use super::Test;
use std::collections::HashMap;

/// A name in the form in which names are compared. What is in brackets (a parameter) stays as it is.
fn canonical(name: &str) -> String {
    let name = name.trim();
    let name = of_unittest(name).unwrap_or_else(|| name.to_owned());
    let (path, parameter) = match name.find('[') {
        Some(at) => name.split_at(at),
        None => (name.as_str(), ""),
    };
    let path = path.replace("::", "/").replace(" > ", "/").replace([' ', '\\'], "/");
    // A file of Python is the module of its name.
    let parts = path.split('/').map(|part| part.strip_suffix(".py").unwrap_or(part));
    let joined = parts.filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join(".");
    format!("{}{parameter}", joined.trim_matches('.'))
}

/// `test_zero (tests.T)`, and since Python 3.11 `test_zero (tests.T.test_zero)`.
fn of_unittest(name: &str) -> Option<String> {
    let (test, class) = name.strip_suffix(')')?.split_once(" (")?;
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    if !is_word(test) || !is_word(class) {
        return None;
    }
    let has_test = class.strip_suffix(test).is_some_and(|rest| rest.ends_with('.'));
    Some(if has_test { class.to_owned() } else { format!("{class}.{test}") })
}

/// The tests of a report, to be found by name.
pub(in super::super) struct Names<'a> {
    whole: HashMap<String, Vec<&'a Test>>,
    /// By the last part of their names.
    last: HashMap<String, Vec<(String, &'a Test)>>,
}

impl<'a> Names<'a> {
    pub(in super::super) fn new(tests: &'a [Test]) -> Self {
        let (mut whole, mut last) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for test in tests {
            let name = canonical(&test.name);
            last.entry(last_part(&name).to_owned()).or_default().push((name.clone(), test));
            whole.entry(name).or_default().push(test);
        }
        Self { whole, last }
    }

    /// The tests that an expected name means: those of that name, and those whose names end with it. Not only the former: who can
    /// add a test of just this name would hide the one that is meant.
    pub(in super::super) fn find(&self, expected: &str) -> Vec<&'a Test> {
        let expected = canonical(expected);
        let same = self.whole.get(&expected).map(Vec::as_slice).unwrap_or_default();
        let alike = self.last.get(last_part(&expected)).map(Vec::as_slice).unwrap_or_default();
        let ends = |name: &str| name.strip_suffix(&expected).is_some_and(|rest| rest.ends_with('.'));
        same.iter().copied().chain(alike.iter().filter(|(name, _)| ends(name)).map(|(_, test)| *test)).collect()
    }
}

/// The part behind the last dot, with its parameter.
fn last_part(name: &str) -> &str {
    let path = name.find('[').unwrap_or(name.len());
    name[..path].rfind('.').map_or(name, |at| &name[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn test(name: &str) -> Test {
        Test { name: name.into(), outcome: Outcome::Passed, duration: None, message: String::new() }
    }

    #[test]
    fn what_is_the_same_test_has_the_same_name() {
        for same in [
            &["tests/test_calc.py::T::test_zero", "tests.test_calc.T.test_zero", "test_zero (tests.test_calc.T)"][..],
            &["test_zero (tests.test_calc.T.test_zero)", "tests.test_calc.T.test_zero"],
            &["calc::tests::zero", "calc tests::zero", "calc/tests/zero"],
            &["tests/a.py::t[x/y::z]", "tests.a.t[x/y::z]"],
            &["outer > inner", "outer/inner"],
        ] {
            let names: Vec<_> = same.iter().map(|name| canonical(name)).collect();
            assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        }
        assert_ne!(canonical("tests/a.py::t[x/y]"), canonical("tests/a.py::t[x.y]"));
    }

    #[test]
    fn a_short_name_is_found_at_the_end_of_a_long_one_and_nowhere_else() {
        let tests = ["a.tests.zero", "b.tests.zero", "b.tests.nonzero", "zero"].map(test);
        let names = Names::new(&tests);
        let found = |name: &str| names.find(name).iter().map(|test| test.name.as_str()).collect::<Vec<_>>();
        assert_eq!(found("zero"), ["zero", "a.tests.zero", "b.tests.zero"], "no test hides one with a longer name");
        assert_eq!(found("tests::zero"), ["a.tests.zero", "b.tests.zero"]);
        assert_eq!(found("b::tests::zero"), ["b.tests.zero"]);
        assert!(found("ests::zero").is_empty() && found("one").is_empty() && found("c::tests::zero").is_empty());
    }
}
