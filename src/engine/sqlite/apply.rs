//! Giving a database back, also into one that an app has open.
//!
//! Owns the choice of the way, and what each way promises:
//!
//! - The live database is what it was or what the snapshot holds, whatever happens and whenever: `delta`, `whole`.
//! - Apps that have it open keep their view while they read, and go on afterwards with what the snapshot holds.
//! - How the live database is journalled stays as it is, and its counters go on, so that every app notices.
//! - Memory does not grow with the database.
//!
//! Never reads a vault: content comes in blocks, in order. Never opens the live database but through SQLite.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::OpenFlags;

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::engine::sqlite::file::DatabaseFile;

mod check;
mod compare;
mod delta;
mod differing;
mod elsewhere;
mod error;
mod first;
mod header;
mod live;
mod pages;
#[cfg(test)]
mod tests;
mod whole;

pub use compare::holds;
pub use differing::{Expectations, Expected, Known, Listed, most_listed};
pub use elsewhere::is_open_elsewhere;
pub use error::ApplyError;
pub(in crate::engine::sqlite) use header::{AutoVacuum, Header, LENGTH as HEADER_LENGTH, lock_page};
pub use header::{is_database, page_size};
pub use live::Live;
pub(in crate::engine::sqlite) use live::patience;
pub use pages::{Blocks, Wanted};

use delta::{From, Goal, Outcome};
use error::Told;
use pages::Pages;

/// How long a lock is waited for, if nobody says otherwise.
pub const WAIT: Duration = Duration::from_secs(10);

/// What to do when SQLite's check finds that the result would not be sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// Leave the live database as it was.
    Refuse,
    /// Say so in the report: it was like that when it was captured.
    Tell,
}

/// Gives a file its owner and mode.
pub type Dress<'d> = dyn Fn(&File) -> Result<(), Explained> + 'd;

pub struct Options<'o> {
    pub wait: Duration,
    pub on_damage: OnDamage,
    pub control: &'o Arc<Control>,
    /// Gives a database that is made anew its owner and mode, before it gets its name.
    pub dress: Option<&'o Dress<'o>>,
}

/// Which way a database was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The pages that differ, in one transaction.
    Pages,
    /// All of it, in one transaction.
    Copied,
    /// As a new file: there was none.
    Created,
}

/// What SQLite's check of the result said.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "result")]
pub enum Checked {
    /// Nothing was written, so nothing was looked at.
    Unchanged,
    Sound,
    Damaged {
        findings: String,
    },
    /// It takes a collation or function that only the app has.
    Impossible {
        why: String,
    },
}

/// A database that was given back.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    pub way: Way,
    pub page_size: u32,
    pub pages: u32,
    /// Pages that were written; none when the live database held just this.
    pub written: u32,
    pub checked: Checked,
}

/// Makes a live database what is wanted.
pub fn apply(live: &mut Live, wanted: Wanted<'_>, options: &Options<'_>) -> Result<Applied, ApplyError> {
    let file = live.file().clone();
    let told = Told { path: file.shown(), wait: options.wait };
    let mut pages = Pages::new(wanted)?;
    if file.look().map_err(told.io("look at"))?.is_none() {
        return whole::create(&file, &mut pages, options);
    }
    let goal = Goal { first: pages.first().to_vec(), count: pages.count() };
    match delta::run(live, &goal, From::All(&mut pages), options, &told)? {
        Outcome::Applied(applied) => Ok(applied),
        Outcome::OtherLayout(what) => whole::copy((live.connection(), &file), what, &mut pages, options, &told),
        Outcome::Empty => whole::copy((live.connection(), &file), "page size", &mut pages, options, &told),
        Outcome::Unknown | Outcome::Lost => unreachable!("BUG: all pages are handed over"),
    }
}

/// Makes a live database what is wanted, where most of it is known to be that already: what is known is not read from the
/// vault. `None` where that cannot be; then nothing has changed, and [`apply`] is the way.
pub fn apply_differing(
    live: &mut Live,
    mut known: Known<'_>,
    options: &Options<'_>,
) -> Result<Option<Applied>, ApplyError> {
    let goal = goal(std::mem::take(&mut known.first), known.length);
    known_pages(live, goal, From::Known(&mut known), options)
}

/// Makes a live database what is wanted, where it is known which pages differ and nobody has written since. `None` where
/// that cannot be; then nothing has changed, and [`apply`] is the way.
pub fn apply_listed(
    live: &mut Live,
    mut listed: Listed<'_>,
    options: &Options<'_>,
) -> Result<Option<Applied>, ApplyError> {
    if !live.is_held() {
        return Ok(None);
    }
    let goal = goal(std::mem::take(&mut listed.first), listed.length);
    known_pages(live, goal, From::Listed(&mut listed), options)
}

fn known_pages(
    live: &mut Live,
    goal: Option<Goal>,
    from: From<'_, '_>,
    options: &Options<'_>,
) -> Result<Option<Applied>, ApplyError> {
    let file = live.file().clone();
    let told = Told { path: file.shown(), wait: options.wait };
    let Some(goal) = goal else { return Ok(None) };
    if file.look().map_err(told.io("look at"))?.is_none() {
        return Ok(None);
    }
    match delta::run(live, &goal, from, options, &told)? {
        Outcome::Applied(applied) => Ok(Some(applied)),
        _ => Ok(None),
    }
}

/// What the first page says, if that is a database to go by. What is wrong with another one [`apply`] tells.
fn goal(first: Vec<u8>, length: u64) -> Option<Goal> {
    let header = Header::of(&first)?;
    let (size, count) = (u64::from(header.page_size()), header.pages()?);
    let fits = first.len() as u64 == size && size * u64::from(count) <= length;
    fits.then_some(Goal { first, count })
}

/// Has another process a database with a log open? One with a rollback journal shows only while it is used. Where nobody
/// has, SQLite puts the database in order on the way and removes what it no longer needs.
pub fn is_in_use(database: &DatabaseFile) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let lock = || {
        let connection = database.connect(flags)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; ROLLBACK")
    };
    let busy = [rusqlite::ErrorCode::DatabaseBusy, rusqlite::ErrorCode::DatabaseLocked];
    lock().is_err_and(|error: rusqlite::Error| error.sqlite_error_code().is_some_and(|code| busy.contains(&code)))
}

/// Has SQLite put a database in order that nobody has open: what its log holds becomes part of the file.
pub fn settle(database: &DatabaseFile) -> Result<(), ApplyError> {
    let told = Told { path: database.shown(), wait: Duration::ZERO };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let settle = || {
        let connection = database.connect(flags)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    };
    settle().map_err(told.sqlite("put in order"))
}

/// What SQLite keeps beside a database. Left over from another one, they would spoil what is put in its place.
pub const SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A step that tests kill the process at.
#[cfg(not(test))]
fn reach(_: &str) {}

#[cfg(test)]
use tests::reach;
