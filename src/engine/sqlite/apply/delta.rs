//! Only the pages that differ, in one transaction of the live database, checked before it is committed.
//!
//! Invariant: until the commit, nobody but this connection sees anything of it, and whatever ends this process leaves the
//! database as it was. After the commit it is what the snapshot holds.
//!
//! SQLite's table of pages writes below SQLite's idea of a database, so two things that SQLite remembers within a
//! transaction have to be put right by hand before its own check can look at the result:
//!
//! - *How many pages there are* is read from the first page when a savepoint ends, and not when that page is written.
//! - *What the first page holds as the root of the schema* is remembered as long as the transaction lasts. Rolling that
//!   page back to what it is already makes SQLite look at it anew. All other pages are dropped from the cache before any
//!   of them is written.
//!
//! Pages that fall away are cut off by SQLite at the commit, if it believes in them until then.

use rusqlite::{Connection, Statement};

use crate::engine::sqlite::apply::differing::{self, Known};
use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::apply::header::{self, AutoVacuum, Header};
use crate::engine::sqlite::apply::pages::Pages;
use crate::engine::sqlite::apply::{Applied, Checked, OnDamage, Options, Way, check, reach};

/// Changed pages held in memory while readers still keep a database with a rollback journal from being written to.
const HELD: usize = 32 << 20;

/// A log that became longer is not left to the app, whose next commit would move all of it into the database. When a
/// shorter one is moved is the app's affair: it may have reasons of its own.
const LONG_LOG: u64 = 16 << 20;

/// What became of it.
pub(super) enum Outcome {
    Applied(Applied),
    /// Pages do not fit one to one, for this reason.
    OtherLayout(&'static str),
    /// There is a file, and no database in it yet.
    Empty,
    /// Too much differs from what is known.
    Unknown,
}

/// What the database is to be: its first page, and how many there are.
pub(super) struct Goal {
    pub first: Vec<u8>,
    pub count: u32,
}

impl Goal {
    fn header(&self) -> Header<'_> {
        Header::of(&self.first).expect("BUG: looked at when it was read")
    }

    pub fn page_size(&self) -> usize {
        self.first.len()
    }
}

/// Where its pages come from.
pub(super) enum From<'f, 'w> {
    /// All of them, in order.
    All(&'f mut Pages<'w>),
    /// Those that are not known to be there.
    Known(&'f mut Known<'w>),
}

pub(super) fn run(
    connection: &Connection,
    goal: &Goal,
    from: From<'_, '_>,
    options: &Options<'_>,
    told: &Told<'_>,
) -> Result<Outcome, ApplyError> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(told.sqlite("lock"))?;
    reach("begun");
    let outcome = within(connection, goal, from, options, told);
    if !matches!(outcome, Ok(Outcome::Applied(Applied { written: 1.., .. }))) {
        // A rollback that fails is one that SQLite has made already.
        let _ = connection.execute_batch("ROLLBACK");
        return outcome;
    }
    reach("committed");
    if let Ok(Outcome::Applied(applied)) = &outcome
        && u64::from(applied.written) * u64::from(applied.page_size) > LONG_LOG
    {
        // What can be is moved from the log into the database; a reader may keep that from being done in full.
        let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
    reach("checkpointed");
    outcome
}

