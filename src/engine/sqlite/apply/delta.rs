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

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, Statement};

use crate::engine::sqlite::apply::differing::{self, Known, Listed, Looking, Pages as Fetch};
use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::apply::first::{First, put};
use crate::engine::sqlite::apply::header::{self, AutoVacuum, Header};
use crate::engine::sqlite::apply::live::{Live, has_log};
use crate::engine::sqlite::apply::pages::Pages;
use crate::engine::sqlite::apply::{Applied, Checked, OnDamage, Options, Way, check, reach};
use crate::engine::sqlite::file::DatabaseFile;

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
    /// Too much differs from what is known. Nothing was written.
    Unknown,
    /// The same, and what was written is to be taken back.
    Lost,
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
    /// Those that are known not to be.
    Listed(&'f mut Listed<'w>),
}

/// What became of the pages.
enum Made {
    /// So many were written.
    Written(u32, Checked),
    /// Too many differ, which was known before any was written.
    TooMany,
    /// More differ than can be listed, or SQLite has ended the transaction.
    Lost,
}

/// Makes the change in a transaction of its own, or in the one that keeps others from writing. Where nothing came of it and
/// nothing went wrong, that goes on: nobody is to write before another way is taken.
pub(super) fn run(
    live: &mut Live,
    goal: &Goal,
    from: From<'_, '_>,
    options: &Options<'_>,
    told: &Told<'_>,
) -> Result<Outcome, ApplyError> {
    if !live.hold(options.wait)? {
        return Err(ApplyError::Written { path: told.path.to_owned() });
    }
    reach("begun");
    let file = live.file().clone();
    let connection = live.connection();
    let outcome = within((connection, &file), goal, from, options, told);
    let is_over = matches!(outcome, Err(_) | Ok(Outcome::Lost | Outcome::Applied(Applied { written: 0, .. })));
    if is_over {
        // A rollback that fails is one that SQLite has made already.
        let _ = connection.execute_batch("ROLLBACK");
    }
    let Ok(Outcome::Applied(applied @ Applied { written: 1.., .. })) = &outcome else { return outcome };
    reach("committed");
    if u64::from(applied.written) * u64::from(applied.page_size) > LONG_LOG {
        // What can be is moved from the log into the database; a reader may keep that from being done in full.
        let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
    reach("checkpointed");
    outcome
}

fn within(
    (connection, file): (&mut Connection, &DatabaseFile),
    goal: &Goal,
    from: From<'_, '_>,
    options: &Options<'_>,
    told: &Told<'_>,
) -> Result<Outcome, ApplyError> {
    let Some((live, live_count)) = first_page(connection, file, told)? else { return Ok(Outcome::Empty) };
    let header = Header::of(&live).ok_or_else(|| ApplyError::NotADatabase { path: told.path.to_owned() })?;
    if let Some(what) = other_layout(header, goal.header()) {
        return Ok(Outcome::OtherLayout(what));
    }
    if header.encoding() != goal.header().encoding() && header.encoding() != 0 {
        return Err(ApplyError::Encoding { path: told.path.to_owned() });
    }
    let first = First { wanted: &goal.first, live: &live, live_count, count: goal.count };
    let held = Held { rollback_journal: !header.is_wal(), bytes: 0, flushed: false };
    let mut transaction = Transaction { connection, file, told, options, first, held };
    let made = match from {
        From::All(pages) => transaction.make_all(pages)?,
        From::Known(known) => transaction.make_known(known, goal)?,
        From::Listed(listed) => transaction.make_listed(listed, goal)?,
    };
    let (written, checked) = match made {
        Made::Written(written, checked) => (written, checked),
        Made::TooMany => return Ok(Outcome::Unknown),
        Made::Lost => return Ok(Outcome::Lost),
    };
    let (page_size, pages) = (goal.page_size() as u32, goal.count);
    // The first page comes on top of those that were counted.
    let written = written + u32::from(checked != Checked::Unchanged);
    let applied = Applied { way: Way::Pages, page_size, pages, written, checked };
    if applied.checked == Checked::Unchanged {
        return Ok(Outcome::Applied(applied));
    }
    if let (Checked::Damaged { findings }, OnDamage::Refuse) = (&applied.checked, options.on_damage) {
        return Err(ApplyError::Unsound { path: told.path.to_owned(), findings: findings.clone() });
    }
    reach("checked");
    transaction.first.cut(transaction.connection).map_err(told.sqlite("shorten"))?;
    reach("cut");
    transaction.connection.execute_batch("COMMIT").map_err(told.sqlite("commit to"))?;
    Ok(Outcome::Applied(applied))
}

/// The live first page and how many there are; `None` for a file without any.
fn first_page(
    connection: &Connection,
    file: &DatabaseFile,
    told: &Told<'_>,
) -> Result<Option<(Vec<u8>, u32)>, ApplyError> {
    let failed = told.sqlite("read");
    // A file of no length becomes one page the moment a transaction begins: the file itself tells.
    if file.look().map_err(told.io("look at"))?.is_some_and(|there| there.st_size == 0) && !has_log(file) {
        return Ok(None);
    }
    let count: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(&failed)?;
    let page = connection.query_row("SELECT data FROM sqlite_dbpage WHERE pgno = 1", [], |row| row.get(0));
    Ok(Some((page.map_err(&failed)?, count)))
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

struct Transaction<'c> {
    connection: &'c mut Connection,
    file: &'c DatabaseFile,
    told: &'c Told<'c>,
    options: &'c Options<'c>,
    first: First<'c>,
    held: Held,
}

impl Transaction<'_> {
    /// Writes every page that differs, and has the result checked. Returns how many.
    fn make_all(&mut self, pages: &mut Pages<'_>) -> Result<Made, ApplyError> {
        let written = self.write_differing(pages)?;
        self.finish(written)
    }

    /// Writes the pages that are listed, and has the result checked.
    fn make_listed(&mut self, listed: &mut Listed<'_>, goal: &Goal) -> Result<Made, ApplyError> {
        if listed.live_count != self.first.live_count {
            return Ok(Made::TooMany);
        }
        let locks = header::lock_page(goal.page_size() as u32);
        let is_meant = |number: &u32| *number != 1 && *number != locks && *number <= goal.count;
        let numbers: Vec<u32> = listed.numbers.iter().copied().filter(is_meant).collect();
        self.options.control.bytes.add(goal.page_size() as u64 * u64::from(goal.count));
        let written = self.write_listed(&numbers, listed.pages, goal)?;
        self.finish(written)
    }

    fn finish(&mut self, written: u32) -> Result<Made, ApplyError> {
        let nobody = Arc::default();
        let checked = self.complete(written, &nobody)?.ok_or(ApplyError::Interrupted)?;
        Ok(Made::Written(written, checked))
    }

    /// Writes the pages that are not known to be what they are to be, and has the result checked.
    ///
    /// Those of which nothing is known come first. While they are fetched, written and checked, the others are looked
    /// at: mostly they are what they were when they became known. Where they are not, they are written as well, and
    /// everything is checked again.
    fn make_known(&mut self, known: &mut Known<'_>, goal: &Goal) -> Result<Made, ApplyError> {
        let live_count = self.first.live_count;
        let Some(numbers) = differing::unknown(known, goal, live_count) else { return Ok(Made::TooMany) };
        let looking = Looking::at(known, goal, live_count, numbers.len(), self.options, self.file);
        std::thread::scope(|scope| {
            let mut helpers = looking.begin(scope);
            // Helpers are readers, whom no page is written past.
            if self.held.rollback_journal && numbers.len() * goal.page_size() > HELD {
                helpers.finish(self.connection).map_err(|failure| failure.explained(self.told))?;
            }
            let mut written = self.write_listed(&numbers, known.pages, goal)?;
            // Where nothing was written there mostly is nothing to check.
            let early = (written > 0).then(|| self.complete(written, looking.found()));
            helpers.finish(self.connection).map_err(|failure| failure.explained(self.told))?;
            reach("looked");
            let astray = helpers.found();
            // SQLite's worst errors end the transaction.
            let Some(astray) = astray.filter(|_| !self.connection.is_autocommit()) else { return Ok(Made::Lost) };
            let checked = match early {
                Some(early) if astray.is_empty() => early?,
                // An early verdict, even an error, is one on something else.
                _ => {
                    written += self.write_listed(&astray, known.pages, goal)?;
                    return self.finish(written);
                }
            };
            Ok(Made::Written(written, checked.ok_or(ApplyError::Interrupted)?))
        })
    }

    /// Writes the first page, if anything is to be written, and has SQLite check what is there then. `None` if it is given
    /// up, since something else was found meanwhile or somebody wants it all to end.
    fn complete(&mut self, written: u32, found: &Arc<AtomicUsize>) -> Result<Option<Checked>, ApplyError> {
        if written == 0 && self.first.is_there() {
            return Ok(Some(Checked::Unchanged));
        }
        self.first.write(self.connection).map_err(self.told.sqlite("write to"))?;
        if !self.held.rollback_journal {
            // Changed pages crowd what is read out of the cache. In the log they are nobody's business before the commit.
            self.connection.cache_flush().map_err(self.told.sqlite("write to"))?;
        }
        reach("page one");
        let (found, control) = (found.clone(), self.options.control.clone());
        let give_up = move || found.load(Ordering::Relaxed) > 0 || control.stopped();
        check::connected(self.connection, give_up).map_err(self.told.sqlite("check"))
    }

    /// Writes every page that differs but the first, which comes last. Returns how many.
    fn write_differing(&mut self, pages: &mut Pages<'_>) -> Result<u32, ApplyError> {
        let (connection, failed) = (&*self.connection, self.told.sqlite("write to"));
        let mut write = self.held.prepare(connection).map_err(&failed)?;
        let mut scan = connection.prepare("SELECT data FROM sqlite_dbpage").map_err(&failed)?;
        let mut live = scan.query([]).map_err(&failed)?;
        let locks = header::lock_page(pages.size() as u32);
        let mut written = 0;
        while let Some((number, wanted)) = pages.next()? {
            if self.options.control.stopped() {
                return Err(ApplyError::Interrupted);
            }
            let same = match number <= self.first.live_count {
                true => {
                    let row = live.next().map_err(&failed)?;
                    row.is_some_and(|row| {
                        row.get_ref(0).is_ok_and(|data| data.as_blob().is_ok_and(|data| data == wanted))
                    })
                }
                false => false,
            };
            self.options.control.bytes.add(wanted.len() as u64);
            if same || number == 1 || number == locks {
                continue;
            }
            put(&mut write, number, wanted).map_err(&failed)?;
            written += 1;
            self.held.add(connection, wanted.len()).map_err(&failed)?;
            reach("page written");
        }
        Ok(written)
    }

    /// Writes those of the listed pages that differ. Returns how many.
    fn write_listed(&mut self, numbers: &[u32], fetch: &mut Fetch<'_>, goal: &Goal) -> Result<u32, ApplyError> {
        if numbers.is_empty() {
            return Ok(0);
        }
        let (connection, failed) = (&*self.connection, self.told.sqlite("write to"));
        let mut write = self.held.prepare(connection).map_err(&failed)?;
        let mut look = connection.prepare("SELECT data FROM sqlite_dbpage WHERE pgno = ?1").map_err(&failed)?;
        let mut written = 0;
        fetch(numbers, &mut |blocks| {
            let mut pages = Pages::some(blocks, goal.page_size(), numbers.len());
            for &number in numbers {
                if self.options.control.stopped() {
                    return Err(ApplyError::Interrupted);
                }
                let Some((_, page)) = pages.next()? else { unreachable!("BUG: there are as many pages as numbers") };
                // What nobody knew of may be there all the same.
                let is_there = |row: &rusqlite::Row<'_>| Ok(row.get_ref(0)?.as_blob().is_ok_and(|data| data == page));
                if number <= self.first.live_count && look.query_row([number], is_there).map_err(&failed)? {
                    continue;
                }
                put(&mut write, number, page).map_err(&failed)?;
                written += 1;
                self.held.add(connection, goal.page_size()).map_err(&failed)?;
                reach("page written");
            }
            Ok(())
        })?;
        Ok(written)
    }
}

