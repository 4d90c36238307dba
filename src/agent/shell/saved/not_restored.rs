//! Names of what a new shell did not get back, for people. There may be any number, of any length, so both are bounded.

/// Names that are told.
const MOST_NAMES: usize = 100;

/// Bytes of a name that are told.
const LONGEST_NAME: usize = 200;

/// Names such as "function f", and how many more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NotRestored {
    names: Vec<String>,
    more: usize,
}

impl NotRestored {
    /// Nothing came back.
    pub(crate) fn everything() -> Self {
        Self { names: vec!["everything".to_owned()], more: 0 }
    }

    /// Adds what so many commands have changed. It is not known by name.
    pub(crate) fn add_changes(&mut self, commands: u64) {
        self.add(match commands {
            1 => "changes of the last command".to_owned(),
            more => format!("changes of the last {more} commands"),
        });
    }

    /// Adds a name.
    pub(in crate::agent::shell) fn add(&mut self, mut name: String) {
        if self.names.len() >= MOST_NAMES {
            self.more += 1;
            return;
        }
        if name.len() > LONGEST_NAME {
            name.truncate(name.floor_char_boundary(LONGEST_NAME));
            name.push('…');
        }
        self.names.push(name);
    }

    /// The names, and last how many are not among them.
    pub(crate) fn told(self) -> Vec<String> {
        let Self { mut names, more } = self;
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_many_names_nor_long_ones_make_it_large() {
        let mut lost = NotRestored::default();
        for number in 0..100_000 {
            lost.add(format!("variable v{number}{}", "é".repeat(1000)));
        }
        let told = lost.told();
        assert_eq!(told.len(), MOST_NAMES + 1);
        assert_eq!(told[MOST_NAMES], "and 99900 more");
        assert!(told.iter().all(|name| name.len() <= LONGEST_NAME + 3));
    }
}
