//! A captured table: its rows, read where they lie, and looked up by what they hold.
//!
//! Owns what of a file is read for what is asked. A table whose rows lie in partitions is one table of several files.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::base::error::Explained;
use crate::base::random::RandomRead;
use crate::base::record::{Column, Each, Key, Letters, PART, Table, Value};
use crate::engine::postgres::filters::Sought;
use crate::engine::postgres::layout::{self, Qualified};
use crate::engine::postgres::records::kept::order::{Mark, Order};
use crate::engine::postgres::records::kept::runs::{Asked, Notes, Runs};
use crate::engine::postgres::records::kept::scan::{Blocks, Scan, Sieve};
use crate::engine::postgres::records::schema;
use crate::engine::postgres::records::value::{Kind, escaped, uuid};
use crate::engine::sqlite::decimal::decimal;

/// Where in its file a row begins takes so many bits of its number; the others say which file.
pub(super) const PLACE: u32 = 51;

/// Where an extent of a file of rows begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub at: u64,
    /// The key of the first row in it, as it stands in the file; none where a row goes on that began before, and where
    /// there is no key.
    pub first: Option<Vec<u8>>,
    /// What it consists of, in a word: the same where the bytes are the same.
    pub content: String,
}

/// The files of one table, or of one partition, as whoever keeps them reads them.
pub trait Files: Send + Sync {
    fn rows(&self) -> Result<Arc<dyn RandomRead>, Explained>;

    /// What is noted of the segments of the rows.
    fn notes(&self) -> Result<Option<Arc<dyn RandomRead>>, Explained>;

    /// Where the extents of the rows begin, in order.
    fn starts(&self) -> Result<Vec<Start>, Explained>;
}

/// A file of rows.
pub(super) struct Part {
    pub(super) name: Qualified,
    pub(super) files: Arc<dyn Files>,
    /// As they were counted when it was captured: rows, bytes, and fields of a row.
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) width: usize,
    /// Which field of a row each column is.
    pub(super) fields: Vec<Option<usize>>,
    /// Which columns the rows are sorted by, as far as their order is known.
    pub(super) key: Vec<(usize, Order)>,
    /// The columns that they are sorted by, by name; none for physical order.
    pub(super) sorted: Vec<String>,
    /// They are all of its columns: no two rows are the same there.
    pub(super) is_key_known: bool,
    /// Which columns the rows are sorted by, and how, where all of that is known; nothing for physical order.
    pub(super) sorting: Option<Vec<(usize, Order)>>,
    open: OnceLock<Open>,
    notes: Notes,
}

/// What is read of a file but once.
struct Open {
    rows: Arc<dyn RandomRead>,
    runs: Runs,
    blocks: Arc<Blocks>,
}

pub struct KeptTable {
    pub name: Qualified,
    pub record: Table,
    /// The types as they were declared.
    pub declared: Vec<String>,
    /// Is it known how it hangs together with others?
    pub is_shaped: bool,
    pub rows: u64,
    /// The files of its rows.
    pub paths: Vec<String>,
    pub(super) kinds: Vec<Kind>,
    pub(super) parts: Vec<Part>,
    pub(super) order: Vec<usize>,
}

impl KeptTable {
    /// A table of one file, by its line in the list of tables.
    pub fn new(line: &layout::Table, files: Arc<dyn Files>) -> Self {
        let name = line.root.clone().unwrap_or_else(|| line.name.clone());
        let record = schema::table(&name, &line.columns, line.shape.as_ref());
        let kinds = record.columns.iter().map(|column| Kind::of(&column.kind)).collect();
        let declared = line.columns.iter().map(|column| column.kind.clone()).collect();
        let is_shaped = line.shape.is_some();
        let mut table = Self {
            name,
            record,
            declared,
            is_shaped,
            rows: 0,
            paths: Vec::new(),
            kinds,
            parts: Vec::new(),
            order: Vec::new(),
        };
        table.add(line, files);
        table.order = table.parts[0].key.iter().map(|(column, _)| *column).collect();
        table
    }

