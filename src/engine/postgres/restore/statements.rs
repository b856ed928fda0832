//! SQL as pg_dump writes it, statement by statement.
//!
//! Owns where a statement ends: at a semicolon outside of quotes, comments, brackets and bodies of SQL, as psql and servers
//! have it. What those two, or two versions of them, may read otherwise is refused: pg_dump never writes it. Knows nothing
//! of what a statement means.

#[cfg(test)]
mod tests;
mod words;

pub use words::Words;

/// What pg_dump tells psql first and last, so that psql runs none of its own commands in between.
const RESTRICT: &[u8] = b"restrict ";
const UNRESTRICT: &[u8] = b"unrestrict ";
/// A line for psql is not longer.
const LONGEST_COMMAND: usize = 200;
/// So many words decide whether a statement may have a body.
const OPENING: usize = 4;
/// Decides whether a backslash means something in a text without an `E` before it.
const STANDARD: &[u8] = b"SET standard_conforming_strings = ";

/// Text that is no definitions, or that not everybody reads as the same statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Refused {
    pub line: u64,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("a command to psql, which begins with a backslash")]
    Command,
    #[error("a zero byte")]
    Zero,
    #[error("a text that begins right behind something else")]
    Adjacent,
    #[error("a dollar that begins no text")]
    Dollar,
    #[error("something behind the end")]
    Behind,
    #[error("a statement without an end")]
    Unfinished,
}

/// Takes bytes as they come and gives statements, without comments.
#[derive(Default)]
pub struct Splitter {
    within: Within,
    statement: Vec<u8>,
    brackets: usize,
    line: u64,
    /// The word that goes on.
    word: Vec<u8>,
    /// The byte before, where nothing lies between.
    before: u8,
    /// A text has ended, and nothing but space and comments has come since: did backslashes mean something in it?
    after_text: Option<(bool, bool)>,
    /// Backslashes mean something in every text.
    escapes: bool,
    /// The first words, in small letters.
    opening: Vec<Vec<u8>>,
    /// The last word was BEGIN.
    begins: bool,
    /// In the body of a function, how many ENDs are to come.
    body: usize,
    restricted: Restricted,
    has_begun: bool,
}

#[derive(Default)]
enum Within {
    #[default]
    Nothing,
    /// `'…'`; where backslashes mean something, one takes the next byte with it.
    Text {
        escapes: bool,
        escaped: bool,
    },
    Name,
    /// `--`
    Line,
    /// `/* … */`, nested.
    Comment {
        depth: usize,
        before: u8,
    },
    /// Between the dollars of an opening tag.
    Tag(Vec<u8>),
    /// Behind it: the tag, and where the text begins.
    Dollars(Vec<u8>, usize),
    /// A command to psql.
    Command(Vec<u8>),
}

/// What psql was told of its own commands.
#[derive(Default)]
enum Restricted {
    #[default]
    No,
    By(Vec<u8>),
    NoMore,
}

impl Splitter {
    /// Takes one byte; gives the statement that it ends.
    pub fn push(&mut self, byte: u8) -> Result<Option<Vec<u8>>, Refused> {
        if byte == 0 {
            return Err(self.refused(Why::Zero));
        }
        let pushed = self.take(byte);
        self.line += u64::from(byte == b'\n');
        pushed
    }

    /// Fails if a statement, a text or a comment has not ended.
    pub fn finish(mut self) -> Result<(), Refused> {
        if let Within::Command(_) = self.within {
            self.push(b'\n')?;
        }
        let is_open = !matches!(self.within, Within::Nothing | Within::Line);
        if is_open || !self.statement.is_empty() || matches!(self.restricted, Restricted::By(_)) {
            return Err(self.refused(Why::Unfinished));
        }
        Ok(())
    }

    fn refused(&self, why: Why) -> Refused {
        Refused { line: self.line + 1, why }
    }

