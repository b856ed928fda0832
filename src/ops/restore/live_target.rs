//! Whether a folder that is restored into holds live data, or lies in it.
//!
//! A restore into a folder overwrites without a safety snapshot, and nothing takes it back: so live data is changed in
//! place, or not at all.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::base::path::EntryPath;
use crate::base::text::shell_word;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::places::Places;
use crate::ops::restore::claims::real;
use crate::ops::restore::whose::{Chosen, asked};
use crate::ops::restore::{Job, Request, live, plan};
use crate::ops::safety::place;
use crate::vault::read::Library;
use crate::vault::unlocked::UnlockedVault;

/// How a folder is to be restored into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// No live data is there.
    Beside,
    /// It is where what is restored lives.
    InPlace,
}

/// Decides how a folder is restored into, or why it is not.
pub fn way(
    unlocked: &UnlockedVault,
    (manifest, chosen): (&Manifest, &Chosen<'_, '_>),
    request: &Request,
    places: &Places,
    configured: &[Planned],
) -> Result<Way, OpError> {
    let library = unlocked.library()?;
    let (jobs, _) = plan(manifest, request)?;
    let vault = unlocked.vault().store().folder().map(real);
    jobs.iter().try_for_each(|job| outside_vault(job, vault.as_deref(), &library))?;
    let mut homes: Vec<Home> = places.all(configured).filter_map(|(source, root)| Home::of(source, &root)).collect();
    homes.extend(jobs.iter().filter_map(|job| Home::of(job.source.name.to_string(), &job.source.root)));
    let own = jobs.iter().map(|job| own_place(manifest, job.source, places, configured));
    let own: Vec<PathBuf> = own.collect::<Result<_, _>>()?;
    let at_home = |(job, own): &(&Job<'_>, &PathBuf)| **own == real(&job.root());
    if !jobs.is_empty() && jobs.iter().zip(&own).all(|both| at_home(&both)) {
        let own_snapshot = |job: &Job<'_>| captured_there(job, (manifest, chosen), request);
        jobs.iter().try_for_each(own_snapshot)?;
        // Where nothing is, nothing can be lost: on a new host it is filled without a question.
        let nothing_there = jobs.iter().all(|job| is_empty(&job.root()));
        return Ok(if nothing_there { Way::Beside } else { Way::InPlace });
    }
    let hint = |to: &str| format!("{to}: strongroom restore {} {}--in-place", manifest.id.short(), asked(request));
    // Some of it would go where it lives, and the rest elsewhere: that is neither one way nor the other.
    let is_lived_in = |(job, own): &(&Job<'_>, &PathBuf)| at_home(&(*job, *own)) && !is_empty(&job.root());
    if let Some((job, own)) = jobs.iter().zip(&own).find(is_lived_in) {
        let hint = hint("name an empty folder, or give it all back with a way back");
        let source_name = job.source.name.to_string();
        return Err(Problem::LiveData { to: job.root(), source_name, root: own.clone(), hint }.into());
    }
    for (job, _) in jobs.iter().zip(&own).filter(|both| !at_home(both)) {
        let target = real(&job.root());
        let nothing_there = is_empty(&job.root());
        let is_anothers = places.captured(&job.source.name).any(|root| real(&place(root)) == target);
        if is_anothers && nothing_there && chosen.is_exact() {
            continue;
        }
        if is_anothers {
            of_another_place(job, (manifest, chosen), request)?;
        }
        if let Some(home) = homes.iter().find(|home| home.is_touched(job, &library)) {
            let (to, source_name, root) = (job.root(), home.source.clone(), home.path.clone());
            let hint = match home.is_of(job) {
                true => hint("name an empty folder, or change it with a way back"),
                false => hint("name an empty folder outside of it, or give back with a way back what was asked for"),
            };
            return Err(Problem::LiveData { to, source_name, root, hint }.into());
        }
    }
    Ok(Way::Beside)
}

/// Fails where the folder is where the source lives and the snapshot captured it elsewhere, though there are some of this place.
fn captured_there(
    job: &Job<'_>,
    (manifest, chosen): (&Manifest, &Chosen<'_, '_>),
    request: &Request,
) -> Result<(), OpError> {
    let is_there = real(&place(&job.source.root)) == real(&job.root());
    if is_there || chosen.is_exact() { Ok(()) } else { of_another_place(job, (manifest, chosen), request) }
}

/// Fails where there is a snapshot of the source as it is in that folder, which this one is not.
fn of_another_place(
    job: &Job<'_>,
    (manifest, chosen): (&Manifest, &Chosen<'_, '_>),
    request: &Request,
) -> Result<(), OpError> {
    let target = real(&job.root());
    let Some(other) = chosen.at(&job.source.name, &target)? else { return Ok(()) };
    let (to, source_name, root) = (job.root(), job.source.name.to_string(), job.source.root.clone());
    let (snapshot, own) = (manifest.id.short(), other.id.short());
    let named = shell_word(&format!("{source_name}={}", target.display()));
    let hint =
        format!("that one is in snapshot {own}: strongroom restore {own} {}--in-place --place {named}", asked(request));
    Err(Problem::OtherPlace { to, source_name, snapshot, root, hint }.into())
}

/// Where a restore in place would write. Where nobody confirms what the snapshot says, it is asked for later.
fn own_place(
    manifest: &Manifest,
    record: &SourceRecord,
    places: &Places,
    configured: &[Planned],
) -> Result<PathBuf, OpError> {
    let root = match places.root(manifest, record, configured) {
        Err(OpError::Problem(Problem::UnknownPlace(_))) => record.root.clone(),
        root => root?,
    };
    Ok(real(&place(&root)))
}

/// Fails where something would be written into a vault: this one, by what the snapshot holds, or any that the folder is in.
fn outside_vault(job: &Job<'_>, vault: Option<&Path>, library: &Library<'_>) -> Result<(), OpError> {
    no_vault(&job.root())?;
    let Some(vault) = vault else { return Ok(()) };
    let Ok(inner) = vault.strip_prefix(real(&job.root())) else { return Ok(()) };
    let inner = EntryPath::from_bytes(inner.as_os_str().as_bytes());
    let is_held = |path: &EntryPath| live::find(job.source, path, library).is_ok_and(|found| found.is_some());
    match inner.is_ok_and(|path| (path.is_within(&job.folder) || job.folder.is_within(&path)) && is_held(&path)) {
        true => Err(Problem::InVault { to: job.root(), vault: vault.to_owned() }.into()),
        false => Ok(()),
    }
}

/// Fails where a folder is a vault's or lies in one.
pub(in crate::ops) fn no_vault(to: &Path) -> Result<(), OpError> {
    let has = |folder: &Path| ["keys", "packs", "snapshots"].iter().any(|name| folder.join(name).is_dir());
    let is_vault = |folder: &&Path| folder.join("vault.json").is_file() && has(folder);
    match real(to).ancestors().find(is_vault) {
        Some(vault) => Err(Problem::InVault { to: to.to_owned(), vault: vault.to_owned() }.into()),
        None => Ok(()),
    }
}

/// A place of live data that is there, with no link in its path.
struct Home {
    source: String,
    path: PathBuf,
}

impl Home {
    fn of(source: String, root: &str) -> Option<Self> {
        let path = place(root);
        (path.is_absolute() && path.exists()).then(|| Self { source, path: real(&path) })
    }

    fn is_of(&self, job: &Job<'_>) -> bool {
        self.source == job.source.name.as_str()
    }

    /// May what is restored overwrite some of it?
    fn is_touched(&self, job: &Job<'_>, library: &Library<'_>) -> bool {
        let target = real(&job.root());
        if self.path.starts_with(&target) {
            return true;
        }
        let Ok(inner) = target.strip_prefix(&self.path) else { return false };
        // A folder in it that the snapshot does not know is one that somebody has made to restore into. What is another
        // source's would be captured as a part of that from then on.
        let is_known = |path: &EntryPath| live::find(job.source, path, library).is_ok_and(|found| found.is_some());
        !self.is_of(job) || EntryPath::from_bytes(inner.as_os_str().as_bytes()).map_or(true, |path| is_known(&path))
    }
}

fn is_empty(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

impl Job<'_> {
    /// Where the root of the source goes.
    fn root(&self) -> PathBuf {
        let is_file = self.source.entries == 1 && self.source.files == 1;
        let name = std::ffi::OsString::from_vec(self.name.as_bytes().to_vec());
        if is_file { self.to.join(name) } else { self.to.clone() }
    }
}
