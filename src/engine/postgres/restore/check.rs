//! Reading back: is every table, byte for byte, what was captured?
//!
//! What the server gives is hashed as it was cut when it was captured; nothing is read from the snapshot for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::base::error::Explained;
use crate::base::id::PlainDigest;
use crate::engine::postgres::catalog;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::layout::{Column, Qualified, Table, literal, quoted};
use crate::engine::postgres::restore::crew::{self, Job};
use crate::engine::postgres::restore::dump::{Dump, Lines, Piece, Pieces};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::{Loaded, Options, PART, ReadBack, rows};
use crate::engine::postgres::segments::Segment;
use crate::engine::postgres::settings::Settings;
use crate::engine::postgres::split;

/// Reads tables back, but for those that were read and found to be the same.
pub fn rows(
    dump: &dyn Dump,
    tables: &[Table],
    same: &BTreeSet<Qualified>,
    sessions: &mut [Session],
    read_back: ReadBack,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
    if read_back == ReadBack::Skipped {
        return Ok(());
    }
    let mut parts = Vec::new();
    for table in tables.iter().filter(|table| !same.contains(&table.name)) {
        parts.extend(parts_of(dump, table)?);
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes.end - part.bytes.start));
    let differ = Mutex::new(BTreeSet::new());
    let jobs = parts.into_iter().map(|what| Job { needs: Vec::new(), what });
    crew::work(sessions, jobs, |session, part| {
        let select = select(session, &part)?;
        if !holds(dump, session, &part, &select)? {
            differ.lock().expect("BUG: nothing panics while holding it").insert(part.table.name.shown());
        }
        Ok(())
    })?;
    let differ: Vec<String> = differ.into_inner().unwrap_or_default().into_iter().collect();
    if !differ.is_empty() && read_back == ReadBack::Must {
        return Err(LoadError::Differs { tables: differ });
    }
    loaded.checked = (tables.len() - differ.len()) as u64;
    loaded.differ = differ;
    Ok(())
}

/// The tables that a live database does not give as they were captured, and those it has beyond them.
pub fn changed(dump: &dyn Dump, live: &Settings, options: &Options) -> Result<Vec<String>, LoadError> {
    let tables = super::tables(dump, &options.what)?;
    let first = super::connect(live, options)?;
    let mut sessions = super::crew(first, live, options)?;
    let columns_of = |columns: &[Column]| -> BTreeSet<(String, String)> {
        columns.iter().map(|column| (column.name.clone(), column.kind.clone())).collect()
    };
    let relations = catalog::relations(&mut sessions[0], None)?.into_iter();
    let mut there: BTreeMap<String, _> =
        relations.map(|relation| (relation.name.shown(), columns_of(&relation.columns))).collect();
    // Rows are compared only where they have the same columns.
    let is_comparable = |table: &Table| there.get(&table.name.shown()) == Some(&columns_of(&table.columns));
    let (both, others): (Vec<Table>, Vec<Table>) = tables.into_iter().partition(is_comparable);
    both.iter().for_each(|table| _ = there.remove(&table.name.shown()));
    let names: BTreeSet<String> = others.iter().map(|table| table.name.shown()).chain(there.into_keys()).collect();
    let mut changed = Vec::from_iter(names);
    let mut loaded = Loaded::default();
    rows(dump, &both, &BTreeSet::new(), &mut sessions, ReadBack::Told, &mut loaded)?;
    changed.extend(loaded.differ);
    changed.sort();
    Ok(changed)
}

/// Rows of a table whose keys lie together.
struct Part<'t> {
    table: &'t Table,
    /// Where they are in its file.
    bytes: Range<u64>,
    /// Which they are; none where it is all of them.
    condition: Option<String>,
}

impl<'t> Part<'t> {
    fn whole(table: &'t Table) -> Self {
        Self { table, bytes: 0..u64::MAX, condition: None }
    }
}

/// Where a part begins in its file, and its first key as SQL has it.
type Begin = (u64, String);