    /// Takes in one more file of its rows.
    pub fn add(&mut self, line: &layout::Table, files: Arc<dyn Files>) {
        let place = |name: &String| line.columns.iter().position(|column| column.name == *name);
        let fields: Vec<Option<usize>> = self.record.columns.iter().map(|column| place(&column.name)).collect();
        // A domain that nothing is known of has no order that is known.
        let known = |name: &String| {
            let column = self.record.columns.iter().position(|column| column.name == *name)?;
            Some((column, Order::of(&self.record.columns[column].kind)?))
        };
        let key: Vec<(usize, Order)> = line.key.iter().map_while(known).collect();
        let sorting = |name: &String| {
            let column = self.record.columns.iter().position(|column| column.name == *name)?;
            Some((column, Order::of_sorted(&self.record.columns[column].kind)?))
        };
        let sorting: Option<Vec<(usize, Order)>> = line.key.iter().map(sorting).collect();
        self.parts.push(Part {
            name: line.name.clone(),
            files,
            rows: line.rows,
            bytes: line.bytes,
            width: line.columns.len(),
            fields,
            sorted: line.key.clone(),
            is_key_known: key.len() == line.key.len(),
            key,
            sorting: sorting.filter(|columns| !columns.is_empty()),
            open: OnceLock::new(),
            notes: Notes::default(),
        });
        self.rows += line.rows;
        self.paths.push(line.path.clone());
        // Several files are sorted each for itself.
        if self.parts.len() > 1 {
            self.order.clear();
        }
    }

    /// The rows whose columns hold one of these values, and what is wanted of them.
    pub fn find(
        &self,
        shape: &Table,
        by: &[usize],
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        let compared: Vec<Compared> = by.iter().map(|&at| Compared::of(self.kinds[at], &shape.columns[at])).collect();
        let form = |values: &[Value]| -> Option<Vec<Vec<u8>>> {
            by.iter()
                .zip(&compared)
                .zip(values)
                .map(|((at, compared), value)| compared.form(self.kinds[*at], value))
                .collect()
        };
        // What refers to a uuid may be text, and written otherwise than the server writes it.
        let as_kept = |(at, value): (&usize, &Value)| match (shape.columns[*at].kind.as_str(), value) {
            ("uuid", _) => uuid(value),
            (kind, Value::Text(text)) => padding(kind).map_or_else(|| value.clone(), |width| padded(text, width)),
            _ => value.clone(),
        };
        let asked = |key: &Key| form(&by.iter().zip(key).map(as_kept).collect::<Vec<_>>());
        let keys: HashSet<Vec<Vec<u8>>> = keys.iter().filter_map(asked).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let column = |at: usize| keys.iter().map(|key| key[at].as_slice()).collect::<HashSet<_>>();
        // Only what compares as it is written can be looked for as it is written.
        let plain: Vec<(usize, HashSet<&[u8]>)> =
            (0..by.len()).filter(|at| compared[*at] == Compared::AsWritten).map(|at| (by[at], column(at))).collect();
        for part in &self.parts {
            let asked = part.points(by, &compared, &keys);
            let sieves: Vec<Sieve> =
                plain.iter().filter_map(|(column, values)| part.sieve(*column, values.iter().copied())).collect();
            let mut scan = part.scan(self, asked.as_ref(), sieves)?;
            while scan.next()?.is_some() {
                let mut value = |at: usize| self.value(part, &mut scan, at);
                let held = by.iter().map(|&at| value(at)).collect::<Result<Vec<_>, _>>()?;
                if form(&held).is_some_and(|held| keys.contains(&held)) {
                    each(wanted.iter().map(|&at| value(at)).collect::<Result<_, _>>()?)?;
                }
            }
        }
        Ok(())
    }