fn within(
    connection: &Connection,
    goal: &Goal,
    from: From<'_, '_>,
    options: &Options<'_>,
    told: &Told<'_>,
) -> Result<Outcome, ApplyError> {
    let Some((live, live_count)) = first_page(connection, told)? else { return Ok(Outcome::Empty) };
    let header = Header::of(&live).ok_or_else(|| ApplyError::NotADatabase { path: told.path.to_owned() })?;
    if let Some(what) = other_layout(header, goal.header()) {
        return Ok(Outcome::OtherLayout(what));
    }
    if header.encoding() != goal.header().encoding() && header.encoding() != 0 {
        return Err(ApplyError::Encoding { path: told.path.to_owned() });
    }
    let transaction = Transaction { connection, told, rollback_journal: !header.is_wal(), held: 0, flushed: false };
    let written = match from {
        From::All(pages) => Some(transaction.write_differing(pages, live_count, options)?),
        From::Known(known) => transaction.write_unknown(known, goal, live_count, options)?,
    };
    let Some(mut written) = written else { return Ok(Outcome::Unknown) };
    let differs = written > 0 || live_count != goal.count || !header::same_content(&live, &goal.first);
    let (page_size, pages) = (goal.page_size() as u32, goal.count);
    let mut applied = Applied { way: Way::Pages, page_size, pages, written: 0, checked: Checked::Unchanged };
    if !differs {
        return Ok(Outcome::Applied(applied));
    }
    written += 1;
    let first = First { wanted: &goal.first, live: &live, live_count, count: goal.count };
    first.write(connection).map_err(told.sqlite("write to"))?;
    reach("page one");
    applied.checked = check::connected(connection).map_err(told.sqlite("check"))?;
    if let (Checked::Damaged { findings }, OnDamage::Refuse) = (&applied.checked, options.on_damage) {
        return Err(ApplyError::Unsound { path: told.path.to_owned(), findings: findings.clone() });
    }
    reach("checked");
    first.cut(connection).map_err(told.sqlite("shorten"))?;
    reach("cut");
    connection.execute_batch("COMMIT").map_err(told.sqlite("commit to"))?;
    applied.written = written;
    Ok(Outcome::Applied(applied))
}

/// The live first page and how many there are; `None` for a file without any.
fn first_page(connection: &Connection, told: &Told<'_>) -> Result<Option<(Vec<u8>, u32)>, ApplyError> {
    let failed = told.sqlite("read");
    // A file of no length becomes one page the moment a transaction begins: the file itself tells.
    if std::fs::metadata(told.path).map_err(told.io("look at"))?.len() == 0 && !has_log(told.path) {
        return Ok(None);
    }
    let count: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(&failed)?;
    let page = connection.query_row("SELECT data FROM sqlite_dbpage WHERE pgno = 1", [], |row| row.get(0));
    Ok(Some((page.map_err(&failed)?, count)))
}

