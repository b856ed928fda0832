//! Rows of a live database that arrive as a capture would keep them, compared with those of a snapshot.
//!
//! They are cut where they always are, so a chunk that the snapshot has at the same place is passed over by its digest,
//! and nothing of the snapshot is read for it. Of a row that is longer than a chunk, its fields' images are in memory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use crate::base::chunk::Chunk;
use crate::base::error::Explained;
use crate::base::random::RandomRead;
use crate::base::record::Value;
use crate::base::record::name::{Meant, meant_of_parts};
use crate::engine::postgres::layout::{self, Qualified};
use crate::engine::postgres::records::kept::differences::{
    Each, Later, Unordered, are_sorted_alike, count_only, gone, merge, named, of_both,
};
use crate::engine::postgres::records::kept::image::{EMPTY, Image, Painter};
use crate::engine::postgres::records::kept::order::{Mark, Order};
use crate::engine::postgres::records::kept::table::{Files, KeptTable, Part, Start};
use crate::engine::postgres::records::kept::walk::{Compared, Digests, Walk, shown};
use crate::engine::postgres::records::kept::{KeptDatabase, is_told};
use crate::engine::postgres::records::value::unescaped;
use crate::engine::sqlite::rows::{Row, RowChange, Table};

/// The chunks of a table's rows, as they come.
pub type Chunks<'c> = dyn Iterator<Item = Result<Chunk, Explained>> + 'c;

/// A captured database, compared with one whose tables come one after another.
pub struct Arrivals {
    before: KeptDatabase,
    only: Option<String>,
    seen: BTreeMap<String, Seen>,
}

/// A table that came, or some of its partitions.
struct Seen {
    table: Table,
    parts: BTreeSet<Qualified>,
}

impl Arrivals {
    /// Of `only` one table, where that is asked for. Where only others are known that are written much like it, these are
    /// compared too: the one that is meant may be still to come.
    pub fn new(before: KeptDatabase, only: Option<&str>) -> Self {
        Self { before, only: only.map(str::to_owned), seen: BTreeMap::new() }
    }

    /// Compares the rows of a file, whose line in the list of tables would be this one.
    pub fn file(
        &mut self,
        line: &layout::Table,
        chunks: &mut Chunks<'_>,
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        let new = KeptTable::new(line, Arc::new(Elsewhere));
        if !self.is_wanted(&new.record.name) || !is_told(&new) {
            return Ok(());
        }
        let Self { before, seen, .. } = self;
        let old = before.named(&new.record.name);
        let seen = seen.entry(new.record.name.clone()).or_insert_with(|| {
            let added = || Table { whole: Some(RowChange::Added), ..named(&new) };
            Seen { table: old.map_or_else(added, |old| of_both(old, &new)), parts: BTreeSet::new() }
        });
        seen.parts.insert(line.name.clone());
        let part = old.and_then(|old| Some((&**old, old.parts.iter().find(|part| part.name == line.name)?)));
        match part {
            Some((old, part)) if part.sorted == new.parts[0].sorted => {
                compare((old, part), &new, chunks, &mut seen.table, each)
            }
            // What has another key cannot be told from other rows.
            other => {
                seen.table.removed += other.map_or(0, |(_, part)| part.rows);
                seen.table.added += count(chunks)?;
                Ok(())
            }
        }
    }

    /// Every table that is not the same, once all have come.
    pub fn finish(self) -> Vec<Table> {
        let mut found: BTreeMap<String, Table> = BTreeMap::new();
        for old in self.before.tables.iter().filter(|table| self.is_wanted(&table.record.name)) {
            match self.seen.get(&old.record.name) {
                None => _ = found.insert(old.record.name.clone(), gone(old)),
                Some(seen) => {
                    let lacking = old.parts.iter().filter(|part| !seen.parts.contains(&part.name));
                    let removed = seen.table.removed + lacking.map(|part| part.rows).sum::<u64>();
                    found.insert(old.record.name.clone(), Table { removed, ..seen.table.clone() });
                }
            }
        }
        for (name, seen) in self.seen {
            found.entry(name).or_insert(seen.table);
        }
        found.into_values().filter(|table| !table.is_same()).collect()
    }

    fn is_wanted(&self, name: &str) -> bool {
        let is_alike = |only: &str| meant_of_parts(only, std::iter::once(name)) != Meant::Nothing;
        let fits = |only: &String| name == only || (self.before.named(only).is_none() && is_alike(only));
        self.only.as_ref().is_none_or(fits)
    }
}