    fn take(&mut self, byte: u8) -> Result<Option<Vec<u8>>, Refused> {
        match &mut self.within {
            Within::Nothing => return self.outside(byte),
            Within::Text { escaped, .. } if *escaped => *escaped = false,
            Within::Text { escapes: true, escaped } if byte == b'\\' => *escaped = true,
            Within::Text { escapes, .. } if byte == b'\'' => {
                self.after_text = Some((*escapes, false));
                self.within = Within::Nothing;
                self.before = 0;
            }
            Within::Text { .. } => {}
            Within::Name if byte == b'"' => {
                self.within = Within::Nothing;
                self.before = 0;
            }
            Within::Name => {}
            Within::Line if byte == b'\n' || byte == b'\r' => {
                self.within = Within::Nothing;
                return self.outside(byte);
            }
            Within::Line => return Ok(None),
            Within::Comment { depth, before } => {
                let pair = (*before, byte);
                match pair {
                    (b'*', b'/') => *depth -= 1,
                    (b'/', b'*') => *depth += 1,
                    _ => {}
                }
                *before = if pair == (b'/', b'*') || pair == (b'*', b'/') { 0 } else { byte };
                if *depth == 0 {
                    self.within = Within::Nothing;
                    return self.outside(b' ');
                }
                return Ok(None);
            }
            Within::Tag(_) => return self.tag(byte),
            Within::Dollars(tag, start) => {
                let (is_whole, ends) = (self.statement.len() + 1 - *start >= tag.len(), byte == b'$');
                if ends && is_whole && self.statement.ends_with(&tag[..tag.len() - 1]) {
                    self.within = Within::Nothing;
                    self.before = 0;
                }
            }
            Within::Command(_) => return self.command(byte),
        }
        self.statement.push(byte);
        Ok(None)
    }

    /// `$1`, or what stands before and behind a text.
    fn tag(&mut self, byte: u8) -> Result<Option<Vec<u8>>, Refused> {
        let Within::Tag(tag) = &mut self.within else { return Ok(None) };
        let is_first = tag.len() == 1;
        match byte {
            b'$' => {
                let mut whole = std::mem::take(tag);
                whole.push(byte);
                self.statement.push(byte);
                self.within = Within::Dollars(whole, self.statement.len());
            }
            b'0'..=b'9' if is_first => {
                self.word = vec![b'$', byte];
                self.statement.push(byte);
                self.within = Within::Nothing;
            }
            _ if is_of_word(byte) => {
                tag.push(byte);
                self.statement.push(byte);
            }
            _ => return Err(self.refused(Why::Dollar)),
        }
        Ok(None)
    }

