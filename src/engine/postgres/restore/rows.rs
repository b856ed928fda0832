//! Rows in: tables by COPY, the largest first, those that are most of all rows in parts.
//!
//! Owns where a table is split, what a server is sent, and that it took as many rows as there were.

use std::sync::Mutex;

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::layout::{Table, large_object_path, quoted};
use crate::engine::postgres::restore::binary::{Forms, Odd, Stream};
use crate::engine::postgres::restore::check::ReadEarly;
use crate::engine::postgres::restore::dump::{Blocks, Dump, Lines};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::{Loaded, Options, PART, ReadBack, check};
use crate::engine::postgres::segments::Segment;

/// A run of a table's rows.
pub struct Part {
    pub table: usize,
    start: u64,
    end: u64,
    /// All rows of a table that this restore has made.
    pub is_whole: bool,
}

/// Tables on their way into a database, by several connections.
pub struct Filling<'d> {
    dump: &'d dyn Dump,
    pub tables: &'d [Table],
    /// How rows of each are written in binary, if all of them can be.
    forms: Vec<Option<Forms>>,
    options: &'d Options,
    taken: Mutex<Vec<u64>>,
    same: Mutex<Vec<ReadEarly>>,
}

impl<'d> Filling<'d> {
    pub fn of(
        dump: &'d dyn Dump,
        tables: &'d [Table],
        options: &'d Options,
        session: &mut Session,
    ) -> Result<Self, LoadError> {
        let forms = |table| if is_text_only(dump) { Ok(None) } else { Forms::of(table, session) };
        let forms = tables.iter().map(forms).collect::<Result<_, _>>()?;
        let taken = Mutex::new(vec![0; tables.len()]);
        Ok(Self { dump, tables, forms, options, taken, same: Mutex::default() })
    }

    /// What can be sent at once, by so many connections.
    pub fn parts(&self, connections: usize) -> Result<Vec<Part>, LoadError> {
        let share = self.tables.iter().map(|table| table.bytes).sum::<u64>() / connections.max(1) as u64;
        let mut parts = Vec::new();
        for (number, table) in self.tables.iter().enumerate() {
            match table.rows {
                0 => self.options.control.items.add(1),
                _ => parts.extend(split(self.dump, number, table, share, self.options.what.definitions)?),
            }
        }
        Ok(parts)
    }

    pub fn fill(&self, session: &mut Session, part: &Part) -> Result<(), LoadError> {
        let (table, forms) = (&self.tables[part.table], self.forms[part.table].as_ref());
        let rows = Loading { dump: self.dump, table, forms, control: &self.options.control }.fill(session, part)?;
        let mut taken = self.taken.lock().expect("BUG: nothing panics while holding it");
        taken[part.table] += rows;
        self.options.control.items.add(u64::from(taken[part.table] == table.rows));
        Ok(())
    }

    /// Is a table read back by whoever has nothing else to do, long before all are filled?
    pub fn is_read_back(&self, part: &Part) -> bool {
        part.is_whole && self.options.read_back != ReadBack::Skipped
    }

    pub fn read_back(&self, session: &mut Session, table: usize) -> Result<(), LoadError> {
        let table = &self.tables[table];
        if let Some(read) = check::as_it_lies(self.dump, session, table)? {
            self.same.lock().expect("BUG: nothing panics while holding it").push(read);
        }
        Ok(())
    }

    /// Did the server take as many rows as there were? Says which tables were read back and are what was captured.
    pub fn finish(self, loaded: &mut Loaded) -> Result<Vec<ReadEarly>, LoadError> {
        let taken = self.taken.into_inner().expect("BUG: nothing panics while holding it");
        for (table, found) in self.tables.iter().zip(taken) {
            if found != table.rows {
                return Err(LoadError::Count { table: table.name.shown(), expected: table.rows, found });
            }
            loaded.tables += 1;
            loaded.rows += found;
            loaded.bytes += table.bytes;
        }
        Ok(self.same.into_inner().expect("BUG: nothing panics while holding it"))
    }
}

/// Is it a database that does not know what its texts are written in?
pub fn is_text_only(dump: &dyn Dump) -> bool {
    dump.fact("encoding") == Some("SQL_ASCII")
}

/// What rows are written in on their way.
pub fn encoding(dump: &dyn Dump) -> &'static str {
    if is_text_only(dump) { "SQL_ASCII" } else { "UTF8" }
}

/// A table is split where one connection would still be busy with it when all others are done with everything: it is
/// filled, and then read back while others build its indexes, and in parts both cost more. Where rows have no key, their order
/// is all they have: then they stay together.
fn split(dump: &dyn Dump, number: usize, table: &Table, share: u64, is_new: bool) -> Result<Vec<Part>, LoadError> {
    let part = |start, end| Part { table: number, start, end, is_whole: false };
    if table.key.is_empty() || table.bytes < 2 * PART || table.bytes <= share + share / 2 {
        return Ok(vec![Part { is_whole: is_new && table.condition.is_none(), ..part(0, table.bytes) }]);
    }
    let mut segments = Lines::of(dump, &table.name.segments_path())?;
    let (mut parts, mut start, mut end) = (Vec::new(), 0, 0);
    while let Some(segment) = segments.line::<Segment>()? {
        end += segment.bytes;
        if end - start >= PART {
            parts.push(part(start, end));
            start = end;
        }
    }
    if start < table.bytes {
        parts.push(part(start, table.bytes));
    }
    Ok(parts)
}

