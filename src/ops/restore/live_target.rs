//! Whether a folder that is restored into holds live data, or lies in it.
//!
//! A restore into a folder overwrites without a safety snapshot, and nothing takes it back: so live data is changed in
//! place, or not at all.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::base::path::EntryPath;
use crate::format::manifest::Manifest;
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::places::Places;
use crate::ops::restore::claims::real;
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
    manifest: &Manifest,
    request: &Request,
    places: &Places,
    configured: &[Planned],
) -> Result<Way, OpError> {
    let library = unlocked.library()?;
    let mut homes: Vec<Home> = places.all(configured).filter_map(|(source, root)| Home::of(source, &root)).collect();
    let (jobs, _) = plan(manifest, request)?;
    homes.extend(jobs.iter().filter_map(|job| Home::of(job.source.name.to_string(), &job.source.root)));
    let at_home = |job: &Job<'_>| homes.iter().any(|home| home.is_of(job) && home.path == real(&job.root()));
    if !jobs.is_empty() && jobs.iter().all(at_home) {
        // Where nothing is, nothing can be lost: on a new host it is filled without a question.
        let nothing_there = jobs.iter().all(|job| is_empty(&job.root()));
        return Ok(if nothing_there { Way::Beside } else { Way::InPlace });
    }
    for job in &jobs {
        if let Some(home) = homes.iter().find(|home| home.is_touched(job, &library)) {
            let (to, source_name, root) = (job.root(), home.source.clone(), home.path.clone());
            return Err(Problem::LiveData { to, source_name, root, snapshot: manifest.id.short() }.into());
        }
    }
    Ok(Way::Beside)
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
        if is_empty(&target) {
            return false;
        }
        // A folder in it that the snapshot does not know is one that somebody has made to restore into.
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
