//! What a replacement has changed, as a unified diff. Where the text was replaced is known, so only the lines around those places are
//! compared, and no more is built than is sent.

use similar::{ChangeTag, DiffOp, TextDiff};
use std::{ops::Range, time::Duration};

/// Bytes of a diff that are returned.
const LONGEST: usize = 256 << 10;

/// Lines around a change.
const CONTEXT: usize = 3;

/// How long the lines around one place may be compared. What is left then is told as one large change.
const WITHIN: Duration = Duration::from_millis(200);

/// A file before and after, and how many bytes each text has that was replaced, and the one in its place.
pub(super) struct Change<'a> {
    pub(super) before: &'a [u8],
    pub(super) after: &'a [u8],
    pub(super) old: usize,
    pub(super) new: usize,
}

/// The diff of a change whose places begin at these bytes of the file before, in order.
pub(super) fn diff(name: &str, change: &Change<'_>, places: impl Iterator<Item = usize>) -> String {
    let Change { before, after, old, new } = *change;
    let mut text = format!("--- {name}\n+++ {name}\n");
    let mut places = places.peekable();
    let (mut done, mut counted, mut lines) = (0, (0, 0), (0, 0));
    // Where a byte that is in no place is afterwards, when so many places come before it.
    let moved = |at: usize, places: usize| at + places * new - places * old;
    while let Some(place) = places.next() {
        let start = lines_before(before, place);
        let (mut end, mut in_it) = (lines_behind(before, place + old), 1);
        // What is too long to be sent needs no more.
        while let Some(next) = places.next_if(|next| end - start <= LONGEST && lines_before(before, *next) <= end) {
            (end, in_it) = (lines_behind(before, next + old), in_it + 1);
        }
        let (new_start, new_end) = (moved(start, done), moved(end, done + in_it));
        lines.0 += count(&before[counted.0..start]);
        lines.1 += count(&after[counted.1..new_start]);
        (counted, done) = ((start, new_start), done + in_it);
        let is_whole = push(&mut text, &before[start..end], &after[new_start..new_end], lines);
        if !is_whole || text.len() > LONGEST {
            break;
        }
    }
    if text.len() > LONGEST {
        let end = text[..text.floor_char_boundary(LONGEST)].rfind('\n').map_or(0, |at| at + 1);
        text.truncate(end);
    }
    text
}

/// Adds what has become of some lines. `false` when there are too many to be compared, and only what was there is told, as far as
/// it is sent.
fn push(text: &mut String, before: &[u8], after: &[u8], lines: (usize, usize)) -> bool {
    if before.len() > LONGEST || after.len() > 2 * LONGEST {
        let all = |lines: usize, part: &[u8]| lines..lines + count(part) + usize::from(!part.ends_with(b"\n"));
        header(text, &all(lines.0, before), &all(lines.1, after));
        for (sign, part) in [('-', before), ('+', after)] {
            for line in part[..part.len().min(LONGEST)].split_inclusive(|byte| *byte == b'\n') {
                text.push(sign);
                text.push_str(&String::from_utf8_lossy(line));
            }
        }
        return false;
    }
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    let compared = TextDiff::configure().timeout(WITHIN).diff_lines(before.as_ref(), after.as_ref());
    for group in compared.grouped_ops(CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let range = |of: fn(&DiffOp) -> Range<usize>, lines: usize| of(first).start + lines..of(last).end + lines;
        header(text, &range(DiffOp::old_range, lines.0), &range(DiffOp::new_range, lines.1));
        for change in group.iter().flat_map(|op| compared.iter_changes(op)) {
            text.push(match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            });
            text.push_str(change.value());
            if change.missing_newline() {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
    true
}

/// The line with which a hunk begins: the numbers of its first lines from 1, and how many there are.
fn header(text: &mut String, before: &Range<usize>, after: &Range<usize>) {
    let part = |lines: &Range<usize>| match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        many => format!("{},{many}", lines.start + 1),
    };
    text.push_str(&format!("@@ -{} +{} @@\n", part(before), part(after)));
}

fn count(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count()
}

/// Where the lines begin that come before this byte as context.
fn lines_before(text: &[u8], at: usize) -> usize {
    memchr::memrchr_iter(b'\n', &text[..at]).nth(CONTEXT).map_or(0, |end| end + 1)
}

/// Where the lines end that come behind this byte as context.
fn lines_behind(text: &[u8], at: usize) -> usize {
    // A text that ends with its line is followed by whole lines.
    let more = if at > 0 && text[at - 1] == b'\n' { CONTEXT - 1 } else { CONTEXT };
    memchr::memchr_iter(b'\n', &text[at..]).nth(more).map_or(text.len(), |end| at + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use memchr::memmem::find_iter;

    fn of(before: &str, old: &str, new: &str) -> (String, String) {
        let after = before.replace(old, new);
        let change = Change { before: before.as_bytes(), after: after.as_bytes(), old: old.len(), new: new.len() };
        let places = find_iter(before.as_bytes(), old.as_bytes());
        (diff("f", &change, places), after)
    }

    proptest::proptest! {
        /// Compared with what comes out when all lines are.
        #[test]
        fn it_is_the_diff_of_the_whole_files(
            lines in proptest::collection::vec("[ab]{0,3}\n", 0..40), end in "[ab]{0,2}", old in "(a|b|ab|a\nb|b\n|\n)", new in "(|c|c\nd|c\n)",
        ) {
            let before = lines.concat() + &end;
            let (ours, after) = of(&before, &old, &new);
            let whole = TextDiff::from_lines(before.as_str(), after.as_str());
            let whole = whole.unified_diff().context_radius(3).header("f", "f").to_string();
            let signs = |text: &str, sign: char| text.lines().filter(|line| line.starts_with(sign)).count();
            proptest::prop_assume!(before != after);
            // Of several shortest diffs each is right, so they are compared by what they take away and add in all.
            let net = |text: &str| signs(text, '+') as i64 - signs(text, '-') as i64;
            proptest::prop_assert_eq!(net(&ours), net(&whole), "{}\n{}", ours, whole);
        }
    }

    #[test]
    fn hunks_have_the_numbers_of_their_lines() {
        let text: String = (1..=30).map(|line| format!("line {line}\n")).collect();
        let (text, _) = of(&text, "line 1\n", "");
        assert_eq!(text, "--- f\n+++ f\n@@ -1,4 +1,3 @@\n-line 1\n line 2\n line 3\n line 4\n");
        let text: String = (1..=30).map(|line| format!("{}\n", line % 20)).collect();
        let (text, _) = of(&text, "5\n", "x\ny\n");
        let expected = "--- f\n+++ f\n@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+x\n+y\n 6\n 7\n 8\n\
                        @@ -12,7 +13,8 @@\n 12\n 13\n 14\n-15\n+1x\n+y\n 16\n 17\n 18\n\
                        @@ -22,7 +24,8 @@\n 2\n 3\n 4\n-5\n+x\n+y\n 6\n 7\n 8\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn however_much_changes_the_diff_is_bounded() {
        for before in ["a\n".repeat(1 << 20), "a".repeat(1 << 20), "a\nb\nc\nd\ne\nf\ng\nh\ni\n".repeat(100_000)] {
            let (text, _) = of(&before, "a", "bb");
            assert!(text.len() <= LONGEST && text.starts_with("--- f\n+++ f\n"), "{} bytes", text.len());
        }
    }
}
