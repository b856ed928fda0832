//! Words and names of a statement, as they are written.

/// Reads words and names off the front of a statement.
pub struct Words<'s>(pub &'s str);

impl<'s> Words<'s> {
    /// Takes this word off, if it comes next.
    pub fn word(&mut self, word: &str) -> bool {
        let rest = self.0.trim_start();
        let Some(after) = rest.strip_prefix(word) else { return false };
        let ends = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if ends {
            self.0 = after;
        }
        ends
    }

    pub fn words(&mut self, words: &[&str]) -> bool {
        let before = self.0;
        let all = words.iter().all(|word| self.word(word));
        if !all {
            self.0 = before;
        }
        all
    }

    /// A name, with its schema if it has one, as it is written.
    pub fn name(&mut self) -> Option<&'s str> {
        let rest = self.0.trim_start();
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            !(quoted || c.is_alphanumeric() || "_.$\"".contains(c))
        });
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        self.0 = after;
        (!name.is_empty()).then_some(name)
    }

    /// Everything up to the bracket that closes the one that comes next.
    pub fn brackets(&mut self) -> bool {
        let rest = self.0.trim_start();
        let (mut depth, mut quote) = (0, None);
        for (at, c) in rest.char_indices() {
            match (c, quote) {
                ('"' | '\'', None) => quote = Some(c),
                (_, Some(end)) if c == end => quote = None,
                ('(', None) => depth += 1,
                (')', None) => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.0 = &rest[at + 1..];
                return c == ')';
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_however_they_are_quoted() {
        let mut words = Words("CREATE UNIQUE INDEX \"a ON b\" ON ONLY s.\"T \"\"x\" USING");
        assert!(words.word("CREATE") && words.word("UNIQUE") && words.word("INDEX"));
        assert_eq!(words.name(), Some("\"a ON b\""));
        assert!(words.words(&["ON", "ONLY"]));
        assert_eq!((words.name(), words.0), (Some("s.\"T \"\"x\""), " USING"));
        let mut words = Words(" (\"a)\", b) REFERENCES x");
        assert!(words.brackets() && words.word("REFERENCES"));
        let mut words = Words("(a text DEFAULT ')\"(''('::text, CHECK ((a <> '('))) WITH");
        assert!(words.brackets() && words.word("WITH"));
    }
}
