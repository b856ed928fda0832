//! Are the files of a captured database what its list of tables says of them?
//!
//! Reads every row: how many there are, whether each has all of its fields and comes behind the one before it, and whether
//! the notes on segments are those of these rows. What rows mean to the database is not checked.

use std::collections::BTreeMap;

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::text::counted;
use crate::engine::postgres::records::kept::KeptDatabase;
use crate::engine::postgres::records::kept::order::Mark;
use crate::engine::postgres::records::kept::runs;
use crate::engine::postgres::records::kept::scan::Scan;
use crate::engine::postgres::records::kept::table::{KeptTable, Part};

/// Rows between two looks at whether to stop.
const GLANCE: u64 = 4096;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Soundness {
    /// Rows of each file, by the name of its table or partition.
    pub rows: BTreeMap<String, u64>,
    pub bytes: u64,
    pub complaints: Vec<String>,
    /// Somebody asked to stop before everything was read.
    pub stopped: bool,
}

impl KeptDatabase {
    /// Reads all of it.
    pub fn check(&self, control: &Control) -> Result<Soundness, Explained> {
        let mut found = Soundness::default();
        for table in &self.tables {
            for part in &table.parts {
                part.check(table, control, &mut found)?;
                if found.stopped {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }
}

/// Where segments end, checked against where rows do.
struct Ends {
    ends: std::vec::IntoIter<(u64, u64)>,
    next: Option<(u64, u64)>,
    rows: u64,
    wrong: bool,
}

impl Ends {
    fn new(ends: Vec<(u64, u64)>) -> Self {
        let mut ends = ends.into_iter();
        let next = ends.next();
        Self { ends, next, rows: 0, wrong: false }
    }

    /// A row begins here.
    fn row(&mut self, start: u64) {
        if let Some((end, rows)) = self.next
            && start >= end
        {
            self.wrong |= start != end || self.rows != rows;
            self.rows = 0;
            self.next = self.ends.next();
        }
        self.rows += 1;
    }

    /// The rows are at their end.
    fn end(mut self, length: u64) -> bool {
        let is_last = |(end, rows)| end == length && rows == self.rows;
        let ends_well = self.next.map_or(self.rows == 0 && length == 0, is_last);
        !self.wrong && ends_well && self.ends.next().is_none()
    }
}

impl Part {
    fn check(&self, table: &KeptTable, control: &Control, found: &mut Soundness) -> Result<(), Explained> {
        let name = self.name.shown();
        let length = self.length()?;
        let noted = self.noted()?;
        let has_notes = noted.is_some();
        let mut ends = Ends::new(noted.unwrap_or_default());
        let mut scan = self.scan(table, None, Vec::new())?;
        let (mut rows, mut narrow, mut astray, mut last) = (0u64, 0u64, 0u64, None::<Vec<Mark>>);
        let mut before = 0;
        while let Some(start) = scan.next()? {
            rows += 1;
            ends.row(start);
            narrow += u64::from(scan.width() != self.width);
            let key = self.marks(&mut scan)?;
            if let (Some(last), Some(key)) = (&last, &key) {
                let is_behind = if self.is_key_known { last < key } else { last <= key };
                astray += u64::from(!is_behind);
            }
            last = key;
            if rows.is_multiple_of(GLANCE) {
                control.bytes.add(start - before);
                before = start;
                if control.stopped() {
                    found.stopped = true;
                    return Ok(());
                }
            }
        }
        control.bytes.add(length - before);
        found.bytes += length;
        let mut complain = |what: String| found.complaints.push(format!("{name}: {what}"));
        if rows != self.rows || length != self.bytes {
            let (is, was) = (counted(rows, "row"), counted(self.rows, "row"));
            let bytes = |bytes: u64| counted(bytes, "byte");
            complain(format!("{is} in {}, and {was} in {} when it was captured", bytes(length), bytes(self.bytes)));
        }
        if narrow > 0 {
            complain(format!("{} without all of their fields", counted(narrow, "row")));
        }
        if astray > 0 {
            complain(format!("{} not in the order of the key", counted(astray, "row")));
        }
        if has_notes && !ends.end(length) {
            complain("what is noted of its segments is not what they are".to_owned());
        }
        found.rows.insert(name, rows);
        Ok(())
    }

    /// The columns that rows are sorted by, of the row that a scan stands at.
    pub(super) fn marks(&self, scan: &mut Scan) -> Result<Option<Vec<Mark>>, Explained> {
        let mut marks = Vec::with_capacity(self.key.len());
        for (column, order) in &self.key {
            let Some(field) = self.fields[*column] else { return Ok(None) };
            let Some(mark) = scan.text(field)?.and_then(|text| order.mark(&text)) else { return Ok(None) };
            marks.push(mark);
        }
        Ok((!marks.is_empty()).then_some(marks))
    }

    /// Where segments end, and how many rows each has.
    fn noted(&self) -> Result<Option<Vec<(u64, u64)>>, Explained> {
        let Some(notes) = self.files.notes()? else { return Ok(None) };
        let (mut ends, mut end) = (Vec::new(), 0);
        runs::each(&*notes, &mut |segment| {
            end += segment.bytes;
            ends.push((end, segment.rows));
        })?;
        Ok(Some(ends))
    }
}