    /// Every row, in the order of its files.
    pub fn each(&self, wanted: &[usize], each: &mut Each<'_>) -> Result<(), Explained> {
        for part in &self.parts {
            let mut scan = part.scan(self, None, Vec::new())?;
            while scan.next()?.is_some() {
                each(wanted.iter().map(|&at| self.value(part, &mut scan, at)).collect::<Result<_, _>>()?)?;
            }
        }
        Ok(())
    }

    /// Does one file hold all of its rows, sorted by its key?
    pub fn is_sorted(&self) -> bool {
        self.parts.len() == 1
    }

    /// The row of a number that was told before.
    pub fn row(&self, number: i64, wanted: &[usize]) -> Result<Vec<Value>, Explained> {
        let part = &self.parts[(number >> PLACE) as usize];
        let start = number as u64 & ((1 << PLACE) - 1);
        let open = part.open()?;
        let run = open.runs.at(start);
        let mut scan = Scan::new(open.rows.clone(), open.blocks.clone(), vec![run.clone()], Vec::new());
        scan.from(start, run)?;
        wanted.iter().map(|&at| self.value(part, &mut scan, at)).collect()
    }

    /// What the row at hand has in a column, or which file it lies in.
    fn value(&self, part: &Part, scan: &mut Scan, column: usize) -> Result<Value, Explained> {
        match column {
            PART => Ok(Value::text(&part.name.shown())),
            _ => part.value(scan, column, self.kinds[column]),
        }
    }
}

/// How values of a column are told apart when they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    AsWritten,
    AsNumbers,
    WithoutCase,
    WithoutEnd,
}

impl Compared {
    fn of(kind: Kind, column: &Column) -> Self {
        match (kind, column.letters) {
            (Kind::Real | Kind::Numeric, _) => Self::AsNumbers,
            (_, Letters::WithoutCase) => Self::WithoutCase,
            // Where all are filled up to one length, they are looked for so.
            (_, Letters::WithoutEnd) if padding(&column.kind).is_none() => Self::WithoutEnd,
            _ => Self::AsWritten,
        }
    }

    /// A value so that equal ones are the same bytes; none for an empty one, which nothing equals.
    fn form(self, kind: Kind, value: &Value) -> Option<Vec<u8>> {
        if let (Kind::Integer, Value::Real(real)) = (kind, value)
            && real.fract() == 0.0
        {
            return Some(format!("{real:.0}").into_bytes());
        }
        // A whole number may be referred to by one with digits behind the point.
        if let (Kind::Integer, Value::Text(text)) = (kind, value) {
            return Some(number(text));
        }
        let text = kind.text(value)?;
        Some(match self {
            Self::AsWritten => text.into_owned(),
            Self::WithoutCase => match std::str::from_utf8(&text) {
                Ok(text) => text.to_lowercase().into_bytes(),
                Err(_) => text.to_ascii_lowercase(),
            },
            Self::WithoutEnd => {
                text.iter().rposition(|byte| *byte != b' ').map_or(&text[..0], |at| &text[..=at]).to_vec()
            }
            Self::AsNumbers => number(&text),
        })
    }
}

/// A number without zeros that do not change it.
fn number(text: &[u8]) -> Vec<u8> {
    let Ok(written) = std::str::from_utf8(text) else { return text.to_vec() };
    // Digits with an exponent are a number of the machine's.
    if written.contains(['e', 'E'])
        && let Ok(real) = written.parse::<f64>()
    {
        return format!("{real:?}").into_bytes();
    }
    if decimal(written, "0") == Ordering::Equal {
        return b"0".to_vec();
    }
    let (sign, digits) = written.strip_prefix('-').map_or(("", written), |digits| ("-", digits));
    let digits = digits.trim_start_matches('0');
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{sign}{digits}").into_bytes()
}

/// How long every text of a type is, that are filled up with spaces.
fn padding(kind: &str) -> Option<usize> {
    kind.strip_prefix("character(")?.strip_suffix(')')?.parse().ok()
}