/// A table that is filled.
struct Loading<'d> {
    dump: &'d dyn Dump,
    table: &'d Table,
    /// How its rows are written in binary, if all of them can be.
    forms: Option<&'d Forms>,
    control: &'d Control,
}

/// Why a server was not given all rows.
enum Stopped {
    Content(Explained),
    Odd,
}

impl From<Explained> for Stopped {
    fn from(error: Explained) -> Self {
        Self::Content(error)
    }
}

impl From<Odd> for Stopped {
    fn from(_: Odd) -> Self {
        Self::Odd
    }
}

impl Loading<'_> {
    /// In binary where that goes, as text where it does not.
    fn fill(&self, session: &mut Session, part: &Part) -> Result<u64, LoadError> {
        let frozen = part.is_whole && self.is_empty(session)?;
        let mut told = 0;
        if self.forms.is_some()
            && let Some(rows) = self.copy(session, part, frozen, self.forms, &mut told)?
        {
            return Ok(rows);
        }
        Ok(self.copy(session, part, frozen, None, &mut told)?.expect("BUG: text goes in as it is"))
    }

    /// An extension may have put rows into its tables.
    fn is_empty(&self, session: &mut Session) -> Result<bool, LoadError> {
        let sql = format!("SELECT NOT EXISTS (SELECT FROM ONLY {})", self.table.name.quoted());
        Ok(session.query(&sql, &[])?[0].get(0))
    }

    /// With a table emptied in the same transaction, rows are written as if they had always been there: nobody has to
    /// come back and say that they are (a first reader, or VACUUM), which writes all of them again. None: a value has no
    /// binary form after all, and nothing was done.
    fn copy(
        &self,
        session: &mut Session,
        part: &Part,
        frozen: bool,
        forms: Option<&Forms>,
        told: &mut u64,
    ) -> Result<Option<u64>, LoadError> {
        let sql = self.statement(forms.is_some(), frozen);
        if frozen {
            session.batch(&format!("BEGIN; TRUNCATE ONLY {}", self.table.name.quoted()))?;
        }
        let mut blocks = Blocks::within(self.dump, &self.table.path, part.start, part.end)?;
        let mut stream = forms.map(Stream::of);
        let mut sent = 0;
        let done = session.copy_in(&sql, || -> Result<_, Stopped> {
            let block = blocks.block()?;
            sent += block.as_ref().map_or(0, |block| block.len() as u64);
            // What is sent a second time was told of.
            self.control.bytes.add(sent.saturating_sub(*told));
            *told = sent.max(*told);
            Ok(match &mut stream {
                Some(stream) => stream.next(block.as_deref())?,
                None => block,
            })
        })?;
        if frozen {
            session.batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        }
        match done {
            Ok(rows) => Ok(Some(rows)),
            Err(Stopped::Odd) => Ok(None),
            Err(Stopped::Content(error)) => Err(error.into()),
        }
    }

    fn statement(&self, is_binary: bool, frozen: bool) -> String {
        let format = if is_binary { "binary".to_owned() } else { format!("text, ENCODING '{}'", encoding(self.dump)) };
        format!("COPY {} FROM STDIN (FORMAT {format}{})", target(self.table), if frozen { ", FREEZE" } else { "" })
    }
}

/// The table and the columns that its file holds.
pub fn target(table: &Table) -> String {
    format!("{}{}", table.name.quoted(), columns(table))
}

fn columns(table: &Table) -> String {
    let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// Fills the large objects that the definitions have made, or that are there already.
pub fn large_objects(dump: &dyn Dump, session: &mut Session, all: bool) -> Result<u64, LoadError> {
    let oids: Vec<u32> = session
        .query("SELECT oid FROM pg_largeobject_metadata ORDER BY oid", &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut filled = 0;
    for oid in oids {
        let path = large_object_path(oid);
        if dump.open(&path)?.is_none() {
            if all {
                return Err(LoadError::Absent { path });
            }
            continue;
        }
        large_object(dump, session, oid)?;
        filled += 1;
    }
    Ok(filled)
}

/// Fills one.
pub fn large_object(dump: &dyn Dump, session: &mut Session, oid: u32) -> Result<(), LoadError> {
    let (mut blocks, mut at) = (Blocks::of(dump, &large_object_path(oid))?, 0i64);
    while let Some(block) = blocks.block()? {
        session.execute("SELECT lo_put($1, $2, $3)", &[&oid, &at, &&block[..]])?;
        at += block.len() as i64;
    }
    Ok(())
}

/// All rows of a table, as text. Says how many were taken.
pub fn copy(dump: &dyn Dump, session: &mut Session, table: &Table) -> Result<u64, LoadError> {
    let sql = format!("COPY {} FROM STDIN (FORMAT text, ENCODING '{}')", target(table), encoding(dump));
    let mut blocks = Blocks::of(dump, &table.path)?;
    let done: Result<u64, Explained> = session.copy_in(&sql, || blocks.block())?;
    Ok(done?)
}
