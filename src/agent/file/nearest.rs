//! Where a text was probably meant that is not in a file: what an error about it can say. The work grows with the file, and not with
//! the product of both.

use memchr::memmem;

/// Bytes of a line that are shown.
const SHOWN: usize = 200;

/// How alike a line has to be to be worth naming.
const ALIKE: f64 = 0.5;

/// Bytes that are compared to find the lines with other white space, beyond the file itself.
const MOST_COMPARED: usize = 16 << 20;

/// What it costs to compare a line, however short, in bytes.
const OF_A_LINE: usize = 32;

/// The number of the line that a place in a text is in.
pub(super) fn line_of(text: &[u8], at: usize) -> usize {
    memchr::memchr_iter(b'\n', &text[..at]).count() + 1
}

/// What is known of a text that is not there, in words.
pub(super) fn hint(text: &[u8], old: &str) -> String {
    let at = |old: &str| memmem::find(text, old.as_bytes()).map(|at| line_of(text, at));
    let unix = old.replace("\r\n", "\n");
    if let Some(line) = at(&unix.replace('\n', "\r\n")) {
        return format!("line {line} begins the same text with other line ends: the file has CRLF there (\\r\\n)");
    }
    if unix.len() < old.len()
        && let Some(line) = at(&unix)
    {
        return format!("line {line} begins the same text with other line ends: the file has LF there (\\n)");
    }
    let bare = old.trim_end_matches(['\n', '\r']);
    if bare.len() < old.len()
        && !bare.is_empty()
        && let Some(line) = at(bare)
    {
        return format!("line {line} begins the same text without the newline at its end");
    }
    if let Some(line) = same_words(text, old.as_bytes()) {
        return format!("line {line} begins the same text with other white space");
    }
    if let Some(difference) = first_difference(text, old.as_bytes()) {
        return difference;
    }
    match most_alike(text, old.as_bytes()) {
        Some((line, there)) => {
            format!("line {line} is nearest: {}", shown(there))
        }
        None => "nothing in it is like it".to_owned(),
    }
}

/// As much of a line as is shown.
fn shown(line: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&line[..line.len().min(SHOWN)]))
}

/// Where most lines of a text follow each other as they should, and the first line that is another one there.
fn first_difference(text: &[u8], old: &[u8]) -> Option<String> {
    let mut compared = 0;
    // How many lines are the same, from which one on.
    let mut best = (0, 0);
    let mut there = all_lines(text);
    let mut begin = 0;
    loop {
        let mut here = there.clone();
        if there.next().is_none() {
            break;
        }
        let (mut same, mut has_words) = (0, false);
        let mut wanted = all_lines(old).peekable();
        // That the last one is another is the only thing that is left.
        while let (Some(line), Some(_), Some(here)) = (wanted.next(), wanted.peek(), here.next()) {
            compared += line.len() + OF_A_LINE;
            // The first one may begin anywhere in a line.
            let is_same = if same == 0 { here.ends_with(line) } else { here == line };
            if !is_same {
                break;
            }
            same += 1;
            has_words |= !line.trim_ascii().is_empty();
        }
        if has_words && same > best.0 {
            best = (same, begin);
        }
        if compared > MOST_COMPARED {
            break;
        }
        begin += 1;
    }
    let (same, begin) = best;
    if same == 0 {
        return None;
    }
    let wanted = shown(all_lines(old).nth(same)?);
    Some(match all_lines(text).nth(begin + same) {
        Some(line) => {
            let (first, other, line) = (begin + 1, begin + same + 1, shown(line));
            format!("line {first} begins the same text, but line {other} is {line}, and not {wanted}")
        }
        None => format!("line {} begins the same text, but the file ends before {wanted}", begin + 1),
    })
}

fn all_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    text.split(|byte| *byte == b'\n')
}

fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> + Clone {
    let lines = text.split(|byte| *byte == b'\n').enumerate().map(|(at, line)| (at + 1, line.trim_ascii()));
    lines.filter(|(_, line)| !line.is_empty())
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The line at which the same words begin, line by line.
fn same_words(text: &[u8], old: &[u8]) -> Option<usize> {
    let (_, first) = lines(old).next()?;
    let mut compared = 0;
    let mut here = lines(text);
    loop {
        let from = here.clone();
        let (number, line) = here.next()?;
        if !words(line).eq(words(first)) {
            continue;
        }
        let mut from = from;
        let is_same = lines(old).all(|(_, wanted)| {
            compared += wanted.len() + OF_A_LINE;
            from.next().is_some_and(|(_, line)| words(line).eq(words(wanted)))
        });
        if is_same {
            return Some(number);
        }
        if compared > MOST_COMPARED {
            return None;
        }
    }
}

/// The first of the lines that are most like the first one of a text: its number, and itself.
fn most_alike<'a>(text: &'a [u8], old: &[u8]) -> Option<(usize, &'a [u8])> {
    let (_, first) = lines(old).next()?;
    let mut wanted = vec![0_u32; 1 << 16];
    let mut many = 0;
    for pair in pairs(first) {
        wanted[pair] += 1;
        many += 1;
    }
    let mut best: Option<(f64, usize, &[u8])> = None;
    for (number, line) in lines(text) {
        let (mut of_line, mut common) = (0, 0);
        for pair in pairs(line) {
            of_line += 1;
            if wanted[pair] > 0 {
                wanted[pair] -= 1;
                common += 1;
            }
        }
        // Gives back what was taken.
        if common > 0 {
            restore(&mut wanted, first);
        }
        let alike = if many + of_line == 0 {
            f64::from(u8::from(line == first))
        } else {
            2.0 * f64::from(common) / f64::from(many + of_line)
        };
        if alike >= ALIKE && best.is_none_or(|(before, ..)| alike > before) {
            best = Some((alike, number, line));
        }
    }
    best.map(|(_, number, line)| (number, line))
}

fn restore(wanted: &mut [u32], first: &[u8]) {
    pairs(first).for_each(|pair| wanted[pair] = 0);
    pairs(first).for_each(|pair| wanted[pair] += 1);
}

/// The bytes that follow each other in a line, without white space, as numbers.
fn pairs(line: &[u8]) -> impl Iterator<Item = usize> {
    let bytes = || line.iter().filter(|byte| !byte.is_ascii_whitespace()).take(SHOWN).map(u8::to_ascii_lowercase);
    bytes().zip(bytes().skip(1)).map(|(first, second)| usize::from(first) << 8 | usize::from(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"fn main() {\n    let total = 1;\n    print(total);\n}\n";

    #[test]
    fn what_differs_is_told() {
        let told = |text: &str, old: &str, word: &str| {
            let hint = hint(text.as_bytes(), old);
            assert!(hint.contains(word), "{hint}");
        };
        told("x\r\na\r\nb\r\n", "a\nb\n", "line 2 begins the same text with other line ends: the file has CRLF");
        told("x\na\nb\n", "a\r\nb", "line 2 begins the same text with other line ends: the file has LF");
        told("x\na", "a\n", "line 2 begins the same text without the newline at its end");
        told("x\na  b\nc", "a b\n c", "line 2 begins the same text with other white space");
        assert_eq!(same_words(TEXT, b"let  total = 1;\nprint(total);"), Some(2));
        told("x", "\n \n", "nothing in it");
        told("a\nb\nc\na\nb\nd\n", "a\nb\ne\n", "line 1 begins the same text, but line 3 is \"c\", and not \"e\"");
        told("a\nx\na\nb\nd\n", "a\nb\ne\n", "line 3 begins the same text, but line 5 is \"d\", and not \"e\"");
        told("if x: a\nb", "a\nb\nc", "line 1 begins the same text, but the file ends before \"c\"");
        told("a\nbc\n", "a\nbd", "line 1 begins the same text, but line 2 is \"bc\", and not \"bd\"");
        told("class IniConfig:\n", "CLASS INICONFIG:", "line 1 is nearest: \"class IniConfig:\"");
    }

    #[test]
    fn the_line_that_is_most_alike_is_named() {
        assert_eq!(most_alike(TEXT, b"let totals = 2;").map(|(line, _)| line), Some(2));
        assert_eq!(most_alike(TEXT, b"???"), None);
        let many: String = (0..30_000).map(|line| format!("line {line}\n")).collect();
        assert_eq!(most_alike(many.as_bytes(), b"lime 25000\n").map(|(line, _)| line), Some(25_001));
        let same = "other\nvalue = 1\nvalue = 2\n";
        assert_eq!(most_alike(same.as_bytes(), b"value = 3").map(|(line, _)| line), Some(2), "the first of equal ones");
    }

    #[test]
    fn a_long_text_is_looked_for_in_a_bounded_time() {
        // Each line begins the text, and only its end differs.
        let text = "a\n".repeat(300_000);
        assert_eq!(same_words(text.as_bytes(), ("a \n".repeat(100_000) + "b").as_bytes()), None);
    }
}
