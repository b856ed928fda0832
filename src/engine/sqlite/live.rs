//! A live database as one moment saw it, while others write on.
//!
//! Owns opening for reading and the read transactions. Never writes: what any reader does that comes after a crash,
//! rolling back what was not committed, SQLite does for this one too. A database that nobody has open is read without
//! making anything beside it, so that its folder stays as it is.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::Stat;

use crate::base::control::Control;
use crate::engine::sqlite::error::SqliteError;
use crate::engine::sqlite::file::{DatabaseFile, is_regular};
use crate::engine::sqlite::held::PlainFile;
use crate::engine::sqlite::limits;

/// How long a reader waits for a writer that keeps it out, unless somebody wants it to wait for longer. With a write-ahead
/// log none does.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long it waits before it looks whether to stop.
const GLANCE: Duration = Duration::from_millis(200);

/// How often two transactions are begun anew until they see the same moment.
const TRIES: usize = 200;

/// One moment of a database, which lasts while the reader is there.
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) file: DatabaseFile,
    /// It is read without its write-ahead log, which it would have.
    pub(super) at_rest: bool,
}

/// Begins to read a database, with two readers of the same moment, so that two threads can read; with one where a
/// second cannot be had.
pub fn open(file: &DatabaseFile, control: &Control) -> Result<(Reader, Option<Reader>), SqliteError> {
    let wait = if control.wait.get() == 0 { PATIENCE } else { Duration::from_secs(control.wait.get()) };
    let begun = Instant::now();
    loop {
        match both(&|| Reader::connect(file)) {
            Err(SqliteError::Busy { .. }) if control.stopped() => return Err(SqliteError::Interrupted),
            Err(SqliteError::Busy { .. }) if begun.elapsed() < wait => {}
            opened => return opened,
        }
    }
}

fn both(connect: &dyn Fn() -> Result<Reader, SqliteError>) -> Result<(Reader, Option<Reader>), SqliteError> {
    let first = connect()?;
    first.check_build()?;
    let second = connect().ok();
    let second = match second {
        Some(second) if same_moment(&first, &second)? => Some(second),
        _ => {
            first.begin()?;
            None
        }
    };
    Ok((first, second))
}

/// A database with a write-ahead log that nobody has open: there is no log, and all of it is in the file. Joining the log
/// would make one, and whoever closes it last removes it: that changes the folder. So the file is read as it lies there,
/// without locks; that is one moment only if nobody has written to it meanwhile, which is looked at afterwards.
pub struct AtRest {
    file: DatabaseFile,
    before: Stamp,
}

/// What any writing to a file changes.
type Stamp = ((u64, u64), i64, [(i64, i64); 2]);

impl AtRest {
    /// The database, if it is one that nobody has open, as far as files tell.
    pub fn look(file: &DatabaseFile) -> Option<Self> {
        let there = file.look().ok().flatten()?;
        let is_alone = || ["-wal", "-journal"].iter().all(|side| matches!(file.companion(side).look(), Ok(None)));
        let fits = is_regular(&there) && is_settled(&there) && is_alone() && keeps_a_log(file);
        fits.then(|| Self { file: file.clone(), before: stamp(&there) })
    }

    /// Begins to read it, as [`open`] does.
    pub fn open(&self) -> Result<(Reader, Option<Reader>), SqliteError> {
        both(&|| {
            let connection = self.file.connect_alone().map_err(|error| SqliteError::of(self.file.shown(), error))?;
            Reader { connection, file: self.file.clone(), at_rest: true }.settled()
        })
    }

    /// Nobody has written to the file since: what was read of it is one moment.
    pub fn is_undisturbed(&self) -> bool {
        self.file.look().is_ok_and(|there| there.is_some_and(|there| stamp(&there) == self.before))
    }
}

/// Is the file old enough for later writing to show in its time, however coarse the clock?
fn is_settled(there: &Stat) -> bool {
    const SETTLED: Duration = Duration::from_secs(2);
    let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else { return false };
    let written = Duration::new(there.st_mtime.try_into().unwrap_or(u64::MAX), there.st_mtime_nsec as u32);
    now.checked_sub(written).is_some_and(|age| age > SETTLED)
}

fn stamp(there: &Stat) -> Stamp {
    let times = [(there.st_mtime, there.st_mtime_nsec as i64), (there.st_ctime, there.st_ctime_nsec as i64)];
    ((there.st_dev, there.st_ino), there.st_size, times)
}

/// Does the file say that it is written to through a write-ahead log?
pub(super) fn keeps_a_log(file: &DatabaseFile) -> bool {
    const VERSIONS: u64 = 18;
    let Ok(file) = file.open().map(PlainFile::from) else { return false };
    let mut versions = [0; 2];
    rustix::io::pread(&file, &mut versions, VERSIONS).is_ok_and(|read| read == 2 && versions == [2, 2])
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
        connection.busy_timeout(GLANCE).map_err(fail)?;
        // A log that others left is left to others.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, file.companion("-wal").has_content())
            .map_err(fail)?;
        Self { connection, file: file.clone(), at_rest: false }.settled()
    }

    /// Ready to be read from.
    fn settled(self) -> Result<Self, SqliteError> {
        // Pages can be read even where the schema cannot.
        limits::judge(&self.connection, &self.file).map_err(|error| SqliteError::of(self.path(), error))?;
        self.batch("PRAGMA query_only = ON; PRAGMA writable_schema = ON; PRAGMA temp_store = MEMORY")?;
        Ok(self)
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

#[cfg(test)]
mod tests;
