//! Which rows a transaction touches, whoever touches them: triggers of the app's, and what follows of those.
//!
//! Owns a temporary trigger on every table, which notes what a row held before it changes. A temporary trigger is the
//! first of its table to fire, so the first note on a row is what it held when the transaction began. Notes are temporary
//! tables in a file that has no name: they go with the connection, and cost no memory. Virtual tables and what belongs to
//! them carry no triggers.

use rusqlite::Connection;

use crate::base::error::Explained;
use crate::base::record::{EachTouched, Table, Touched, Unique};
use crate::engine::sqlite::facts::quoted;
use crate::engine::sqlite::records::read::{collation, list, values_of};
use crate::engine::sqlite::records::schema;

/// The tables that are watched, each with a number.
#[derive(Default)]
pub struct Watch {
    tables: Vec<Table>,
    /// How many rows each had.
    rows: Vec<i64>,
}

impl Watch {
    /// Where notes are kept is decided before a transaction begins.
    pub fn prepare(connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch("PRAGMA temp_store = FILE")
    }

    /// Watches every table from now on, if one of those that are written has triggers.
    pub fn begin(connection: &Connection, written: &[String]) -> rusqlite::Result<Self> {
        let tables = schema::tables(connection)?;
        if !tables.iter().any(|table| written.contains(&table.name) && !table.triggers.is_empty()) {
            return Ok(Self::default());
        }
        let mut rows = Vec::new();
        for (number, table) in tables.iter().enumerate() {
            connection.execute_batch(&statements(number, table))?;
            let count = format!("SELECT count(*) FROM main.{}", quoted(&table.name));
            rows.push(connection.query_row(&count, [], |row| row.get(0))?);
        }
        Ok(Self { tables, rows })
    }

    /// Does the table have as many rows as it has by what was noted? A row that another one takes the place of goes without a
    /// trigger, and is noted only where what they have in common is known: not an expression, nor letters of another case.
    pub fn is_whole(&self, connection: &Connection, table: &Table) -> rusqlite::Result<bool> {
        let Some(number) = self.tables.iter().position(|watched| watched.name == table.name) else { return Ok(true) };
        let key = table.key.iter().map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
        let same = |at: &usize| format!("main.{}.{} = c{at}", quoted(&table.name), quoted(&table.columns[*at].name));
        let same = table.key.iter().map(same).collect::<Vec<_>>().join(" AND ");
        let (name, notes) = (quoted(&table.name), format!("temp.strongroom_touched_{number}"));
        let sql = format!(
            "SELECT (SELECT count(*) FROM main.{name}) = ?1 + total(EXISTS (SELECT 1 FROM main.{name} WHERE {same}) - was) \
             FROM {notes} WHERE n IN (SELECT min(n) FROM {notes} GROUP BY {key})"
        );
        connection.query_row(&sql, [self.rows[number]], |row| row.get(0))
    }

    /// Takes the triggers and their notes away.
    pub fn end(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.rows.clear();
        for (number, _) in self.tables.drain(..).enumerate() {
            let triggers = TRIGGERS.map(|when| format!("DROP TRIGGER temp.strongroom_{when}_{number};")).concat();
            connection.execute_batch(&format!("{triggers} DROP TABLE temp.strongroom_touched_{number}"))?;
        }
        Ok(())
    }

    /// The rows of a table that were touched, and what each held when it first was.
    pub fn touched(
        &self,
        connection: &Connection,
        table: &Table,
        fail: &dyn Fn(rusqlite::Error) -> Explained,
        each: &mut EachTouched<'_>,
    ) -> Result<(), Explained> {
        let Some(number) = self.tables.iter().position(|watched| watched.name == table.name) else { return Ok(()) };
        let key = table.key.iter().map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
        let columns = (0..table.columns.len()).map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT {columns}, was FROM temp.strongroom_touched_{number} \
             WHERE n IN (SELECT min(n) FROM temp.strongroom_touched_{number} GROUP BY {key}) ORDER BY n"
        );
        let mut statement = connection.prepare(&sql).map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        while let Some(found) = rows.next().map_err(fail)? {
            let row = values_of(found, table.columns.len()).map_err(fail)?;
            let was: bool = found.get(table.columns.len()).map_err(fail)?;
            each(Touched { key: table.key_of(&row), row: was.then_some(row) })?;
        }
        Ok(())
    }
}

/// The last part of the names of a table's triggers.
const TRIGGERS: [&str; 4] = ["before_insert", "after_insert", "update", "delete"];

fn statements(number: usize, table: &Table) -> String {
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let places = |columns: &[usize]| columns.iter().map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
    let of = |which: &str, columns: &[usize]| {
        let one = |at: &usize| format!("{which}.{}", quoted(&table.columns[*at].name));
        columns.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let (notes, name) = (format!("strongroom_touched_{number}"), quoted(&table.name));
    let was = format!("INSERT INTO {notes} (was, {}) SELECT 1, {};", places(&all), of("OLD", &all));
    let is_new = format!("INSERT INTO {notes} (was, {}) SELECT 0, {}", places(&table.key), of("NEW", &table.key));
    // What a new row takes the place of, where that is how the app writes, goes without a trigger.
    let replaced = |one: &Unique| {
        let same = |(place, at): (usize, &usize)| {
            let (column, collation) =
                (quoted(&table.columns[*at].name), one.letters.get(place).copied().map(collation));
            format!("{column} = NEW.{column}{}", collation.unwrap_or_default())
        };
        let same = one.columns.iter().enumerate().map(same).collect::<Vec<_>>().join(" AND ");
        format!("INSERT INTO {notes} (was, {}) SELECT 1, {} FROM {name} WHERE {same};", places(&all), list(table, &all))
    };
    let key = Unique { columns: table.key.clone(), ..Unique::default() };
    let replaced = table.unique.iter().chain([&key]).map(replaced).collect::<Vec<_>>().concat();
    let moved = |at: &usize| format!("OLD.{column} IS NOT NEW.{column}", column = quoted(&table.columns[*at].name));
    let moved = table.key.iter().map(moved).collect::<Vec<_>>().join(" OR ");
    let bodies = [
        format!("BEFORE INSERT ON main.{name} BEGIN {replaced}"),
        format!("AFTER INSERT ON main.{name} BEGIN {is_new};"),
        format!("BEFORE UPDATE ON main.{name} BEGIN {was} {replaced} {is_new} WHERE {moved};"),
        format!("BEFORE DELETE ON main.{name} BEGIN {was}"),
    ];
    let trigger = |(when, body): (&str, String)| format!("CREATE TEMP TRIGGER strongroom_{when}_{number} {body} END;");
    let triggers: String = TRIGGERS.into_iter().zip(bodies).map(trigger).collect();
    format!("CREATE TEMP TABLE {notes} (n INTEGER PRIMARY KEY, was, {}); {triggers}", places(&all))
}
