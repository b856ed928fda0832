//! Which rows of a table have to be read to find those that differ.
//!
//! Rows outside of the ranges are the same in both databases, under the same numbers. What leads a comparison is then read
//! within the ranges only; what it is compared with is looked up by its key, wherever it is. That finds just what reading
//! everything finds, where no two rows of a database have the same key. Where that is not certain, all rows are read.

use std::collections::HashSet;

use crate::engine::sqlite::ask::{AskError, Session};
use crate::engine::sqlite::beside::{Beside, Survey};
use crate::engine::sqlite::facts::quoted;
use crate::engine::sqlite::rows::{BEFORE, Shape};

/// More ranges are joined with their neighbours.
const MOST_RANGES: usize = 4_000;

/// The rows to read.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    All,
    /// Those within these ranges, one after the other: the row's number, by this name, is the key.
    InTurn(&'static str, Vec<(i64, i64)>),
    /// Those within these ranges, in the order of their keys.
    Together(&'static str, Vec<(i64, i64)>),
}

impl Part {
    /// What is joined in front of the table.
    pub fn ranges(&self) -> String {
        let Self::Together(_, ranges) = self else { return String::new() };
        let values: Vec<String> = ranges.iter().map(|(low, high)| format!("({low}, {high})")).collect();
        format!("(VALUES {}) AS ranges CROSS JOIN", values.join(", "))
    }

    /// The condition on rows, with what joins others to it.
    pub fn within(&self) -> String {
        match self {
            Self::All => String::new(),
            Self::InTurn(number, _) => format!("b.{number} BETWEEN ?1 AND ?2 AND"),
            Self::Together(number, _) => format!("b.{number} BETWEEN ranges.column1 AND ranges.column2 AND"),
        }
    }

    /// The values of the statement's parameters, each time it is to run.
    pub fn values(&self) -> Vec<Vec<i64>> {
        match self {
            Self::InTurn(_, ranges) => ranges.iter().map(|(low, high)| vec![*low, *high]).collect(),
            _ => vec![Vec::new()],
        }
    }

    fn nothing() -> Self {
        Self::InTurn("rowid", Vec::new())
    }
}

/// A table as the schema has it.
#[derive(PartialEq)]
struct Stored {
    root: u32,
    sql: String,
}

impl Session {
    /// What the pages tell of both databases, if they are such that it can be relied on.
    pub(super) fn survey(&self, pages: &Beside, after: &str) -> Result<Option<Survey>, AskError> {
        let (old, new) = (self.roots(BEFORE)?, self.roots(after)?);
        Ok(pages.survey([&old, &new]))
    }

    fn roots(&self, schema: &str) -> Result<HashSet<u32>, AskError> {
        let fail = |error| self.explain(error);
        let sql = format!("SELECT rootpage FROM {}.sqlite_schema WHERE rootpage > 0", quoted(schema));
        let mut statement = self.connection.prepare(&sql).map_err(fail)?;
        let roots = statement.query_map([], |row| row.get(0)).map_err(fail)?;
        // The schema's own is the first page.
        roots.chain([Ok(1)]).collect::<Result<_, _>>().map_err(fail)
    }

    /// Which rows of a table that both have must be read.
    pub(super) fn part(
        &self,
        name: &str,
        old: &Shape,
        new: &Shape,
        after: &str,
        survey: &Survey,
    ) -> Result<Part, AskError> {
        let (before, now) = (self.stored(BEFORE, name)?, self.stored(after, name)?);
        // The same bytes are the same row only under the same words.
        let Some(stored) = before.filter(|before| now.as_ref() == Some(before)) else { return Ok(Part::All) };
        if old.without_rowid || new.without_rowid {
            let same = survey.is_same_index(stored.root) == Some(true);
            return Ok(if same { Part::nothing() } else { Part::All });
        }
        let (Some(mut ranges), Some(number)) = (survey.rows(stored.root), old.number) else { return Ok(Part::All) };
        if ranges.is_empty() {
            return Ok(Part::nothing());
        }
        while ranges.len() > MOST_RANGES {
            ranges = ranges.chunks(2).map(|pair| (pair[0].0, pair[pair.len() - 1].1)).collect();
        }
        if !self.has_key_index(BEFORE, name)? {
            // The key is the row's number, under whatever name, unless a column has taken that name.
            let taken = old.key == ["rowid"] && number != "rowid";
            return Ok(if taken { Part::All } else { Part::InTurn(number, ranges) });
        }
        let is_unique = !stored.sql.to_ascii_lowercase().contains("collate")
            && self.has_no_null(BEFORE, name, old)?
            && self.has_no_null(after, name, old)?;
        Ok(if is_unique { Part::Together(number, ranges) } else { Part::All })
    }

    fn stored(&self, schema: &str, table: &str) -> Result<Option<Stored>, AskError> {
        let fail = |error| self.explain(error);
        let sql =
            format!("SELECT rootpage, sql FROM {}.sqlite_schema WHERE type = 'table' AND name = ?", quoted(schema));
        let mut statement = self.connection.prepare(&sql).map_err(fail)?;
        let mut found = statement.query([table]).map_err(fail)?;
        let Some(row) = found.next().map_err(fail)? else { return Ok(None) };
        Ok(Some(Stored { root: row.get(0).map_err(fail)?, sql: row.get(1).map_err(fail)? }))
    }

    /// Does an index stand for the primary key? None does for one that is the row's number.
    fn has_key_index(&self, schema: &str, table: &str) -> Result<bool, AskError> {
        let sql = "SELECT count(*) FROM pragma_index_list(?, ?) WHERE origin = 'pk'";
        let count = self.connection.query_row(sql, (table, schema), |row| row.get::<_, i64>(0));
        count.map(|count| count > 0).map_err(|error| self.explain(error))
    }

    /// Rows may have no key at all, several of them.
    fn has_no_null(&self, schema: &str, table: &str, shape: &Shape) -> Result<bool, AskError> {
        match (&shape.nullable[..], &shape.key[..]) {
            ([], _) => Ok(true),
            ([column], [_]) => {
                let table = format!("{}.{}", quoted(schema), quoted(table));
                let sql = format!("SELECT NOT EXISTS (SELECT 1 FROM {table} WHERE {} IS NULL)", quoted(column));
                self.connection.query_row(&sql, [], |row| row.get(0)).map_err(|error| self.explain(error))
            }
            // It would take reading the whole index.
            _ => Ok(false),
        }
    }
}
