//! A database that is about to be changed where it lives.
//!
//! Owns its connection, and the answer to whether anybody has written to it since it was first looked at: what a change
//! replaces is to be what somebody kept safe before.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::apply::reach;
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::held::HeldFile;
use crate::engine::sqlite::limits;

/// A database at a place, which need not be there.
#[derive(Debug)]
pub struct Live {
    // Dropped before the file it was made by.
    open: Option<Open>,
    file: DatabaseFile,
}

/// Dropped in this order: only with the connection closed may other handles of the file be.
#[derive(Debug)]
struct Open {
    connection: Connection,
    /// How often others had committed, as this connection counts.
    seen: Option<i64>,
    held: Vec<HeldFile>,
}

impl Live {
    pub fn at(file: DatabaseFile) -> Self {
        Self { open: None, file }
    }

    pub fn file(&self) -> &DatabaseFile {
        &self.file
    }

    /// What people call it.
    pub fn path(&self) -> &Path {
        self.file.shown()
    }

    /// Notes what is there, for [`Live::hold`] to tell whether that has changed. Until then, a log is left as it is.
    pub fn watch(&mut self, wait: Duration) -> Result<(), ApplyError> {
        let file = self.file.clone();
        let told = Told { path: file.shown(), wait };
        let has_log = has_log(&self.file);
        let shared = self.file.companion("-shm");
        let open = self.open(wait)?;
        open.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)
            .map_err(told.sqlite("open"))?;
        open.seen = Some(open.commits().map_err(told.sqlite("read"))?);
        // With a log, some of the locks are on this file, which is there only now.
        open.held.extend(HeldFile::of(&shared));
        Ok(())
    }

    /// Keeps everybody else from writing, until the change is made or this is dropped. Is what is there what was there
    /// when it was looked at last?
    pub fn hold(&mut self, wait: Duration) -> Result<bool, ApplyError> {
        let file = self.file.clone();
        let told = Told { path: file.shown(), wait };
        let open = self.open(wait)?;
        if !open.connection.is_autocommit() {
            return Ok(true);
        }
        open.connection.execute_batch("BEGIN IMMEDIATE").map_err(told.sqlite("lock"))?;
        open.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(told.sqlite("open"))?;
        let Some(seen) = open.seen else { return Ok(true) };
        let now = open.commits().map_err(told.sqlite("read"))?;
        open.seen = Some(now);
        Ok(now == seen)
    }

    /// Is it known that nobody has written since it was looked at?
    pub(super) fn is_held(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.seen.is_some() && !open.connection.is_autocommit())
    }

    /// What [`Live::hold`] has begun.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.open.as_mut().expect("BUG: it is held").connection
    }

    fn open(&mut self, wait: Duration) -> Result<&mut Open, ApplyError> {
        if self.open.is_none() {
            let told = Told { path: self.file.shown(), wait };
            let held = vec![HeldFile::of(&self.file).map_err(told.io("look at"))?];
            let connection = connect(&self.file, wait)?;
            self.open = Some(Open { connection, seen: None, held });
            reach("opened");
        }
        Ok(self.open.as_mut().expect("BUG: it was just opened"))
    }
}

impl Open {
    fn commits(&self) -> rusqlite::Result<i64> {
        self.connection.query_row("PRAGMA data_version", [], |row| row.get(0))
    }
}

pub(super) fn has_log(live: &DatabaseFile) -> bool {
    live.companion("-wal").has_content()
}

/// Opens a live database for reading and writing its pages.
pub(super) fn connect(live: &DatabaseFile, wait: Duration) -> Result<Connection, ApplyError> {
    let told = Told { path: live.shown(), wait };
    let failed = told.sqlite("open");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = live.connect(flags).map_err(&failed)?;
    connection.busy_handler(Some(patience(wait))).map_err(&failed)?;
    let prepare = || {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
        limits::judge(&connection, live)?;
        // A schema that cannot be read does not keep its pages from being replaced.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
        // All pages come by, most of them twice and none soon again: a cache that the processor can hold is faster than
        // a larger one.
        connection.execute_batch("PRAGMA cache_size = -4096; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY")?;
        // When the log goes into the database is decided after the commit.
        connection.execute_batch("PRAGMA wal_autocheckpoint = 0")?;
        has_page_table(&connection)
    };
    if prepare().map_err(&failed)? { Ok(connection) } else { Err(ApplyError::NoPageTable) }
}

/// Asks again and again, more often than SQLite would: among writers who leave a lock for moments only, whoever sleeps
/// longest never gets it.
pub(in crate::engine::sqlite) fn patience(wait: Duration) -> impl FnMut(i32) -> bool + Send + 'static {
    let mut since = Instant::now();
    move |asked| {
        if asked == 0 {
            since = Instant::now();
        }
        std::thread::sleep(Duration::from_micros(500));
        since.elapsed() < wait
    }
}

fn has_page_table(connection: &Connection) -> rusqlite::Result<bool> {
    let ask = "SELECT count(*) FROM pragma_compile_options WHERE compile_options = 'ENABLE_DBPAGE_VTAB'";
    connection.query_row(ask, [], |row| row.get::<_, u32>(0)).map(|found| found > 0)
}
