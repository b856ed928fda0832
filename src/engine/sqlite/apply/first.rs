//! The first page of a database on its way: it says how long the database is and which schema it has, and comes last.
//!
//! Owns what SQLite must be told by hand about it within a transaction: see `delta`.

use rusqlite::{Connection, Statement};

use crate::engine::sqlite::apply::header::{self, Header};

/// Writes a page below SQLite's idea of a database.
pub(super) fn put(write: &mut Statement<'_>, number: u32, page: &[u8]) -> rusqlite::Result<()> {
    write.raw_bind_parameter(1, number)?;
    write.raw_bind_parameter(2, page)?;
    write.raw_execute().map(|_| ())
}

/// The first page, which says how long the database is and which schema it has.
pub(super) struct First<'p> {
    pub wanted: &'p [u8],
    pub live: &'p [u8],
    pub live_count: u32,
    pub count: u32,
}

impl First<'_> {
    fn page(&self, count: u32, cookie: u32) -> Vec<u8> {
        header::blend(self.wanted, self.live, count, cookie)
    }

    /// Above that of both, so that whoever has the database open reads the schema again.
    fn cookie(&self) -> u32 {
        let of = |page| Header::of(page).map_or(0, Header::cookie);
        of(self.live).max(of(self.wanted)).wrapping_add(1)
    }

    /// Is nothing left to be written, if no other page is?
    pub fn is_there(&self) -> bool {
        self.live_count == self.count && header::same_content(self.live, self.wanted)
    }

    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut write = connection.prepare("INSERT INTO sqlite_dbpage(pgno, data) VALUES(?1, ?2)")?;
        // With the cookie as it was: another one would make SQLite read the schema before it can.
        let old = Header::of(self.live).map_or(0, Header::cookie);
        let page = self.page(self.count, old);
        put(&mut write, 1, &page)?;
        connection.execute_batch("SAVEPOINT strongroom")?;
        put(&mut write, 1, &page)?;
        connection.execute_batch("ROLLBACK TO strongroom; RELEASE strongroom")?;
        put(&mut write, 1, &self.page(self.count, self.cookie()))
    }

    /// Has the commit cut off what is too long: for that, SQLite must believe until then that it is as long as it was.
    pub fn cut(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.count >= self.live_count {
            return Ok(());
        }
        let mut write = connection.prepare("INSERT INTO sqlite_dbpage(pgno, data) VALUES(?1, ?2)")?;
        put(&mut write, 1, &self.page(self.live_count, self.cookie()))?;
        connection.execute_batch("SAVEPOINT strongroom")?;
        put(&mut write, 1, &self.page(self.live_count, self.cookie()))?;
        connection.execute_batch("RELEASE strongroom")?;
        put(&mut write, 1, &self.page(self.count, self.cookie()))?;
        write.raw_bind_parameter(1, self.count + 1)?;
        write.raw_bind_parameter(2, rusqlite::types::Null)?;
        write.raw_execute().map(|_| ())
    }
}
