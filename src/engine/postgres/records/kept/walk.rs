//! The rows of one captured file, one after another, as they are compared with others.
//!
//! Reads no more than it has to: where a run of rows begins, its first key is known without it, and a run that the other
//! side has too is passed over.

use std::collections::VecDeque;
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::base::error::Explained;
use crate::base::record::Value;
use crate::engine::postgres::records::kept::image::{EMPTY, Image};
use crate::engine::postgres::records::kept::order::Mark;
use crate::engine::postgres::records::kept::scan::Scan;
use crate::engine::postgres::records::kept::table::{KeptTable, Part};
use crate::engine::postgres::records::value::unescaped;
use crate::engine::sqlite::rows::{Row, RowChange, Value as Shown};

/// A run of rows.
#[derive(Clone, Debug)]
pub struct Piece {
    pub range: Range<u64>,
    /// The key of its first row, as it stands in the file.
    pub first: Option<Vec<u8>>,
    /// What it consists of.
    pub content: String,
}

/// Rows of one side, one after another.
pub(super) struct Walk<'p> {
    pub table: &'p KeptTable,
    pub part: &'p Part,
    scan: Scan,
    pieces: VecDeque<Piece>,
    /// The key of the row it stands at.
    pub at: Option<Vec<Mark>>,
    /// What the run consists of that it stands at the beginning of, as long as nothing of it was read.
    unread: Option<String>,
}

impl<'p> Walk<'p> {
    pub fn new(table: &'p KeptTable, part: &'p Part, pieces: Vec<Piece>) -> Result<Self, Explained> {
        Ok(Self { table, part, scan: part.scan_runs(Vec::new())?, pieces: pieces.into(), at: None, unread: None })
    }

    /// Goes to the next row, whatever its key is.
    pub fn next(&mut self) -> Result<bool, Explained> {
        while self.scan.is_over() {
            match self.pieces.pop_front() {
                Some(piece) => self.scan.give(piece.range),
                None => return Ok(false),
            }
        }
        Ok(self.scan.next()?.is_some())
    }

    /// Goes to the next row that has a key.
    pub fn step(&mut self) -> Result<(), Explained> {
        self.load()?;
        self.at = None;
        while self.at.is_none() {
            if self.scan.is_over()
                && let Some(piece) = self.pieces.front()
                && let Some(first) = piece.first.as_deref().and_then(|key| self.part.marks_of(key))
            {
                let piece = self.pieces.pop_front().expect("BUG: it was just there");
                self.scan.give(piece.range);
                (self.at, self.unread) = (Some(first), Some(piece.content));
                return Ok(());
            }
            if !self.next()? {
                return Ok(());
            }
            self.at = self.part.marks_sorted(&mut self.scan)?;
        }
        Ok(())
    }

    /// Reads the row it stands at, if only its key is known.
    pub fn load(&mut self) -> Result<(), Explained> {
        if self.unread.take().is_some() {
            self.scan.next()?;
        }
        Ok(())
    }

    /// Passes a run over that it stands at the beginning of, if that is what it consists of.
    pub fn leap(&mut self, content: &str) -> Result<bool, Explained> {
        if self.unread.as_deref() != Some(content) {
            return Ok(false);
        }
        self.unread = None;
        self.scan.give(0..0);
        self.step()?;
        Ok(true)
    }

    pub fn row(&mut self, change: RowChange, columns: Vec<String>) -> Result<Row, Explained> {
        self.load()?;
        let sorting = self.part.sorting.as_deref().unwrap_or_default();
        let mut key = Vec::with_capacity(sorting.len());
        for &(at, _) in sorting {
            key.push(shown(self.part.value(&mut self.scan, at, self.table.kinds[at])?));
        }
        Ok(Row { change, key, columns })
    }

    /// The columns that a later table has too and that are not the same there, as `is_same` says of this one's scan, a
    /// field of it, and a field of the later one.
    pub fn differing(
        &mut self,
        (later, part): (&KeptTable, &Part),
        mut is_same: impl FnMut(&mut Scan, usize, usize) -> Result<bool, Explained>,
    ) -> Result<Vec<String>, Explained> {
        self.load()?;
        let mut columns = Vec::new();
        for (at, column) in self.table.record.columns.iter().enumerate() {
            let Some(now) = later.record.columns.iter().position(|other| other.name == column.name) else { continue };
            let same = match (self.part.fields[at], part.fields[now]) {
                (Some(field), Some(other)) => is_same(&mut self.scan, field, other)?,
                (old, new) => old.is_none() && new.is_none(),
            };
            if !same {
                columns.push(column.name.clone());
            }
        }
        Ok(columns)
    }

