//! The snapshot of what is about to be changed.
//!
//! Owns the rule that live data is not touched before it is in the vault, completely.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::capture::Skip;
use crate::base::control::Control;
use crate::base::name::Name;
use crate::base::path::{self, EntryPath};
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::actions::Touched;
use crate::ops::backup::{self, Planned, Request, Rescan};
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::claims::real;
use crate::ops::restore::ground::Odd;
use crate::ops::restore::live::stem;
use crate::ops::restore::server::KIND;
use crate::ops::show;
use crate::source::files::{FilesOptions, FilesSource};
use crate::source::sqlite::SqliteSource;
use crate::source::{self, Source};
use crate::vault::commit::Label;
use crate::vault::read::Library;
use crate::vault::unlocked::UnlockedVault;

/// The kind of source that is a folder, of which a snapshot may lack something that is there now.
const FILES: &str = "files";

/// Where a source lives on this host.
pub fn place(root: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(std::ffi::OsString::from_vec(path::decode(root).unwrap_or_default()))
}

/// What is to be kept safe.
pub(in crate::ops) struct Plan {
    request: Request,
    /// What is going to be touched: all of that must be in the snapshot.
    touched: Vec<(Name, EntryPath)>,
    /// What will be left alone of it, and need not be.
    odd: Odd,
}

/// Plans a snapshot of the sources that these parts belong to, as the configuration describes them, or all of them at their
/// place where it does not. `None` when nothing of it is there.
pub(in crate::ops) fn plan(
    (parts, odd): (&[Touched], Odd),
    mut configured: Vec<Planned>,
    label: Label,
    (trust_times, control): (bool, &Arc<Control>),
) -> Result<Option<Plan>, OpError> {
    let mut names = BTreeSet::new();
    let mut sources = Vec::new();
    for part in parts {
        let is_there = match &part.swap {
            // A database that is there is kept: a live one that is not, is not.
            Some(swap) => swap.kept.is_some(),
            None => fs::symlink_metadata(place(&part.root)).is_ok(),
        };
        if is_there && !odd.sources.contains(&part.source) && names.insert(part.source.clone()) {
            sources.push(source_of(part, &mut configured)?);
        }
    }
    if sources.is_empty() {
        return Ok(None);
    }
    let control = control.clone();
    // What is kept is what is there, sound or not: whoever gives it back has it checked.
    // What is left alone since it looks as it should must be so, and what is kept must be what is there.
    let touched: Vec<_> = parts.iter().map(|part| (part.source.clone(), part.path.clone())).collect();
    let rescan = if trust_times { Rescan::Nothing } else { Rescan::Parts(touched.clone()) };
    let (check, estimate) = (false, false);
    let request = Request { sources, label, check, rescan, estimate, alarms: None, all: true, control };
    Ok(Some(Plan { request, touched, odd }))
}

impl Plan {
    /// Takes the snapshot, of all that is there at this time. Where it would lack something that is touched, there is none.
    /// `named` are the snapshots that say what is touched.
    pub fn take(&self, unlocked: &UnlockedVault, named: &[&Manifest]) -> Result<Manifest, OpError> {
        let library = unlocked.library()?;
        let will_do = |source: &SourceRecord| match self.missing(source, named, &library) {
            None => Ok(()),
            Some(why) => Err(Problem::NoSafety { why, source: None }.into()),
        };
        Ok(backup::backup_if(unlocked.vault(), &self.request, &will_do).map_err(refused)?.manifest)
    }

