//! A live database whose rows are changed, in one transaction, while apps have it open.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use crate::base::error::{Explained, reason};
use crate::base::record::{Change, EachTouched, Ended, Rules, Table, Value};
use crate::engine::sqlite::apply::patience;
use crate::engine::sqlite::facts::quoted;
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::records::error::RecordsError;
use crate::engine::sqlite::records::read::{Rows, list};
use crate::engine::sqlite::records::schema;
use crate::engine::sqlite::records::watch::Watch;

/// A live database.
pub struct Live {
    connection: Connection,
    file: DatabaseFile,
    wait: Duration,
    /// References are checked when a transaction ends, not with each row.
    pub deferring: bool,
    /// They are checked at all, and rows that refer to one that goes are looked after.
    checking: bool,
    /// What is touched where triggers fire.
    watch: Watch,
    /// Whose statements give way to nothing that a table says of conflicts.
    strict: Strict,
    /// There is no such file yet: it is made when something is written.
    is_new: bool,
}

impl Live {
    /// Opens a database that is there. Its path leads through no link.
    pub fn open(path: &Path, wait: Duration) -> Result<Self, RecordsError> {
        Self::open_file(file(path)?, wait)
    }

    fn open_file(file: DatabaseFile, wait: Duration) -> Result<Self, RecordsError> {
        let path = file.shown().to_owned();
        let failed = |error: rusqlite::Error| RecordsError::of(path.clone(), wait, None, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = file.connect(flags).map_err(failed)?;
        let mut live = Self {
            connection,
            file,
            wait,
            deferring: true,
            checking: true,
            watch: Watch::default(),
            strict: Strict::All,
            is_new: false,
        };
        live.prepare().map_err(failed)?;
        Ok(live)
    }

    /// A database that is not there, and will be once something is written to it. Until then nothing is made.
    pub fn open_new(path: &Path, wait: Duration) -> Result<Self, RecordsError> {
        let failed = |error: rusqlite::Error| RecordsError::of(path.to_owned(), wait, None, &error);
        let connection = Connection::open_in_memory().map_err(failed)?;
        let (file, watch, strict) = (file(path)?, Watch::default(), Strict::All);
        Ok(Self { connection, file, wait, deferring: true, checking: true, watch, strict, is_new: true })
    }

    /// Makes the file, for its owner only.
    fn come_into_being(&mut self) -> Result<(), RecordsError> {
        let made = File::options().write(true).create_new(true).mode(0o600).open(self.file.path());
        made.map_err(|error| unusable(self.path(), &error))?;
        *self = Self { is_new: true, ..Self::open_file(self.file.clone(), self.wait)? };
        Ok(())
    }

    fn prepare(&mut self) -> rusqlite::Result<()> {
        self.connection.busy_handler(Some(patience(self.wait)))?;
        self.connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16000")?;
        // A file that is no database is found out now.
        self.connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    }

    pub fn path(&self) -> &Path {
        self.file.shown()
    }

    fn failed(&self, table: Option<&str>, error: &rusqlite::Error) -> Explained {
        Box::new(RecordsError::of(self.path().to_owned(), self.wait, table, error))
    }

    /// Runs a statement on one table's rows; how many it touched.
    fn run(&self, table: &Table, sql: &str, values: &mut dyn Iterator<Item = &Value>) -> Result<usize, Explained> {
        let run = || self.connection.prepare_cached(sql)?.execute(params_from_iter(values));
        run().map_err(|error| self.failed(Some(&table.name), &error))
    }
}

/// Of which tables a row is refused that stands in another one's way. A table may say that the other one goes, or that
/// nothing is written: both would be silent.
enum Strict {
    All,
    /// Those that say so. What a statement says of conflicts holds for the triggers it fires as well, and apps count on what
    /// theirs say.
    Named(BTreeSet<String>),
}

impl Strict {
    /// Where triggers fire. A table whose definition only has the word in it is no worse off.
    fn resolving(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND sql LIKE '%conflict%'";
        let names = connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Self::Named(names))
    }

    fn of(&self, table: &Table) -> &'static str {
        match self {
            Self::Named(names) if !names.contains(&table.name) => "",
            _ => "OR ABORT",
        }
    }
}

impl Rows for Live {
    fn label(&self) -> String {
        self.path().display().to_string()
    }

    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn explain(&self, error: rusqlite::Error) -> Explained {
        self.failed(None, &error)
    }
}

