//! SQL as pg_dump writes it, statement by statement.
//!
//! Owns where a statement ends: at a semicolon outside of quotes, comments and brackets. Knows nothing of what one means.

/// Takes bytes as they come and gives statements, without the comments before them and psql's own commands.
#[derive(Default)]
pub struct Splitter {
    within: Within,
    statement: Vec<u8>,
    depth: usize,
}

#[derive(Default, PartialEq)]
enum Within {
    #[default]
    Nothing,
    /// `'…'`; with `E` before it, a backslash takes the next byte with it.
    Text {
        escapes: bool,
        escaped: bool,
    },
    Name,
    /// `--`, or a command of psql's.
    Line,
    /// `/* … */`, nested.
    Comment {
        depth: usize,
        before: u8,
    },
    /// Between the dollars of an opening tag.
    Tag(Vec<u8>),
    Dollars(Vec<u8>),
}

impl Splitter {
    /// Takes one byte; gives the statement that it ends.
    pub fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        if self.statement.is_empty() && self.within == Within::Nothing {
            match byte {
                b'\\' => self.within = Within::Line,
                _ if byte.is_ascii_whitespace() => {}
                _ => return self.take(byte),
            }
            return None;
        }
        self.take(byte)
    }

    fn take(&mut self, byte: u8) -> Option<Vec<u8>> {
        let before = self.statement.last().copied().unwrap_or(b' ');
        let is_line = self.within == Within::Line;
        if !is_line {
            self.statement.push(byte);
        }
        match &mut self.within {
            Within::Nothing => return self.outside(byte, before),
            Within::Text { escaped, .. } if *escaped => *escaped = false,
            Within::Text { escapes: true, escaped } if byte == b'\\' => *escaped = true,
            // Two in a row end one and begin the next.
            Within::Text { .. } if byte == b'\'' => self.within = Within::Nothing,
            Within::Name if byte == b'"' => self.within = Within::Nothing,
            Within::Line if byte == b'\n' => {
                self.within = Within::Nothing;
                if !self.statement.is_empty() {
                    self.statement.push(b'\n');
                }
            }
            Within::Comment { depth, before } => {
                match (*before, byte) {
                    (b'*', b'/') => *depth -= 1,
                    (b'/', b'*') => *depth += 1,
                    _ => {}
                }
                *before = if (*before, byte) == (b'/', b'*') || (*before, byte) == (b'*', b'/') { 0 } else { byte };
                if *depth == 0 {
                    self.within = Within::Nothing;
                }
            }
            Within::Tag(tag) => {
                if byte == b'$' {
                    let mut whole = std::mem::take(tag);
                    whole.push(b'$');
                    self.within = Within::Dollars(whole);
                } else if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 {
                    tag.push(byte);
                } else {
                    self.within = Within::Nothing;
                    return self.outside(byte, before);
                }
            }
            Within::Dollars(tag) if byte == b'$' && self.statement.ends_with(tag) => self.within = Within::Nothing,
            _ => {}
        }
        None
    }

    fn outside(&mut self, byte: u8, before: u8) -> Option<Vec<u8>> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80;
        match byte {
            b'\'' => {
                let earlier = self.statement.len().checked_sub(3).map_or(b' ', |at| self.statement[at]);
                let escapes = before.eq_ignore_ascii_case(&b'e') && !is_word(earlier);
                self.within = Within::Text { escapes, escaped: false };
            }
            b'"' => self.within = Within::Name,
            b'-' if before == b'-' => {
                self.statement.truncate(self.statement.len() - 2);
                self.within = Within::Line;
            }
            b'*' if before == b'/' => self.within = Within::Comment { depth: 1, before: 0 },
            b'$' if !is_word(before) => self.within = Within::Tag(vec![b'$']),
            b'(' | b'[' => self.depth += 1,
            b')' | b']' => self.depth = self.depth.saturating_sub(1),
            b';' if self.depth == 0 => return Some(std::mem::take(&mut self.statement)),
            _ => {}
        }
        None
    }
}

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

    fn split(sql: &str) -> Vec<String> {
        let mut splitter = Splitter::default();
        sql.bytes().filter_map(|byte| splitter.push(byte)).map(|found| String::from_utf8(found).unwrap()).collect()
    }

    #[test]
    fn a_statement_ends_at_a_semicolon_that_is_nothing_else() {
        let statements = [
            "CREATE INDEX a ON t USING btree (b);",
            "COMMENT ON INDEX a IS 'it''s; \\';",
            "COMMENT ON INDEX a IS E'\\'; --\\n';",
            "SELECT name';' FROM x;",
            "CREATE RULE r AS ON INSERT TO t DO ALSO ( DELETE FROM a; DELETE FROM b );",
            "COMMENT ON TABLE \"a;\"\"'\" IS $tag$ ; $ $$ $tag; $tag$;",
            "SELECT 1 /* ; /* ; */ ; */;",
            "SELECT a$1;",
        ];
        let text = statements.map(|statement| format!("--\n-- Name: x; Type: y\n--\n\n{statement}\n\n")).concat();
        assert_eq!(split(&text), statements);
    }

    #[test]
    fn psqls_own_commands_and_comments_are_no_statements() {
        assert_eq!(split("\\restrict a;b\nSELECT 1 -- not; this\n + 2;\n\\unrestrict a;b\n"), ["SELECT 1 \n + 2;"]);
    }

    #[test]
    fn a_comment_that_looks_like_definitions_stays_a_text() {
        let sql = "COMMENT ON INDEX a IS 'x\n--\n-- Name: b; Type: INDEX\n--\nCREATE INDEX b ON c (d);\n';";
        assert_eq!(split(sql), [sql]);
    }

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
