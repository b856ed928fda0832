//! Looking into one snapshot: which sources and paths are meant, what they hold, a file's bytes.

use std::io::Write;

use crate::base::entry::{Entry, Kind};
use crate::base::path::EntryPath;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::error::{OpError, Problem};
use crate::vault::extents;
use crate::vault::read::{self, Library};
use crate::vault::unlocked::UnlockedVault;

/// `SOURCE`, `SOURCE:PATH`, or `:PATH` where there is one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub source: Option<String>,
    pub path: EntryPath,
}

impl Part {
    /// Everything of the only source.
    pub fn whole() -> Self {
        Self { source: None, path: EntryPath::root() }
    }

    /// The source that is meant.
    pub fn source_of<'m>(&self, manifest: &'m Manifest) -> Result<&'m SourceRecord, OpError> {
        let names = || manifest.sources.iter().map(|source| source.name.to_string()).collect();
        let snapshot = || manifest.id.short();
        let source = match (&self.source, &manifest.sources[..]) {
            (None, [only]) => only,
            (None, _) => return Err(Problem::WhichSource { snapshot: snapshot(), sources: names() }.into()),
            (Some(name), sources) => sources.iter().find(|source| source.name.as_str() == name).ok_or_else(|| {
                Problem::NoSource { snapshot: snapshot(), source_name: name.clone(), sources: names() }
            })?,
        };
        match manifest.absence(source) {
            // What holds nothing can be looked into; what was not captured cannot.
            Some(why) if source.failed.is_some() => Err(not_captured(manifest, source, why)),
            _ => Ok(source),
        }
    }
}

/// Hands every entry at or below `part` to `each`, in order.
pub fn list(
    unlocked: &UnlockedVault,
    manifest: &Manifest,
    part: &Part,
    mut each: impl FnMut(Entry) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let library = unlocked.library()?;
    let source = part.source_of(manifest)?;
    let mut found = false;
    for entry in read::entries(&source.listing, &part.path, &library) {
        found = true;
        each(entry?)?;
    }
    if found || (part.path.is_root() && source.entries == 0) { Ok(()) } else { Err(no_path(manifest, source, part)) }
}

/// The error of whoever wants what a snapshot has nothing of.
pub(super) fn not_captured(manifest: &Manifest, source: &SourceRecord, why: String) -> OpError {
    let (snapshot, source_name) = (manifest.id.short(), source.name.to_string());
    Problem::NotCaptured { snapshot, source_name, why }.into()
}

/// Writes the bytes of one file.
pub fn cat(unlocked: &UnlockedVault, manifest: &Manifest, part: &Part, out: &mut dyn Write) -> Result<(), OpError> {
    let library = unlocked.library()?;
    let source = part.source_of(manifest)?;
    let entry = one(&library, source, &part.path)?.ok_or_else(|| no_path(manifest, source, part))?;
    let entry = match &entry.link {
        Some(first) => one(&library, source, first)?.ok_or_else(|| no_path(manifest, source, part))?,
        None => entry,
    };
    if entry.kind != Kind::File {
        return Err(Problem::NotAFile { path: entry.path.to_string() }.into());
    }
    let mut reader = library.reader();
    let failed = |source| Problem::Output { path: entry.path.to_string(), source };
    for extent in extents::of_file(&entry, &library) {
        let extent = extent?;
        match reader.extent(&extent)? {
            Some(bytes) => out.write_all(&bytes).map_err(failed)?,
            None => write_zeros(out, extent.length).map_err(failed)?,
        }
    }
    out.flush().map_err(failed)?;
    Ok(())
}

/// The entry of exactly this path.
pub(super) fn one(library: &Library<'_>, source: &SourceRecord, path: &EntryPath) -> Result<Option<Entry>, OpError> {
    let first = read::entries(&source.listing, path, library).next().transpose()?;
    Ok(first.filter(|entry| entry.path == *path))
}

/// Is there anything at the path or below it?
pub(super) fn is_there(library: &Library<'_>, source: &SourceRecord, path: &EntryPath) -> Result<bool, OpError> {
    Ok(read::entries(&source.listing, path, library).next().transpose()?.is_some())
}

fn write_zeros(out: &mut dyn Write, mut length: u64) -> std::io::Result<()> {
    let zeros = [0; 64 << 10];
    while length > 0 {
        let now = length.min(zeros.len() as u64);
        out.write_all(&zeros[..now as usize])?;
        length -= now;
    }
    Ok(())
}

fn no_path(manifest: &Manifest, source: &SourceRecord, part: &Part) -> OpError {
    let (snapshot, source_name) = (manifest.id.short(), source.name.to_string());
    Problem::NoPath { snapshot, source_name, path: part.path.to_string() }.into()
}