/// Changed pages that are in memory only.
struct Held {
    rollback_journal: bool,
    bytes: usize,
    flushed: bool,
}

impl Held {
    /// Gets ready to write pages.
    fn prepare<'c>(&self, connection: &'c Connection) -> rusqlite::Result<Statement<'c>> {
        if self.rollback_journal && !self.flushed {
            // Making room in the cache would wait for readers, once for each page. (OFF is passed over in a transaction.)
            connection.execute_batch("PRAGMA cache_spill = 2147483647")?;
        }
        let write = connection.prepare("INSERT INTO sqlite_dbpage(pgno, data) VALUES(?1, ?2)")?;
        // What was read of the schema must not be remembered as it was.
        connection.release_memory()?;
        Ok(write)
    }

    /// With a rollback journal, changed pages stay in memory as long as there are readers, who go on reading. When that
    /// takes too much, the readers are waited for.
    fn add(&mut self, connection: &Connection, length: usize) -> rusqlite::Result<()> {
        self.bytes += length;
        if self.rollback_journal && !self.flushed && self.bytes > HELD {
            connection.cache_flush()?;
            // Nobody reads from here on: room is made as it is needed.
            connection.execute_batch("PRAGMA cache_spill = 1")?;
            self.flushed = true;
            reach("flushed");
        }
        Ok(())
    }
}
