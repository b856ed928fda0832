//! A live database as one moment saw it, while others write on.
//!
//! Owns opening for reading and the read transactions. Never writes: what any reader does that comes after a crash,
//! rolling back what was not committed, SQLite does for this one too.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::engine::sqlite::error::SqliteError;
use crate::engine::sqlite::file::DatabaseFile;

/// How long a reader waits for a writer that keeps it out. With a write-ahead log none does.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often two transactions are begun anew until they see the same moment.
const TRIES: usize = 200;

/// One moment of a database, which lasts while the reader is there.
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) file: DatabaseFile,
}

/// Begins to read a database, with two readers of the same moment, so that two threads can read; with one where a
/// second cannot be had.
pub fn open(file: &DatabaseFile) -> Result<(Reader, Option<Reader>), SqliteError> {
    let first = Reader::connect(file)?;
    first.check_build()?;
    let second = Reader::connect(file).ok();
    let second = match second {
        Some(second) if same_moment(&first, &second)? => Some(second),
        _ => {
            first.begin()?;
            None
        }
    };
    Ok((first, second))
}

impl Reader {
    /// Opens for reading what others may be writing.
    fn connect(file: &DatabaseFile) -> Result<Self, SqliteError> {
        let fail = |error| SqliteError::of(file.shown(), error);
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Joining a write-ahead log means writing to the index beside it.
        let connection = file
            .connect(flags | OpenFlags::SQLITE_OPEN_READ_WRITE)
            .or_else(|_| file.connect(flags | OpenFlags::SQLITE_OPEN_READ_ONLY))
            .map_err(fail)?;
        connection.busy_timeout(PATIENCE).map_err(fail)?;
        // A log that others left is left to others.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, file.companion("-wal").has_content())
            .map_err(fail)?;
        // Pages can be read even where the schema cannot.
        let settings = "PRAGMA query_only = ON; PRAGMA writable_schema = ON; PRAGMA temp_store = MEMORY";
        connection.execute_batch(settings).map_err(fail)?;
        Ok(Self { connection, file: file.clone() })
    }

    /// What people call it.
    pub(super) fn path(&self) -> &Path {
        self.file.shown()
    }

    /// The transaction begins with the first thing that is read.
    fn begin(&self) -> Result<(), SqliteError> {
        self.batch("BEGIN")?;
        self.number("PRAGMA schema_version").map(|_| ())
    }

    pub(super) fn batch(&self, sql: &str) -> Result<(), SqliteError> {
        self.connection.execute_batch(sql).map_err(|error| SqliteError::of(self.path(), error))
    }

    pub(super) fn number(&self, sql: &str) -> Result<i64, SqliteError> {
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(|error| SqliteError::of(self.path(), error))
    }

    fn check_build(&self) -> Result<(), SqliteError> {
        let used = self.number("SELECT sqlite_compileoption_used('ENABLE_DBPAGE_VTAB')")?;
        if used == 1 { Ok(()) } else { Err(SqliteError::Build) }
    }
}

/// Begins both transactions so that no commit lies between them: the second connection tells whether it has seen one.
fn same_moment(first: &Reader, second: &Reader) -> Result<bool, SqliteError> {
    for _ in 0..TRIES {
        let before = second.number("PRAGMA data_version")?;
        first.begin()?;
        second.begin()?;
        if second.number("PRAGMA data_version")? == before {
            return Ok(true);
        }
        first.batch("ROLLBACK")?;
        second.batch("ROLLBACK")?;
    }
    Ok(false)
}
