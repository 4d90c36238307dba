//! Lines of what programs print for people: without colours, and without what a terminal would overwrite.

/// The lines of a text, without escape sequences of terminals.
pub(super) fn plain(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| without_escapes(line.trim_end_matches('\r')))
}

/// A line without the sequences that colour it: `ESC [ … letter`.
fn without_escapes(line: &str) -> String {
    if !line.contains('\x1b') {
        return line.to_owned();
    }
    let (mut plain, mut characters) = (String::with_capacity(line.len()), line.chars().peekable());
    while let Some(character) = characters.next() {
        if character != '\x1b' {
            plain.push(character);
        } else if characters.next_if_eq(&'[').is_some() {
            // Up to the letter that ends it.
            characters.find(|character| ('\x40'..='\x7e').contains(character));
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    #[test]
    fn colours_are_left_out() {
        let seen: Vec<_> = super::plain("\x1b[32mok\x1b[0m 1\r\n\x1b plain \x1b[").collect();
        assert_eq!(seen, ["ok 1", " plain "]);
    }
}