/// A table whose keys the server finds by an index is looked at in parts, by several connections.
fn parts_of<'t>(dump: &dyn Dump, table: &'t Table) -> Result<Vec<Part<'t>>, LoadError> {
    let kinds: Vec<&str> = table.key.iter().filter_map(|name| kind_of(table, name)).collect();
    if table.bytes < 2 * PART || table.condition.is_some() || kinds.len() != table.key.len() || kinds.is_empty() {
        return Ok(vec![Part::whole(table)]);
    }
    let (mut begins, mut at, mut last) = (Vec::new(), 0u64, 0u64);
    let mut segments = Lines::of(dump, &table.name.segments_path())?;
    while let Some(segment) = segments.line::<Segment>()? {
        let key = segment.first.filter(|key| key.len() == kinds.len() && key.iter().all(|field| !field.contains('\\')));
        if let (Some(key), true) = (key, at - last >= PART) {
            let fields = key.iter().zip(&kinds).map(|(field, kind)| format!("{}::{kind}", literal(field)));
            begins.push((at, format!("({})", fields.collect::<Vec<_>>().join(", "))));
            last = at;
        }
        at += segment.bytes;
    }
    let key = format!("({})", table.key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "));
    let bounds = std::iter::once(None).chain(begins.iter().map(Some));
    let ends = begins.iter().map(Some).chain(std::iter::once(None));
    let part = |(from, to): (Option<&Begin>, Option<&Begin>)| {
        let conditions = [from.map(|(_, from)| format!("{key} >= {from}")), to.map(|(_, to)| format!("{key} < {to}"))];
        let conditions: Vec<String> = conditions.into_iter().flatten().collect();
        let bytes = from.map_or(0, |(at, _)| *at)..to.map_or(u64::MAX, |(at, _)| *at);
        let condition = (!conditions.is_empty()).then(|| conditions.join(" AND "));
        Part { bytes, condition, ..Part::whole(table) }
    };
    Ok(bounds.zip(ends).map(part).collect())
}

/// The type of a column whose values an index finds in the order of the file: texts may have another there.
fn kind_of<'t>(table: &'t Table, name: &str) -> Option<&'t str> {
    let kind = table.columns.iter().find(|column| column.name == *name)?.kind.as_str();
    let is_text = kind.starts_with("text") || kind.starts_with("character");
    (split::plain(kind) && !is_text).then_some(kind)
}

/// A table that was found to be what was captured while others were still being filled.
pub struct ReadEarly {
    pub table: Qualified,
    /// Which transaction has written its rows.
    writer: String,
}

/// Does a table give the very bytes of its file in the order its rows lie in? That is the order in which one connection
/// put them there, mostly; sorting them, or looking them up by an index, takes half as long again.
pub fn as_it_lies(dump: &dyn Dump, session: &mut Session, table: &Table) -> Result<Option<ReadEarly>, LoadError> {
    if !holds(dump, session, &Part::whole(table), &rows::target(table))? {
        return Ok(None);
    }
    let writer = session.query(&format!("SELECT xmin::text FROM ONLY {} LIMIT 1", table.name.quoted()), &[])?;
    let writer = writer.first().map(|row| row.get(0));
    Ok(writer.map(|writer| ReadEarly { table: table.name.clone(), writer }))
}

/// Those of them that nobody has written to since: as many rows, by the same transaction, deleted or locked by none.
pub fn untouched(
    tables: &[Table],
    read: Vec<ReadEarly>,
    sessions: &mut [Session],
) -> Result<BTreeSet<Qualified>, LoadError> {
    let known: HashMap<&Qualified, &Table> = tables.iter().map(|table| (&table.name, table)).collect();
    let same = Mutex::new(BTreeSet::new());
    let jobs = read.into_iter().map(|what| Job { needs: Vec::new(), what });
    crew::work(sessions, jobs, |session, read| {
        let table = known[&read.table];
        let is_own = format!("xmin = '{}'::xid AND xmax = '0'::xid", read.writer);
        let sql = format!("SELECT count(*), count(*) FILTER (WHERE {is_own}) FROM ONLY {}", table.name.quoted());
        let found = &session.query(&sql, &[])?[0];
        if [0, 1].iter().all(|at| u64::try_from(found.get::<_, i64>(*at)).is_ok_and(|found| found == table.rows)) {
            same.lock().expect("BUG: nothing panics while holding it").insert(read.table);
        }
        Ok(())
    })?;
    Ok(same.into_inner().expect("BUG: nothing panics while holding it"))
}

