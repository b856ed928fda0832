//! Rows as a COPY writes them in text, made into what a COPY reads in binary: a server takes those in half the time.
//!
//! Owns how rows are cut into fields and how a stream begins and ends. A value that is written as no server writes it is no
//! error here: its rows go in as text, and the server says what it thinks of them.

mod form;

use std::borrow::Cow;

use bytes::Bytes;
use memchr::{memchr, memchr2, memchr3, memrchr};

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::Table;
use crate::engine::postgres::records::value::unescaped;
use crate::engine::postgres::restore::binary::form::{Days, Form};

/// A row is held whole, as text and in binary: longer ones go in as text.
const LONGEST_ROW: usize = 4 << 20;
/// What a stream begins with: a signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What stands for the number of fields after the last row, and for the length of an empty field.
const END: i16 = -1;
const EMPTY: i32 = -1;

/// The columns of a table all of whose types have a binary form.
#[derive(Clone, Debug)]
pub struct Forms(Vec<Form>);

/// A value that is not written as the server writes it, or a row that is too long.
#[derive(Debug)]
pub struct Odd;

impl Forms {
    /// None where a type has no binary form that is known here, or rows are long.
    pub fn of(table: &Table, session: &mut Session) -> Result<Option<Self>, PostgresError> {
        let is_long = table.rows > 0 && table.bytes / table.rows > LONGEST_ROW as u64 / 8;
        if is_long || table.columns.is_empty() {
            return Ok(None);
        }
        let bases = table.shape.as_ref().map(|shape| &shape.bases);
        let mut forms = Vec::new();
        for column in &table.columns {
            let kind = bases.and_then(|bases| bases.get(&column.name)).unwrap_or(&column.kind);
            match Form::of(kind) {
                Some(form) => forms.push(form),
                None if is_enum(session, kind)? => forms.push(Form::Text),
                None => return Ok(None),
            }
        }
        Ok(Some(Self(forms)))
    }

    /// What a row is in binary; the rest of the text.
    fn row<'t>(&self, mut text: &'t [u8], days: &mut [Days], out: &mut Vec<u8>) -> Option<&'t [u8]> {
        out.extend(i16::try_from(self.0.len()).ok()?.to_be_bytes());
        for (at, form) in self.0.iter().enumerate() {
            let stop = if at + 1 == self.0.len() { b'\n' } else { b'\t' };
            if let Some(length) = form.write_number(text, stop, out) {
                text = &text[length + 1..];
                continue;
            }
            let mut end = memchr3(b'\t', b'\n', b'\\', text)?;
            let is_escaped = text[end] == b'\\';
            if is_escaped {
                end += memchr2(b'\t', b'\n', &text[end..])?;
            }
            (text[end] == stop).then_some(())?;
            field(*form, &text[..end], is_escaped, &mut days[at], out)?;
            text = &text[end + 1..];
        }
        Some(text)
    }
}

fn is_enum(session: &mut Session, kind: &str) -> Result<bool, PostgresError> {
    let sql = "SELECT typtype = 'e' FROM pg_type WHERE oid = to_regtype($1)";
    Ok(session.query(sql, &[&kind])?.first().is_some_and(|row| row.get(0)))
}

/// A stream of rows on its way.
pub struct Stream<'f> {
    forms: &'f Forms,
    /// The beginning of a row that goes on in the next block.
    waiting: Vec<u8>,
    /// What each column's days are remembered by.
    days: Vec<Days>,
    stage: Stage,
}

enum Stage {
    Header,
    Rows,
    Ended,
}

impl<'f> Stream<'f> {
    pub fn of(forms: &'f Forms) -> Self {
        Self { forms, waiting: Vec::new(), days: vec![Days::default(); forms.0.len()], stage: Stage::Header }
    }