fn compare(
    (old, part): (&KeptTable, &Part),
    new: &KeptTable,
    chunks: &mut Chunks<'_>,
    table: &mut Table,
    each: &mut Each<'_>,
) -> Result<(), Explained> {
    let pieces = part.pieces()?;
    if are_sorted_alike(part, &new.parts[0]) {
        return merge(Walk::new(old, part, pieces)?, Arriving::new(new, chunks), table, each);
    }
    look_up((old, part), new, chunks, table)
}

/// Which runs both have is known only when all have come: what came and is not known is kept until then. Without a key all
/// of a file is one run, of which no more than the beginning is passed over.
fn look_up(
    (old, part): (&KeptTable, &Part),
    new: &KeptTable,
    chunks: &mut Chunks<'_>,
    table: &mut Table,
) -> Result<(), Explained> {
    let (starts, mut pieces) = (part.files.starts()?, part.pieces()?);
    let mut expected = if part.sorted.is_empty() { starts.iter() } else { [].iter() };
    let known: HashSet<String> = match part.sorted.is_empty() {
        true => HashSet::new(),
        false => pieces.iter().map(|piece| piece.content.clone()).collect(),
    };
    let (own, others) = (Compared::of(new, &new.parts[0], old), Compared::of(old, part, new));
    let (mut shared, mut later) = (HashSet::new(), Unordered::default());
    let mut arriving = Arriving::new(new, chunks);
    let (mut rows, mut passed, mut is_counted) = (0, 0, false);
    while arriving.next()? {
        // A row in the midst of a chunk belongs to one that is not shared.
        let content = arriving.begun();
        let is_shared =
            |content: &String| known.contains(content) || expected.next().is_some_and(|next| next.content == *content);
        if let Some(content) = content.filter(is_shared) {
            let (more, length) = arriving.pass_over();
            (rows, passed) = (rows + more, passed + length);
            shared.insert(content);
            continue;
        }
        // What follows another beginning is not where it was.
        expected = [].iter();
        rows += 1;
        is_counted = is_counted || !later.add(arriving.digests(&own)?);
    }
    if is_counted {
        count_only(part.rows, rows, table);
        return Ok(());
    }
    match part.sorted.is_empty() {
        true => pieces.iter_mut().for_each(|piece| piece.range.start = passed),
        false => pieces.retain(|piece| !shared.contains(&piece.content)),
    }
    let mut walk = Walk::new(old, part, pieces)?;
    while walk.next()? {
        match later.take(walk.digests(&others)?) {
            Some(same) => table.changed += u64::from(!same),
            None => table.removed += 1,
        }
    }
    table.added += later.left();
    Ok(())
}

fn count(chunks: &mut Chunks<'_>) -> Result<u64, Explained> {
    let mut rows = 0;
    for chunk in chunks {
        rows += memchr::memchr_iter(b'\n', chunk?.bytes()).count() as u64;
    }
    Ok(rows)
}

/// Rows one after another.
struct Arriving<'a> {
    table: &'a KeptTable,
    chunks: Box<Chunks<'a>>,
    chunk: Option<Chunk>,
    /// Where in the chunk the next row begins.
    next: usize,
    /// The row is the first of its chunk, and all of it is there.
    begins: bool,
    fields: Vec<Field>,
    at: Option<Vec<Mark>>,
}

enum Field {
    /// In the chunk.
    Held(Range<usize>),
    /// Gone by: of a row that is longer than a chunk.
    Past(Image),
}

impl<'a> Arriving<'a> {
    fn new(table: &'a KeptTable, chunks: &'a mut Chunks<'_>) -> Self {
        Self { table, chunks: Box::new(chunks), chunk: None, next: 0, begins: false, fields: Vec::new(), at: None }
    }

    /// Goes to the next row.
    fn next(&mut self) -> Result<bool, Explained> {
        self.fields.clear();
        while self.rest().is_empty() {
            // Given back before the next is made.
            self.chunk = None;
            self.next = 0;
            self.chunk = self.chunks.next().transpose()?;
            if self.chunk.is_none() {
                return Ok(false);
            }
        }
        let Some(length) = memchr::memchr(b'\n', self.rest()) else {
            self.begins = false;
            self.go_by()?;
            return Ok(true);
        };
        let (mut start, end) = (self.next, self.next + length);
        let ends: Vec<usize> = memchr::memchr_iter(b'\t', &self.rest()[..length]).map(|at| self.next + at).collect();
        for field_end in ends.into_iter().chain([end]) {
            self.fields.push(Field::Held(start..field_end));
            start = field_end + 1;
        }
        self.begins = self.next == 0;
        self.next = end + 1;
        Ok(true)
    }

    /// What of the chunk was not gone through.
    fn rest(&self) -> &[u8] {
        self.chunk.as_ref().map_or(&[], |chunk| &chunk.bytes()[self.next..])
    }

