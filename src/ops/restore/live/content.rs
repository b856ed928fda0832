//! A database's pages out of a snapshot, whichever way it was captured.
//!
//! One that was captured as a plain file may have its log beside it, without which it is not what it was: both are staged
//! in a private folder, where SQLite puts them together.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::process::geteuid;

use crate::base::control::Control;
use crate::base::entry::Entry;
use crate::base::error::{Class, Explain, Explained};
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::engine::sqlite::apply::{self, Applied, ApplyError, Expected, Known, Listed, Live, OnDamage, Wanted};
use crate::engine::sqlite::file::DatabaseFile;
use crate::format::manifest::SourceRecord;
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::live::walk::find;
use crate::vault::error::VaultError;
use crate::vault::page_match::{self, PageMatch};
use crate::vault::read::Library;
use crate::vault::stream;
use crate::vault::unlocked::UnlockedVault;

/// No page is longer.
const LONGEST_PAGE: u32 = 64 << 10;
/// What is read of a staged file at once.
const BLOCK: usize = 1 << 20;

/// Where content comes from.
pub(in crate::ops) struct Origin<'o> {
    pub record: &'o SourceRecord,
    pub library: &'o Library<'o>,
    pub control: &'o Arc<Control>,
}

impl Origin<'_> {
    /// Hands the pages of a database to `take`. `live` is where it lives: what has to be staged is staged beside it.
    pub fn pages<R>(
        &self,
        entry: &Entry,
        live: &DatabaseFile,
        take: impl FnOnce(Wanted<'_>) -> Result<R, ApplyError>,
    ) -> Result<R, OpError> {
        let sides = self.sides(entry)?;
        if sides.is_empty() {
            let length = entry.size;
            let taken = stream::in_order(self.library, entry, self.control, |blocks| take(Wanted { length, blocks }));
            return Ok(taken?);
        }
        let staged = Staged::beside(live)?;
        self.write(entry, &staged.database)?;
        for (side, entry) in &sides {
            self.write(entry, &staged.database.companion(side))?;
        }
        apply::settle(&staged.database)?;
        let failed = |source| OpError::from(Problem::Output { path: live.shown().display().to_string(), source });
        let mut file = File::from(staged.database.open().map_err(failed)?);
        let length = file.metadata().map_err(failed)?.len();
        let mut blocks = |buffer: &mut Vec<u8>| {
            buffer.clear();
            let read = Read::by_ref(&mut file).take(BLOCK as u64).read_to_end(buffer);
            let failed = |source| Box::new(VaultError::host(live.shown())(source)) as Explained;
            Ok(read.map_err(failed)? > 0)
        };
        Ok(take(Wanted { length, blocks: &mut blocks })?)
    }

    /// Does a live database hold this already? One that was captured as files is compared by its files, of which `is_as`
    /// knows: nothing is staged beside it.
    pub fn holds(
        &self,
        wanted: &Entry,
        live: &DatabaseFile,
        wait: Duration,
        is_as: &dyn Fn(&Entry) -> bool,
    ) -> Result<bool, OpError> {
        let sides = self.sides(wanted)?;
        if !sides.is_empty() {
            let mut files = sides.iter().map(|(_, side)| side).chain([wanted]);
            return Ok(files.all(is_as));
        }
        let options = apply::Options { wait, on_damage: OnDamage::Tell, control: self.control, dress: None };
        match self.pages(wanted, live, |pages| apply::holds(live, pages, &options)) {
            Err(error) if matches!(error.class(), Class::Busy | Class::Interrupted) => Err(error),
            // What SQLite cannot read is not what was captured.
            holds => Ok(holds.unwrap_or(false)),
        }
    }

    /// Gives a database back by what was just captured of it: only those pages are read and looked at that another snapshot
    /// has elsewhere. `None` where that cannot be.
    pub fn by_safety(
        &self,
        entry: &Entry,
        now: &Entry,
        live: &mut Live,
        options: &apply::Options<'_>,
    ) -> Result<Option<Applied>, OpError> {
        if !self.sides(entry)?.is_empty() {
            return Ok(None);
        }
        let mut first = self.first(entry, LONGEST_PAGE)?;
        let Some(page_size) = apply::page_size(&first) else { return Ok(None) };
        first.truncate(page_size as usize);
        let count = |entry: &Entry| u32::try_from(entry.size / u64::from(page_size)).ok();
        let (Some(most), Some(live_count)) = (count(entry).map(apply::most_listed), count(now)) else {
            return Ok(None);
        };
        let Some(numbers) = page_match::differing(entry, now, (page_size, most), self.library)? else {
            return Ok(None);
        };
        let listed = Listed {
            length: entry.size,
            first,
            numbers,
            live_count,
            pages: &mut |numbers, take| self.some(entry, numbers, page_size, take),
        };
        Ok(apply::apply_listed(live, listed, options)?)
    }

    /// A database's first page, or so many of its first bytes.
    fn first(&self, entry: &Entry, length: u32) -> Result<Vec<u8>, OpError> {
        let mut first = Vec::new();
        self.some(entry, &[1], length, &mut |blocks| blocks(&mut first).map_err(ApplyError::content))?;
        Ok(first)
    }

    /// Gives a database back by what this host remembers of its pages: only those are read that the live database may
    /// not hold. `None` where that cannot be.
    pub fn by_memory(
        &self,
        unlocked: &UnlockedVault,
        app: &Name,
        entry: &Entry,
        live: &mut Live,
        options: &apply::Options<'_>,
    ) -> Result<Option<Applied>, OpError> {
        if !self.sides(entry)?.is_empty() {
            return Ok(None);
        }
        let memories = [self.record.root.clone(), format!("{}\nzero", self.record.root)];
        let names = (app, &self.record.name);
        let match_pages = || unlocked.vault().page_match(names, &memories, entry, self.library);
        let Some(matched) = match_pages()? else { return Ok(None) };
        let (page_size, key) = (matched.page_size(), matched.key());
        let known = Known {
            length: entry.size,
            first: self.first(entry, page_size)?,
            expected: &|| {
                let mut matched = match_pages().ok().flatten();
                Box::new(move || match matched.as_mut().and_then(PageMatch::next_page) {
                    None => Expected::Unknown,
                    Some(page_match::Known::Zeros) => Expected::Zeros,
                    Some(page_match::Known::Page(digest)) => Expected::Named(*digest.as_bytes()),
                })
            },
            name: &|page| *key.digest(page).as_bytes(),
            pages: &mut |numbers, take| self.some(entry, numbers, page_size, take),
        };
        Ok(apply::apply_differing(live, known, options)?)
    }

    /// Hands these pages of a database to `take`.
    fn some<R>(
        &self,
        entry: &Entry,
        pages: &[u32],
        page_size: u32,
        take: &mut dyn FnMut(&mut stream::Blocks<'_>) -> Result<R, ApplyError>,
    ) -> Result<R, ApplyError> {
        let only = page_match::only(entry, pages, page_size, self.library);
        let only = only.map_err(|error| ApplyError::content(Box::new(error)))?;
        stream::in_order(self.library, &only, self.control, take)
    }

    /// The logs that were captured beside it.
    pub(super) fn sides(&self, entry: &Entry) -> Result<Vec<(&'static str, Entry)>, OpError> {
        let mut found = Vec::new();
        for side in ["-wal", "-journal"] {
            let path = [entry.path.as_bytes(), side.as_bytes()].concat();
            let Some(path) = EntryPath::from_bytes(&path).ok().filter(|_| !entry.path.is_root()) else { continue };
            let log = find(self.record, &path, self.library)?;
            found.extend(log.filter(|log| log.size > 0).map(|log| (side, log)));
        }
        Ok(found)
    }

    fn write(&self, entry: &Entry, to: &DatabaseFile) -> Result<(), OpError> {
        let failed = |source| OpError::from(Problem::Output { path: entry.path.to_string(), source });
        let mut out = File::options().write(true).create_new(true).mode(0o600).open(to.path()).map_err(failed)?;
        stream::in_order(self.library, entry, self.control, |blocks| {
            let mut buffer = Vec::new();
            while blocks(&mut buffer).map_err(Problem::Content)? {
                out.write_all(&buffer).map_err(failed)?;
            }
            Ok(())
        })
    }
}

/// A private folder that is gone afterwards.
struct Staged {
    folder: DatabaseFile,
    database: DatabaseFile,
}

impl Staged {
    fn beside(live: &DatabaseFile) -> Result<Self, OpError> {
        let mut random = [0; 8];
        crate::format::header::fill_random(&mut random);
        let folder = live.beside(format!(".strongroom-{}.partial", hex::encode(random)).as_ref());
        let failed = |source| OpError::from(Problem::Output { path: live.shown().display().to_string(), source });
        fs::DirBuilder::new().mode(0o700).create(folder.path()).map_err(failed)?;
        // Whoever may write to the folder around it may have put another in its place.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = open(folder.path(), flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let there = fstat(&open).map_err(|error| failed(error.into()))?;
        if there.st_uid != geteuid().as_raw() || there.st_mode & 0o077 != 0 {
            return Err(failed(io::ErrorKind::PermissionDenied.into()));
        }
        let database = DatabaseFile::within(open, "database".as_ref(), live.shown()).map_err(failed)?;
        Ok(Self { folder, database })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays is litter, not harm: an undo sweeps it.
        let _ = fs::remove_dir_all(self.folder.path());
    }
}