impl Change for Live {
    fn begin(&mut self, rules: Rules<'_>) -> Result<(), Explained> {
        if self.is_new && self.file.look().is_ok_and(|there| there.is_none()) {
            self.come_into_being().map_err(|error| Box::new(error) as Explained)?;
        }
        if rules.triggers {
            Watch::prepare(&self.connection).map_err(|error| self.failed(None, &error))?;
        }
        let begin = || {
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, rules.triggers)?;
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, rules.references)?;
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.connection.pragma_update(None, "defer_foreign_keys", self.deferring)?;
            match rules.triggers {
                true => Ok((Watch::begin(&self.connection, rules.tables)?, Strict::resolving(&self.connection)?)),
                false => Ok((Watch::default(), Strict::All)),
            }
        };
        match begin() {
            Ok((watch, strict)) => (self.watch, self.strict, self.checking) = (watch, strict, rules.references),
            Err(error) => {
                let error = self.failed(None, &error);
                self.roll_back();
                return Err(error);
            }
        }
        Ok(())
    }

    fn make(&mut self, statements: &[String]) -> Result<(), Explained> {
        let mut all = statements.iter();
        all.try_for_each(|sql| self.connection.execute_batch(sql)).map_err(|error| self.failed(None, &error))
    }

    fn touched(&self, table: &Table, each: &mut EachTouched<'_>) -> Result<(), Explained> {
        if !self.watch.is_whole(&self.connection, table).map_err(|error| self.failed(None, &error))? {
            let (path, table) = (self.path().to_owned(), table.name.clone());
            return Err(Box::new(RecordsError::Unnoted { path, table }));
        }
        self.watch.touched(&self.connection, table, &|error| self.failed(None, &error), each)
    }

    /// Virtual tables, and what belongs to them.
    fn unwatched(&self) -> Result<Vec<String>, Explained> {
        let sql = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'virtual' ORDER BY name";
        let names = || -> rusqlite::Result<Vec<String>> {
            self.connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        names().map_err(|error| self.failed(None, &error))
    }

    fn defers(&self) -> bool {
        self.deferring
    }

    fn cascades(&self) -> bool {
        self.checking
    }

    fn insert(&mut self, table: &Table, columns: &[usize], values: &[Value]) -> Result<(), Explained> {
        let marks = vec!["?"; columns.len()].join(", ");
        let (name, or) = (quoted(&table.name), self.strict.of(table));
        let sql = format!("INSERT {or} INTO main.{name} ({}) VALUES ({marks})", list(table, columns));
        self.run(table, &sql, &mut values.iter()).map(|_| ())
    }

    fn update(&mut self, table: &Table, key: &[Value], columns: &[usize], values: &[Value]) -> Result<bool, Explained> {
        let set = |&at: &usize| format!("{} = ?", quoted(&table.columns[at].name));
        let set = columns.iter().map(set).collect::<Vec<_>>().join(", ");
        let (name, or) = (quoted(&table.name), self.strict.of(table));
        let sql = format!("UPDATE {or} main.{name} SET {set} WHERE {}", is_key(table));
        Ok(self.run(table, &sql, &mut values.iter().chain(key))? > 0)
    }

    fn delete(&mut self, table: &Table, key: &[Value]) -> Result<bool, Explained> {
        let sql = format!("DELETE FROM main.{} WHERE {}", quoted(&table.name), is_key(table));
        Ok(self.run(table, &sql, &mut key.iter())? > 0)
    }

    fn converted(&self, table: &Table, column: usize, value: &Value) -> Result<Value, String> {
        let column = &table.columns[column];
        schema::converted(&column.kind, value).ok_or_else(|| format!("{value} is no {}", column.kind))
    }

    fn next_number(&self, table: &Table, column: usize) -> Result<i64, Explained> {
        let ask = || {
            let sql = format!("SELECT max({}) FROM main.{}", list(table, &[column]), quoted(&table.name));
            let held: Option<i64> = self.connection.query_row(&sql, [], |row| row.get(0))?;
            let counts = "SELECT count(*) FROM main.sqlite_schema WHERE name = 'sqlite_sequence'";
            let given: Option<i64> = match self.connection.query_row(counts, [], |row| row.get::<_, i64>(0))? {
                0 => None,
                _ => self.connection.query_row(
                    "SELECT max(seq) FROM main.sqlite_sequence WHERE name = ? COLLATE NOCASE",
                    [&table.name],
                    |row| row.get(0),
                )?,
            };
            Ok(held.max(given).unwrap_or(0).saturating_add(1))
        };
        ask().map_err(|error| self.failed(None, &error))
    }

    /// What waits for readers of the database waits now.
    fn ready(&mut self) -> Result<(), Explained> {
        self.connection.cache_flush().map_err(|error| self.failed(None, &error))
    }

    fn commit(&mut self) -> Result<Ended, Explained> {
        self.watch.end(&self.connection).map_err(|error| self.failed(None, &error))?;
        let done = self.connection.execute_batch("COMMIT").map_err(|error| self.failed(None, &error));
        done.map(|()| Ended::ForGood)
    }

    fn roll_back(&mut self) {
        // A transaction that SQLite has taken back by itself is none any more.
        let _ = self.connection.execute_batch("ROLLBACK");
        // What was temporary went with it.
        self.watch = Watch::default();
        // A file that was made for this and holds nothing is no database.
        if self.is_new && self.file.look().is_ok_and(|there| there.is_some_and(|there| there.st_size == 0)) {
            let _ = std::fs::remove_file(self.file.path());
        }
    }
}

/// By the name that is in use, whichever is named.
fn file(path: &Path) -> Result<DatabaseFile, RecordsError> {
    let file = DatabaseFile::direct(path).map_err(|error| unusable(path, &error))?.in_use();
    match file.doubt() {
        None => Ok(file),
        Some(doubt) => Err(RecordsError::Sqlite { path: path.to_owned(), reason: format!("it {doubt}") }),
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> RecordsError {
    RecordsError::Sqlite { path: path.to_owned(), reason: reason(error) }
}

fn is_key(table: &Table) -> String {
    let is = |&at: &usize| format!("{} = ?", quoted(&table.columns[at].name));
    table.key.iter().map(is).collect::<Vec<_>>().join(" AND ")
}