    /// What the rows that end in a block of text are in binary. After the last block comes what ends the stream, then none.
    pub fn next(&mut self, block: Option<&[u8]>) -> Result<Option<Bytes>, Odd> {
        let mut out = Vec::with_capacity(block.map_or(0, |block| block.len() * 3 / 2) + HEADER.len());
        match self.stage {
            Stage::Header => out.extend_from_slice(HEADER),
            Stage::Rows => {}
            Stage::Ended => return Ok(None),
        }
        self.stage = Stage::Rows;
        match block {
            Some(block) => self.rows(block, &mut out)?,
            None if self.waiting.is_empty() => {
                out.extend_from_slice(&END.to_be_bytes());
                self.stage = Stage::Ended;
            }
            None => return Err(Odd),
        }
        Ok(Some(out.into()))
    }

    fn rows(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), Odd> {
        let (mut rows, rest) = block.split_at(memrchr(b'\n', block).map_or(0, |last| last + 1));
        if !self.waiting.is_empty()
            && let Some(end) = memchr(b'\n', rows)
        {
            self.waiting.extend_from_slice(&rows[..=end]);
            rows = &rows[end + 1..];
            self.forms.row(&self.waiting, &mut self.days, out).filter(|rest| rest.is_empty()).ok_or(Odd)?;
            self.waiting.clear();
        }
        while !rows.is_empty() {
            rows = self.forms.row(rows, &mut self.days, out).ok_or(Odd)?;
        }
        self.waiting.extend_from_slice(rest);
        if self.waiting.len() > LONGEST_ROW { Err(Odd) } else { Ok(()) }
    }
}

fn field(form: Form, text: &[u8], is_escaped: bool, days: &mut Days, out: &mut Vec<u8>) -> Option<()> {
    let at = out.len();
    out.extend_from_slice(&EMPTY.to_be_bytes());
    let text = if is_escaped { unescaped(text) } else { Some(Cow::Borrowed(text)) };
    let Some(text) = text else { return Some(()) };
    form.write(&text, days, out)?;
    let length = i32::try_from(out.len() - at - 4).ok()?;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(forms: &[Form], text: &[u8], block: usize) -> Result<Vec<u8>, Odd> {
        let forms = Forms(forms.to_vec());
        let mut stream = Stream::of(&forms);
        let mut out = Vec::new();
        for block in text.chunks(block).map(Some).chain([None, None]) {
            stream.next(block)?.iter().for_each(|bytes| out.extend_from_slice(bytes));
        }
        Ok(out)
    }

    #[test]
    fn a_row_that_does_not_end_or_has_other_fields_is_odd() {
        for text in ["1\ta", "1\n", "1\ta\tb\n", "x\ta\n"] {
            assert!(rows(&[Form::Big, Form::Text], text.as_bytes(), 100).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn where_text_is_cut_makes_no_difference(
            values in proptest::collection::vec((any::<Option<i64>>(), "[a-z\\\\\n\tä]{0,9}"), 0..20),
            block in 1usize..40,
        ) {
            let mut text = Vec::new();
            let mut expected = HEADER.to_vec();
            for (number, word) in &values {
                let number_text = number.map_or("\\N".to_owned(), |number| number.to_string());
                let escaped = word.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t");
                text.extend_from_slice(format!("{number_text}\t{escaped}\n").as_bytes());
                expected.extend_from_slice(&2i16.to_be_bytes());
                match number {
                    Some(number) => {
                        expected.extend_from_slice(&8i32.to_be_bytes());
                        expected.extend_from_slice(&number.to_be_bytes());
                    }
                    None => expected.extend_from_slice(&EMPTY.to_be_bytes()),
                }
                expected.extend_from_slice(&(word.len() as i32).to_be_bytes());
                expected.extend_from_slice(word.as_bytes());
            }
            expected.extend_from_slice(&END.to_be_bytes());
            prop_assert_eq!(rows(&[Form::Big, Form::Text], &text, block).unwrap(), expected);
        }
    }
}