    /// A row whose end is not in the chunk: only what its fields are is kept of it.
    fn go_by(&mut self) -> Result<(), Explained> {
        let mut painter = Painter::default();
        loop {
            let rest = self.rest();
            let Some(at) = memchr::memchr2(b'\t', b'\n', rest) else {
                painter.add(rest);
                (self.chunk, self.next) = (None, 0);
                self.chunk = self.chunks.next().transpose()?;
                if self.chunk.is_none() {
                    // Rows whose last one has no end.
                    self.fields.push(Field::Past(painter.image()));
                    return Ok(());
                }
                continue;
            };
            painter.add(&rest[..at]);
            let is_end = rest[at] == b'\n';
            self.next += at + 1;
            self.fields.push(Field::Past(std::mem::take(&mut painter).image()));
            if is_end {
                return Ok(());
            }
        }
    }

    /// What the chunk consists of that it stands at the beginning of; nothing anywhere else.
    fn begun(&self) -> Option<String> {
        let chunk = self.chunk.as_ref().filter(|chunk| self.begins && chunk.bytes().ends_with(b"\n"))?;
        Some(format!("{} 0 {}", chunk.digest(), chunk.bytes().len()))
    }

    /// Passes over the chunk it stands at the beginning of: so many rows, and bytes.
    fn pass_over(&mut self) -> (u64, u64) {
        let Some(chunk) = self.chunk.take() else { return (0, 0) };
        self.next = 0;
        (memchr::memchr_iter(b'\n', chunk.bytes()).count() as u64, chunk.bytes().len() as u64)
    }

    /// A field as it stands in the row; nothing of one that is too long.
    fn field(&self, field: usize) -> Option<&[u8]> {
        match self.fields.get(field)? {
            Field::Held(range) => self.chunk.as_ref().map(|chunk| &chunk.bytes()[range.clone()]),
            Field::Past(image) => image.bytes(),
        }
    }

    fn image(&self, field: usize) -> Image {
        match self.fields.get(field) {
            Some(Field::Past(image)) => image.clone(),
            Some(Field::Held(_)) => Image::of(self.field(field).unwrap_or_default()),
            None => Image::of(EMPTY),
        }
    }

    fn digests(&self, compared: &Compared) -> Result<Digests, Explained> {
        compared.digests(|field| Ok(self.image(field)))
    }

    fn part(&self) -> &'a Part {
        &self.table.parts[0]
    }

    fn marks(&self) -> Option<Vec<Mark>> {
        let mark =
            |(column, order): &(usize, Order)| order.mark(&unescaped(self.field(self.part().fields[*column]?)?)?);
        self.part().sorting.as_deref()?.iter().map(mark).collect()
    }
}

impl Later for Arriving<'_> {
    fn at(&self) -> Option<&Vec<Mark>> {
        self.at.as_ref()
    }

    fn step(&mut self) -> Result<(), Explained> {
        self.at = None;
        while self.at.is_none() && self.next()? {
            self.at = self.marks();
        }
        Ok(())
    }

    fn row(&mut self, change: RowChange, columns: Vec<String>) -> Result<Row, Explained> {
        let value = |(at, _): &(usize, Order)| {
            let text = self.part().fields[*at].and_then(|field| unescaped(self.field(field)?));
            shown(text.map_or(Value::Null, |text| self.table.kinds[*at].value(&text)))
        };
        let key = self.part().sorting.as_deref().unwrap_or_default().iter().map(value).collect();
        Ok(Row { change, key, columns })
    }

    fn differ(&mut self, earlier: &mut Walk<'_>) -> Result<Vec<String>, Explained> {
        earlier.differing((self.table, self.part()), |scan, field, other| match self.fields.get(other) {
            Some(Field::Held(_)) => scan.holds(field, self.field(other).unwrap_or_default()),
            Some(Field::Past(image)) => Ok(scan.image(field)? == *image),
            None => Ok(false),
        })
    }

    fn leap(&mut self, earlier: &mut Walk<'_>) -> Result<bool, Explained> {
        let leaps = match self.begun() {
            Some(content) => earlier.leap(&content)?,
            None => false,
        };
        if leaps {
            self.pass_over();
            self.step()?;
        }
        Ok(leaps)
    }
}

/// The files of a table that lies nowhere: its rows arrive, and are not looked up.
pub(super) struct Elsewhere;

impl Files for Elsewhere {
    fn rows(&self) -> Result<Arc<dyn RandomRead>, Explained> {
        panic!("BUG: rows that arrive are not looked up")
    }

    fn notes(&self) -> Result<Option<Arc<dyn RandomRead>>, Explained> {
        Ok(None)
    }

    fn starts(&self) -> Result<Vec<Start>, Explained> {
        Ok(Vec::new())
    }
}