/// A text as a column of this length keeps it.
fn padded(text: &[u8], width: usize) -> Value {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    match std::str::from_utf8(&text[..end]) {
        Ok(text) => Value::text(&format!("{text:<width$}")),
        Err(_) => Value::Text(text.to_vec()),
    }
}

impl Part {
    fn open(&self) -> Result<&Open, Explained> {
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        let rows = self.files.rows()?;
        let orders: Vec<Order> = self.key.iter().map(|(_, order)| *order).collect();
        let runs = Runs::new(&self.files.starts()?, &orders, rows.length());
        Ok(self.open.get_or_init(|| Open { rows, runs, blocks: Arc::default() }))
    }

    /// A scan of these runs, whatever is in them.
    pub(super) fn scan_runs(&self, runs: Vec<Range<u64>>) -> Result<Scan, Explained> {
        let open = self.open()?;
        Ok(Scan::new(open.rows.clone(), open.blocks.clone(), runs, Vec::new()))
    }

    pub(super) fn length(&self) -> Result<u64, Explained> {
        Ok(self.open()?.rows.length())
    }

    /// A column's value in the row that a scan stands at. A partition may lack a column: then it is empty.
    pub(super) fn value(&self, scan: &mut Scan, column: usize, kind: Kind) -> Result<Value, Explained> {
        self.fields[column].map_or(Ok(Value::Null), |field| scan.value(field, kind))
    }

    /// Passes rows over whose column is none of these texts.
    pub(super) fn sieve<'v>(&self, column: usize, texts: impl Iterator<Item = &'v [u8]>) -> Option<Sieve> {
        let admitted = texts.map(|text| escaped(Some(text))).collect();
        Some(Sieve { field: self.fields[column]?, admitted })
    }

    /// What keys ask of the columns that the rows are sorted by.
    fn points(&self, by: &[usize], compared: &[Compared], keys: &HashSet<Vec<Vec<u8>>>) -> Option<Asked> {
        let place = |(column, order): &(usize, Order)| {
            let at = by.iter().position(|by| by == column).filter(|at| compared[*at] == Compared::AsWritten)?;
            Some((at, *order))
        };
        let places: Vec<(usize, Order)> = self.key.iter().map_while(place).collect();
        if places.is_empty() {
            return None;
        }
        // What is no number is in no column of numbers.
        let marks =
            |key: &Vec<Vec<u8>>| places.iter().map(|(at, order)| order.mark(&key[*at])).collect::<Option<Vec<Mark>>>();
        Some(Asked::Points(keys.iter().filter_map(marks).collect()))
    }

    pub(super) fn scan(&self, table: &KeptTable, asked: Option<&Asked>, sieves: Vec<Sieve>) -> Result<Scan, Explained> {
        let open = self.open()?;
        let mut runs = asked.map(|asked| open.runs.holding(asked));
        if runs.is_none() {
            for sieve in &sieves {
                runs = self.admitting(&table.record, sieve, open.rows.length())?.or(runs);
            }
        }
        let runs = runs.unwrap_or_else(|| open.runs.all());
        Ok(Scan::new(open.rows.clone(), open.blocks.clone(), runs, sieves))
    }

    /// The segments that may hold what a sieve lets through.
    fn admitting(&self, record: &Table, sieve: &Sieve, length: u64) -> Result<Option<Vec<Range<u64>>>, Explained> {
        let column = self.fields.iter().position(|field| *field == Some(sieve.field));
        let texts: Option<Vec<&str>> = sieve.admitted.iter().map(|text| std::str::from_utf8(text).ok()).collect();
        let (Some(column), Some(texts), Some(notes)) = (column, texts, self.files.notes()?) else { return Ok(None) };
        let sought: Vec<Sought> = texts.into_iter().map(Sought::new).collect();
        self.notes.admitting(&*notes, &record.columns[column].name, &sought, length)
    }
}