    /// Two commands are known, and only where pg_dump writes them: before everything, and after it.
    fn command(&mut self, byte: u8) -> Result<Option<Vec<u8>>, Refused> {
        let Within::Command(command) = &mut self.within else { return Ok(None) };
        if byte != b'\n' {
            command.push(byte);
            return if command.len() > LONGEST_COMMAND { Err(self.refused(Why::Command)) } else { Ok(None) };
        }
        let command = std::mem::take(command);
        let word = |prefix: &[u8]| {
            let word = command.strip_prefix(prefix)?.trim_ascii_end();
            (!word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric)).then(|| word.to_vec())
        };
        self.restricted = match (&self.restricted, word(RESTRICT), word(UNRESTRICT)) {
            (Restricted::No, Some(word), None) if !self.has_begun => Restricted::By(word),
            (Restricted::By(word), None, Some(again)) if *word == again => Restricted::NoMore,
            _ => return Err(self.refused(Why::Command)),
        };
        self.within = Within::Nothing;
        Ok(None)
    }

    fn outside(&mut self, byte: u8) -> Result<Option<Vec<u8>>, Refused> {
        let before = std::mem::replace(&mut self.before, byte);
        if is_of_word(byte) {
            return self.in_word(byte).map(|()| None);
        }
        match (before, byte) {
            (b'-', b'-') => {
                self.statement.pop();
                self.within = Within::Line;
                self.before = 0;
                return Ok(None);
            }
            (b'/', b'*') => {
                self.statement.pop();
                self.within = Within::Comment { depth: 1, before: 0 };
                self.before = 0;
                return Ok(None);
            }
            _ => {}
        }
        let word = std::mem::take(&mut self.word);
        match byte {
            b'\'' => self.text(before, &word)?,
            b'\\' if self.statement.is_empty() => {
                self.within = Within::Command(Vec::new());
                return Ok(None);
            }
            b'\\' => return Err(self.refused(Why::Command)),
            _ => {}
        }
        self.word_ends(&word);
        if byte.is_ascii_whitespace() || byte == 0x0b {
            if let Some((_, gap)) = &mut self.after_text {
                *gap = true;
            }
            if !self.statement.is_empty() {
                self.statement.push(byte);
            }
            return Ok(None);
        }
        // They may begin a comment.
        let may_be_comment = byte == b'-' || byte == b'/';
        self.after_text = self.after_text.map(|(escapes, _)| (escapes, true)).filter(|_| may_be_comment);
        self.begins &= word.is_empty() && may_be_comment;
        self.statement.push(byte);
        match byte {
            b'"' => self.within = Within::Name,
            b'(' | b'[' => self.brackets += 1,
            b')' | b']' => self.brackets = self.brackets.saturating_sub(1),
            b';' if self.brackets == 0 && self.body == 0 => return self.ends().map(Some),
            _ => {}
        }
        Ok(None)
    }

    /// A quote: `E` before it, and whether it goes on a text, decide what a backslash is in it.
    fn text(&mut self, before: u8, word: &[u8]) -> Result<(), Refused> {
        let escapes = match (self.after_text.take(), word) {
            // Two in a row are one in the text.
            (Some((escapes, false)), []) => escapes,
            // Texts that follow each other are one to servers, if they stand on different lines.
            (Some(_), _) => return Err(self.refused(Why::Adjacent)),
            (None, b"e" | b"E") => true,
            (None, b"b" | b"B" | b"x" | b"X") => false,
            // U&'…' and what looks like it, and names and numbers that run into a text.
            (None, []) if before != b'&' => self.escapes,
            _ => return Err(self.refused(Why::Adjacent)),
        };
        self.within = Within::Text { escapes, escaped: false };
        Ok(())
    }

    fn in_word(&mut self, byte: u8) -> Result<(), Refused> {
        self.after_text = None;
        self.statement.push(byte);
        let is_number = self.word.first().is_some_and(u8::is_ascii_digit);
        let is_parameter = self.word.first() == Some(&b'$');
        match byte {
            b'$' if self.word.is_empty() => {
                self.begins = false;
                self.within = Within::Tag(vec![byte]);
            }
            b'$' if is_number || is_parameter => return Err(self.refused(Why::Dollar)),
            _ if is_parameter && !byte.is_ascii_digit() => return Err(self.refused(Why::Dollar)),
            _ => self.word.push(byte),
        }
        Ok(())
    }

    /// A function may have a body of SQL, in which semicolons end nothing: from BEGIN ATOMIC to its own END.
    fn word_ends(&mut self, word: &[u8]) {
        if word.is_empty() {
            return;
        }
        let word = word.to_ascii_lowercase();
        let begins = std::mem::replace(&mut self.begins, word == b"begin");
        match &word[..] {
            b"atomic" if begins && self.body == 0 && self.may_have_body() => self.body = 1,
            b"case" if self.body > 0 => self.body += 1,
            b"end" => self.body = self.body.saturating_sub(1),
            _ => {}
        }
        if self.opening.len() < OPENING {
            self.opening.push(word);
        }
    }

    fn may_have_body(&self) -> bool {
        let is_routine = |word: Option<&Vec<u8>>| word.is_some_and(|word| word == b"function" || word == b"procedure");
        match &self.opening[..] {
            [create, or, replace, rest @ ..] if or == b"or" && replace == b"replace" => {
                create == b"create" && is_routine(rest.first())
            }
            [create, rest @ ..] => create == b"create" && is_routine(rest.first()),
            [] => false,
        }
    }

    fn ends(&mut self) -> Result<Vec<u8>, Refused> {
        if let Restricted::NoMore = self.restricted {
            return Err(self.refused(Why::Behind));
        }
        let statement = std::mem::take(&mut self.statement);
        if let Some(value) = statement.strip_prefix(STANDARD) {
            self.escapes = value == b"off;";
        }
        self.opening.clear();
        (self.begins, self.before, self.has_begun) = (false, 0, true);
        Ok(statement)
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}