/// Does the database give the very bytes of this part of a table's file?
fn holds(dump: &dyn Dump, session: &mut Session, part: &Part<'_>, what: &str) -> Result<bool, LoadError> {
    let sql = format!("COPY {what} TO STDOUT (FORMAT text, ENCODING '{}')", rows::encoding(dump));
    let pieces = within(dump.pieces(&part.table.path)?, part.bytes.clone());
    let mut comparison = Comparison { pieces, piece: None, digest: Sha256::new(), same: true };
    let mut failed = None;
    session.copy_out(&sql, |bytes| {
        let done = comparison.take(&bytes);
        let goes_on = matches!(done, Ok(true));
        failed = done.err();
        goes_on
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(comparison.ends()?),
    }
}

/// The pieces that begin in a run of bytes: parts begin where pieces do.
fn within(pieces: Pieces<'_>, bytes: Range<u64>) -> Pieces<'_> {
    let mut at = 0;
    Box::new(pieces.filter_map(move |piece| {
        let begin = at;
        at += piece.as_ref().map_or(0, |piece| piece.length);
        (piece.is_err() || bytes.contains(&begin)).then_some(piece)
    }))
}

/// The rows in the order of their file.
fn select(session: &mut Session, part: &Part<'_>) -> Result<String, LoadError> {
    let table = part.table;
    let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let mut sql = format!("(SELECT {} FROM ONLY {}", names.join(", "), table.name.quoted());
    match (&table.condition, &part.condition) {
        (Some(_), _) => sql += &format!(" {}", left_to_users(session, table)?),
        (None, Some(condition)) => sql += &format!(" WHERE {condition}"),
        (None, None) => {}
    }
    if !table.key.is_empty() {
        let collated = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attcollation <> 0";
        let rows = session.query(collated, &[&table.name.quoted()])?;
        let collated: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let column = |name: &String| match collated.contains(name) {
            true => format!("{} COLLATE \"C\"", quoted(name)),
            false => quoted(name),
        };
        sql += &format!(" ORDER BY {}", table.key.iter().map(column).collect::<Vec<_>>().join(", "));
    }
    sql.push(')');
    Ok(sql)
}

/// Which rows of a configuration table its extension leaves to users, as the server has it: what a snapshot says of that
/// is no part of a query.
fn left_to_users(session: &mut Session, table: &Table) -> Result<String, LoadError> {
    let sql = "SELECT coalesce(e.extcondition[array_position(e.extconfig, to_regclass($1)::oid)], '') \
               FROM pg_extension e WHERE to_regclass($1)::oid = ANY (e.extconfig)";
    Ok(session.query(sql, &[&table.name.quoted()])?.first().map_or_else(String::new, |row| row.get(0)))
}

struct Comparison<'d> {
    pieces: Pieces<'d>,
    /// The piece that is being hashed, with what of it is still to come.
    piece: Option<Piece>,
    digest: Sha256,
    same: bool,
}

impl Comparison<'_> {
    fn next(&mut self) -> Result<bool, Explained> {
        self.piece = self.pieces.next().transpose()?;
        Ok(self.piece.is_some())
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<bool, Explained> {
        while self.same && !bytes.is_empty() {
            if self.piece.is_none() && !self.next()? {
                self.same = false;
                break;
            }
            let piece = self.piece.as_mut().expect("BUG: just looked");
            let (now, rest) = bytes.split_at(bytes.len().min(piece.length as usize));
            self.digest.update(now);
            piece.length -= now.len() as u64;
            bytes = rest;
            if piece.length == 0 {
                let found = PlainDigest::from_bytes(self.digest.finalize_reset().into());
                // What has no digest of its own was counted, at least.
                self.same = piece.digest.is_none_or(|digest| digest == found);
                self.piece = None;
            }
        }
        Ok(self.same)
    }

    fn ends(mut self) -> Result<bool, Explained> {
        Ok(self.same && self.piece.is_none() && !self.next()?)
    }
}
