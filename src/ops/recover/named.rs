//! One file of a snapshot by as much of its path as a person remembers.

use crate::base::entry::Kind;
use crate::base::path::EntryPath;
use crate::format::manifest::Manifest;
use crate::ops::error::{OpError, Problem};
use crate::ops::show::Part;
use crate::vault::read;
use crate::vault::unlocked::UnlockedVault;

/// So many are named where several fit.
const NAMED: usize = 10;

/// The only file whose path ends with this. Where the source is named, the file of just this path goes before others.
pub fn named(unlocked: &UnlockedVault, manifest: &Manifest, part: &Part) -> Result<Part, OpError> {
    let library = unlocked.library()?;
    let wanted = part.path.as_bytes();
    let mut fits: Vec<(String, EntryPath)> = Vec::new();
    let meant = |name: &str| part.source.as_ref().is_none_or(|source| source == name);
    let sources = manifest.sources.iter().filter(|source| source.kind == "files" && meant(source.name.as_str()));
    for source in sources {
        for entry in read::entries(&source.listing, &EntryPath::root(), &library) {
            let entry = entry?;
            if entry.kind == Kind::Dir || !ends_with(entry.path.as_bytes(), wanted) {
                continue;
            }
            if entry.path == part.path && part.source.is_some() {
                return Ok(Part { source: Some(source.name.to_string()), path: entry.path });
            }
            fits.push((source.name.to_string(), entry.path));
        }
    }
    match &fits[..] {
        [(source, path)] => Ok(Part { source: Some(source.clone()), path: path.clone() }),
        [] => {
            let (snapshot, path) = (manifest.id.short(), part.path.to_string());
            Err(match &part.source {
                Some(source) => Problem::NoPath { snapshot, source_name: source.clone(), path }.into(),
                None => {
                    let files = manifest.sources.iter().filter(|source| source.kind == "files").take(NAMED);
                    let sources = files.map(|source| source.name.to_string()).collect();
                    Problem::Nowhere { snapshot, path, sources }.into()
                }
            })
        }
        _ => {
            let files = fits.iter().take(NAMED).map(|(source, path)| format!("{source}:{path}")).collect();
            Err(Problem::WhichFile { path: part.path.to_string(), count: fits.len() as u64, files }.into())
        }
    }
}

/// Is it the path, or its last parts?
fn ends_with(path: &[u8], wanted: &[u8]) -> bool {
    path.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with(b"/"))
}