    pub fn scan(&mut self) -> &mut Scan {
        &mut self.scan
    }

    /// The digests of the row it stands at.
    pub fn digests(&mut self, compared: &Compared) -> Result<Digests, Explained> {
        let scan = &mut self.scan;
        compared.digests(|field| scan.image(field))
    }
}

/// A row's key, and what of it the other side may have too: the whole of it where there is no key.
pub(super) type Digests = ([u8; 16], [u8; 16]);

/// The columns that both sides of a file have: which field each is, and whether the key has it.
pub(super) struct Compared(Vec<(Option<usize>, bool)>);

impl Compared {
    pub fn of(table: &KeptTable, part: &Part, other: &KeptTable) -> Self {
        let columns = table.record.columns.iter().enumerate().map(|(at, column)| (&column.name, at));
        let is_in_both = |(name, _): &(&String, usize)| other.record.columns.iter().any(|column| column.name == **name);
        let mut columns: Vec<(&String, usize)> = columns.filter(is_in_both).collect();
        columns.sort_unstable();
        let is_key = |name: &String| part.sorted.is_empty() || part.sorted.contains(name);
        Self(columns.into_iter().map(|(name, at)| (part.fields[at], is_key(name))).collect())
    }

    pub fn digests(&self, mut image: impl FnMut(usize) -> Result<Image, Explained>) -> Result<Digests, Explained> {
        let (mut key, mut row) = (Sha256::new(), Sha256::new());
        for (field, is_key) in &self.0 {
            let image = field.map_or_else(|| Ok(Image::of(EMPTY)), &mut image)?;
            if *is_key {
                image.digest_into(&mut key);
            }
            image.digest_into(&mut row);
        }
        let half = |digest: Sha256| digest.finalize()[..16].try_into().expect("BUG: it has 32 bytes");
        Ok((half(key), half(row)))
    }
}

impl Part {
    /// Runs of rows, and what they consist of. Without a key it is one run: nothing tells where a row begins.
    pub(super) fn pieces(&self) -> Result<Vec<Piece>, Explained> {
        let (starts, length) = (self.files.starts()?, self.length()?);
        let mut pieces: Vec<Piece> = Vec::new();
        let ends: Vec<u64> = starts.iter().skip(1).map(|start| start.at).chain(std::iter::once(length)).collect();
        for (start, end) in starts.into_iter().zip(ends) {
            match pieces.last_mut() {
                Some(piece) if start.first.is_none() => {
                    piece.range.end = end;
                    piece.content += &format!(" {}", start.content);
                }
                _ => pieces.push(Piece { range: start.at..end, first: start.first, content: start.content }),
            }
        }
        Ok(pieces)
    }

    /// The key as it is sorted by, of the row that a scan stands at.
    fn marks_sorted(&self, scan: &mut Scan) -> Result<Option<Vec<Mark>>, Explained> {
        let sorting = self.sorting.as_deref().unwrap_or_default();
        let mut marks = Vec::with_capacity(sorting.len());
        for (column, order) in sorting {
            let Some(field) = self.fields[*column] else { return Ok(None) };
            let Some(mark) = scan.text(field)?.and_then(|text| order.mark(&text)) else { return Ok(None) };
            marks.push(mark);
        }
        Ok(Some(marks))
    }

    /// The same of a key as it stands in the file.
    pub(super) fn marks_of(&self, key: &[u8]) -> Option<Vec<Mark>> {
        let sorting = self.sorting.as_deref()?;
        let mut fields = key.split(|&byte| byte == b'\t');
        sorting.iter().map(|(_, order)| order.mark(&unescaped(fields.next()?)?)).collect()
    }
}

pub(super) fn shown(value: Value) -> Shown {
    match value {
        Value::Null => Shown::Null,
        Value::Integer(number) => Shown::Integer(number),
        Value::Real(number) => Shown::Real(number),
        Value::Text(bytes) => Shown::Text(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Blob(bytes) => Shown::Blob(bytes),
    }
}