    /// What is not in a snapshot of what is touched. A damaged database is in it, as it lies there.
    fn missing(&self, source: &SourceRecord, named: &[&Manifest], library: &Library<'_>) -> Option<String> {
        let stays = |skip: &Skip| self.odd.databases.contains(&(source.name.clone(), skip.path.clone()));
        let is_kept = |skip: &&Skip| stays(skip) || skip.damage;
        let (kept, skipped): (Vec<&Skip>, Vec<&Skip>) = source.skipped.iter().partition(is_kept);
        // Of what is not named any more, nobody knows where it is.
        let unnamed = source.skipped_count > (kept.len() + skipped.len()) as u64;
        let is_touched = |skip: &&&Skip| {
            let own = self.touched.iter().filter(|(name, _)| *name == source.name);
            let concerned = own.map(|(_, path)| path).any(|path| source.kind == KIND || concerns(skip, path));
            concerned && named.iter().any(|manifest| is_named(skip, source, manifest, library))
        };
        let first = skipped.iter().find(is_touched).or(skipped.first().filter(|_| unnamed));
        first.map(|skip| format!("{}/{}: {}", source.name, skip.path, skip.reason))
    }
}

/// Is what was not captured at this path, below it, or above it?
fn concerns(skip: &Skip, path: &EntryPath) -> bool {
    let skipped = path::decode(&skip.path).and_then(|bytes| EntryPath::from_bytes(&bytes).ok());
    skipped.is_none_or(|skipped| skipped.is_within(path) || path.is_within(&skipped))
}

/// Does a snapshot have something at this path, or a database whose log it would be? What it lacks is left alone, with all
/// that is below it.
fn is_named(skip: &Skip, source: &SourceRecord, manifest: &Manifest, library: &Library<'_>) -> bool {
    let Some(record) = manifest.sources.iter().find(|record| record.name == source.name) else { return false };
    let skipped = path::decode(&skip.path).and_then(|bytes| EntryPath::from_bytes(&bytes).ok());
    // What cannot be told is touched.
    let Some(skipped) = skipped.filter(|_| source.kind == FILES) else { return true };
    let has = |path: &EntryPath| show::is_there(library, record, path).unwrap_or(true);
    has(&skipped) || stem(&skipped).is_some_and(|database| has(&database))
}

pub(in crate::ops) fn refused(error: OpError) -> OpError {
    use crate::base::error::{Class, Explain};
    match error.class() {
        _ if matches!(error, OpError::Problem(Problem::NoSafety { .. })) => error,
        Class::Interrupted => error,
        _ => Problem::NoSafety { why: error.to_string(), source: Some(Box::new(error)) }.into(),
    }
}

/// Would a safety snapshot hold what stands there, as the source is configured? What it would not is left alone.
pub(in crate::ops) fn is_captured(part: &Touched, live: &Path, configured: &[Planned]) -> bool {
    let own = configured.iter().find(|planned| planned.name == part.source && planned.source.root() == part.root);
    let Some(own) = own else { return true };
    let real = live.parent().zip(live.file_name()).map(|(folder, name)| real(folder).join(name));
    real.is_some_and(|real| own.source.covers(&real))
}

fn source_of(part: &Touched, configured: &mut Vec<Planned>) -> Result<Planned, OpError> {
    let fits = |planned: &Planned| planned.name == part.source && planned.source.root() == part.root;
    if let Some(at) = configured.iter().position(fits) {
        return Ok(configured.swap_remove(at));
    }
    let refused = |why: String| OpError::from(Problem::NoSafety { why, source: None });
    if part.kind == KIND {
        let mut table = toml::Table::new();
        table.insert("kind".to_owned(), KIND.into());
        table.insert("url".to_owned(), part.root.clone().into());
        let source = source::configure(&table, Path::new("/")).map_err(|error| refused(error.to_string()))?;
        return Ok(Planned { name: part.source.clone(), source });
    }
    // Which of the databases in a folder were named, only the configuration knows: then the folder is what is kept. The path
    // of one of them is no pattern, whatever letters are in it.
    let root = place(&part.root);
    let source: Box<dyn Source> = match part.kind == "sqlite" && !root.is_dir() {
        true => Box::new(SqliteSource::of(root)),
        false => {
            let options = FilesOptions { path: root, ..FilesOptions::default() };
            Box::new(FilesSource::new(options).map_err(|error| refused(error.to_string()))?)
        }
    };
    Ok(Planned { name: part.source.clone(), source })
}
