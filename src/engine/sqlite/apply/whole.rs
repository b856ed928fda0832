//! A database as a file of its own: staged beside the live one, checked, then moved into its place or copied into it.
//!
//! Invariant: what is staged is private, has a name no app uses, and is gone afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use rustix::fs::{Mode, OFlags, fsync, openat};

use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::apply::header;
use crate::engine::sqlite::apply::pages::Pages;
use crate::engine::sqlite::apply::{Applied, Checked, OnDamage, Options, SIDES, Way, check, reach};
use crate::engine::sqlite::file::DatabaseFile;

/// Makes the database that is not there.
pub(super) fn create(live: &DatabaseFile, pages: &mut Pages<'_>, options: &Options<'_>) -> Result<Applied, ApplyError> {
    let told = Told { path: live.shown(), wait: options.wait };
    let staged = Staged::write(live, pages, options, false)?;
    let checked = staged.check(options, &told)?;
    if let Some(dress) = options.dress {
        dress(&staged.file).map_err(|source| ApplyError::Content { source: super::error::Cause(source) })?;
    }
    staged.file.sync_all().map_err(told.io("write"))?;
    reach("staged");
    for side in SIDES {
        let file = live.companion(side);
        match fs::remove_file(file.path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ApplyError::Io { action: "remove", path: file.shown().to_owned(), source: error });
            }
            _ => {}
        }
    }
    reach("sides removed");
    fs::rename(staged.place.path(), live.path()).map_err(told.io("replace"))?;
    let folder = openat(live.folder(), c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    folder.and_then(fsync).map_err(|error| told.io("write")(error.into()))?;
    Ok(applied(Way::Created, pages, checked))
}

/// Copies the snapshot into a live database whose pages do not fit one to one. One transaction of the live database,
/// made by SQLite's backup in the other direction.
pub(super) fn copy(
    (connection, live): (&mut Connection, &DatabaseFile),
    what: &'static str,
    pages: &mut Pages<'_>,
    options: &Options<'_>,
    told: &Told<'_>,
) -> Result<Applied, ApplyError> {
    let staged = Staged::write(live, pages, options, true)?;
    let checked = staged.check(options, told)?;
    reach("staged");
    // SQLite copies into a database only from outside of a transaction.
    connection.execute_batch("ROLLBACK").map_err(told.sqlite("let go of"))?;
    // Not reachable in a database with a log: pages of another size do not fit into the log.
    let mode: String = journal_mode(connection, None).map_err(told.sqlite("look at"))?;
    let leave_log = mode == "wal" && what == "page size";
    if leave_log && journal_mode(connection, Some("DELETE")).ok().as_deref() != Some("delete") {
        return Err(ApplyError::InUse { path: told.path.to_owned(), what });
    }
    reach("without log");
    let from = staged.place.connect_alone().map_err(told.sqlite("read"))?;
    let result = copy_all(&from, connection, options.wait, told);
    reach("copied");
    if leave_log {
        // Failing to is not worth hiding what went before; the database is sound either way.
        let _ = journal_mode(connection, Some("WAL"));
    }
    result?;
    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    Ok(applied(Way::Copied, pages, checked))
}

fn journal_mode(connection: &Connection, wanted: Option<&str>) -> rusqlite::Result<String> {
    let set = wanted.map(|mode| format!(" = {mode}")).unwrap_or_default();
    connection.query_row(&format!("PRAGMA journal_mode{set}"), [], |row| row.get(0))
}

fn copy_all(from: &Connection, to: &mut Connection, wait: Duration, told: &Told<'_>) -> Result<(), ApplyError> {
    let started = Instant::now();
    let backup = Backup::new(from, to).map_err(told.sqlite("write to"))?;
    loop {
        match backup.step(-1).map_err(told.sqlite("write to"))? {
            StepResult::Done => return Ok(()),
            _ if started.elapsed() >= wait => {
                return Err(ApplyError::Busy { path: told.path.to_owned(), waited: wait });
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn applied(way: Way, pages: &Pages<'_>, checked: Checked) -> Applied {
    let (page_size, count) = (pages.size() as u32, pages.count());
    Applied { way, page_size, pages: count, written: count, checked }
}

/// A database on its way, removed when it is dropped under this name.
struct Staged {
    place: DatabaseFile,
    file: File,
}

impl Staged {
    /// `unlogged`: it is not to be a database with a log, whatever it was.
    fn write(
        live: &DatabaseFile,
        pages: &mut Pages<'_>,
        options: &Options<'_>,
        unlogged: bool,
    ) -> Result<Self, ApplyError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("BUG: the system has no randomness");
        let name = format!(".strongroom-{}.partial", hex::encode(random));
        let place = live.beside(name.as_ref());
        let told = Told { path: live.shown(), wait: options.wait };
        let open = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(place.path());
        let file = open.map_err(told.io("stage"))?;
        // Whoever may write to the folder may put something else in its place.
        let id = file.metadata().map(|there| (there.dev(), there.ino())).map_err(told.io("stage"))?;
        let staged = Self { file, place: place.that_is(id) };
        let mut out = BufWriter::with_capacity(1 << 20, &staged.file);
        while let Some((number, page)) = pages.next()? {
            if options.control.stopped() {
                return Err(ApplyError::Interrupted);
            }
            let written = if number == 1 && unlogged {
                let mut first = page.to_vec();
                header::unlogged(&mut first);
                out.write_all(&first)
            } else {
                out.write_all(page)
            };
            written.map_err(told.io("stage"))?;
            options.control.bytes.add(page.len() as u64);
        }
        out.flush().map_err(told.io("stage"))?;
        drop(out);
        Ok(staged)
    }

    fn check(&self, options: &Options<'_>, told: &Told<'_>) -> Result<Checked, ApplyError> {
        match check::alone(&self.place, options.control, told)? {
            Checked::Damaged { findings } if options.on_damage == OnDamage::Refuse => {
                Err(ApplyError::Unsound { path: told.path.to_owned(), findings })
            }
            checked => Ok(checked),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It is gone when it was moved into place.
        let _ = fs::remove_file(self.place.path());
    }
}