fn has_log(live: &std::path::Path) -> bool {
    std::fs::metadata(super::beside(live, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// Why pages of the one cannot stand in the other, one to one.
fn other_layout(live: Header<'_>, wanted: Header<'_>) -> Option<&'static str> {
    if live.page_size() != wanted.page_size() {
        return Some("page size");
    }
    // Both decide what a page's bytes mean, and SQLite looks at them when a transaction begins.
    if live.reserved() != wanted.reserved() {
        return Some("reserved space in each page");
    }
    // The commit would move the snapshot's free pages about.
    let moves = wanted.auto_vacuum() == AutoVacuum::Full && wanted.free_pages() > 0;
    (live.auto_vacuum() != wanted.auto_vacuum() || moves).then_some("auto_vacuum")
}

struct Transaction<'c, 't> {
    connection: &'c Connection,
    told: &'t Told<'t>,
    rollback_journal: bool,
    held: usize,
    flushed: bool,
}

impl<'c> Transaction<'c, '_> {
    /// Writes every page that differs but the first, which comes last. Returns how many.
    fn write_differing(
        mut self,
        pages: &mut Pages<'_>,
        live_count: u32,
        options: &Options<'_>,
    ) -> Result<u32, ApplyError> {
        let failed = self.told.sqlite("write to");
        let mut write = self.prepare()?;
        let mut scan = self.connection.prepare("SELECT data FROM sqlite_dbpage").map_err(&failed)?;
        let mut live = scan.query([]).map_err(&failed)?;
        let locks = header::lock_page(pages.size() as u32);
        let mut written = 0;
        while let Some((number, wanted)) = pages.next()? {
            if options.control.stopped() {
                return Err(ApplyError::Interrupted);
            }
            let same = match number <= live_count {
                true => {
                    let row = live.next().map_err(&failed)?;
                    row.is_some_and(|row| {
                        row.get_ref(0).is_ok_and(|data| data.as_blob().is_ok_and(|data| data == wanted))
                    })
                }
                false => false,
            };
            options.control.bytes.add(wanted.len() as u64);
            if same || number == 1 || number == locks {
                continue;
            }
            put(&mut write, number, wanted).map_err(&failed)?;
            written += 1;
            self.hold(wanted.len())?;
            reach("page written");
        }
        Ok(written)
    }

    /// Writes the pages that are not known to be what they are to be. `None` if they are too many to be listed.
    fn write_unknown(
        mut self,
        known: &mut Known<'_>,
        goal: &Goal,
        live_count: u32,
        options: &Options<'_>,
    ) -> Result<Option<u32>, ApplyError> {
        let failed = self.told.sqlite("write to");
        let mut write = self.prepare()?;
        let found = differing::find(self.connection, known, goal, live_count, options, self.told);
        let Some(numbers) = found.map_err(|error| error.explained(self.told))? else { return Ok(None) };
        if numbers.is_empty() {
            return Ok(Some(0));
        }
        let mut look = self.connection.prepare("SELECT data FROM sqlite_dbpage WHERE pgno = ?1").map_err(&failed)?;
        let mut written = 0;
        (known.pages)(&numbers, &mut |blocks| {
            let mut pages = Pages::some(blocks, goal.page_size(), numbers.len());
            for &number in &numbers {
                if options.control.stopped() {
                    return Err(ApplyError::Interrupted);
                }
                let Some((_, page)) = pages.next()? else { unreachable!("BUG: there are as many pages as numbers") };
                // What nobody knew of may be there all the same.
                let is_there = |row: &rusqlite::Row<'_>| Ok(row.get_ref(0)?.as_blob().is_ok_and(|data| data == page));
                if number <= live_count && look.query_row([number], is_there).map_err(&failed)? {
                    continue;
                }
                put(&mut write, number, page).map_err(&failed)?;
                written += 1;
                self.hold(goal.page_size())?;
                reach("page written");
            }
            Ok(())
        })?;
        Ok(Some(written))
    }

    /// Gets ready to write pages.
    fn prepare(&self) -> Result<Statement<'c>, ApplyError> {
        let failed = self.told.sqlite("write to");
        if self.rollback_journal {
            // Making room in the cache would wait for readers, once for each page. (OFF is passed over in a transaction.)
            self.connection.execute_batch("PRAGMA cache_spill = 2147483647").map_err(&failed)?;
        }
        let write = self.connection.prepare("INSERT INTO sqlite_dbpage(pgno, data) VALUES(?1, ?2)").map_err(&failed)?;
        // What was read of the schema must not be remembered as it was.
        self.connection.release_memory().map_err(&failed)?;
        Ok(write)
    }

    /// With a rollback journal, changed pages stay in memory as long as there are readers, who go on reading. When that
    /// takes too much, the readers are waited for.
    fn hold(&mut self, length: usize) -> Result<(), ApplyError> {
        self.held += length;
        if self.rollback_journal && !self.flushed && self.held > HELD {
            let failed = self.told.sqlite("write to");
            self.connection.cache_flush().map_err(&failed)?;
            // Nobody reads from here on: room is made as it is needed.
            self.connection.execute_batch("PRAGMA cache_spill = 1").map_err(&failed)?;
            self.flushed = true;
            reach("flushed");
        }
        Ok(())
    }
}

fn put(write: &mut Statement<'_>, number: u32, page: &[u8]) -> rusqlite::Result<()> {
    write.raw_bind_parameter(1, number)?;
    write.raw_bind_parameter(2, page)?;
    write.raw_execute().map(|_| ())
}

/// The first page, which says how long the database is and which schema it has.
struct First<'p> {
    wanted: &'p [u8],
    live: &'p [u8],
    live_count: u32,
    count: u32,
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

    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
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
    fn cut(&self, connection: &Connection) -> rusqlite::Result<()> {
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
