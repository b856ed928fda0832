//! The safety snapshot of a recovery: what the rows and files that it touches hold, and nothing else.
//!
//! A whole database would take seconds for what a recovery does in milliseconds. The rows are a file of images
//! (`record/inverse.rs`) in a source of a kind of its own; the files are captured as files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::capture::{Capture, EntrySink};
use crate::base::control::Control;
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::base::record::{Key, Records};
use crate::format::manifest::{Manifest, ROWS as KIND, SourceRecord};
use crate::ops::actions::{Action, Actions};
use crate::ops::backup::{self, Planned, Rescan};
use crate::ops::error::{OpError, Problem};
use crate::ops::live_database::LiveDatabase;
use crate::ops::recover::journal::Placed;
use crate::ops::recover::together::Joined;
use crate::ops::safety::{place, refused};
use crate::ops::show::{self, Part};
use crate::record::inverse;
use crate::source::files::{Databases, FilesOptions, FilesSource};
use crate::source::{Source, SourceError};
use crate::vault::commit::Label;
use crate::vault::host;
use crate::vault::unlocked::UnlockedVault;

/// Everything a recovery touches.
pub struct Touches<'t> {
    pub source: &'t Name,
    pub live: &'t dyn Records,
    pub database: &'t LiveDatabase,
    pub others: &'t [Joined],
    pub rows: &'t [(String, Key)],
    pub files: &'t [Placed],
    /// Triggers fire, which may touch anything: whole databases are kept.
    pub whole: bool,
    /// A private folder for what has to be written down first.
    pub folder: &'t Path,
}

/// Takes the snapshot.
pub fn snapshot(
    unlocked: &UnlockedVault,
    touches: &Touches<'_>,
    label: Label,
    control: &Arc<Control>,
) -> Result<Manifest, OpError> {
    let images = Images::write(touches)?;
    let options = FilesOptions { path: images.0.clone(), databases: Databases::Plain, ..FilesOptions::default() };
    let files = FilesSource::new(options).expect("BUG: there is no pattern that could be wrong");
    let root = touches.database.written();
    let name = Name::lossy(&format!("{}-rows", touches.source));
    let mut sources = vec![Planned { name, source: Box::new(RowsSource { files, root }) }];
    if touches.whole {
        sources.push(Planned { name: touches.source.clone(), source: touches.database.source() });
        let other = |other: &Joined| Planned { name: other.source.clone(), source: other.live.source() };
        sources.extend(touches.others.iter().map(other));
    }
    let files = files_of(touches.files);
    // What is kept of files is what is there, whatever it looks like.
    let rescan = Rescan::Parts(files.iter().map(|planned| (planned.name.clone(), EntryPath::root())).collect());
    sources.extend(files);
    let control = control.clone();
    let request =
        backup::Request { sources, label, check: false, rescan, estimate: false, alarms: None, all: true, control };
    let will_do = |source: &SourceRecord| match source.skipped.first() {
        None => Ok(()),
        Some(skip) => Err(Problem::NoSafety { why: format!("{}: {}", skip.path, skip.reason), source: None }.into()),
    };
    Ok(backup::backup_if(unlocked.vault(), &request, &will_do).map_err(refused)?.manifest)
}

/// The files that are there and will be replaced or removed, by source: by their paths, whatever letters are in them, and
/// wherever backups would leave them out.
fn files_of(files: &[Placed]) -> Vec<Planned> {
    let mut sources: BTreeMap<(&Name, &String), BTreeSet<EntryPath>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.was.is_some()) {
        sources.entry((&file.source, &file.root)).or_default().insert(file.path.clone());
    }
    let one = |((name, root), paths): ((&Name, &String), BTreeSet<EntryPath>)| {
        let (path, databases, paths) = (place(root), Databases::Plain, Some(Arc::new(paths)));
        // What is gone by now is missed when each is looked for.
        let options = FilesOptions { path, databases, paths, allow_empty: true, ..FilesOptions::default() };
        let source = FilesSource::new(options).expect("BUG: there is no pattern that could be wrong");
        Planned { name: name.clone(), source: Box::new(source) as Box<dyn Source> }
    };
    sources.into_iter().map(one).collect()
}

/// The images of an action's safety snapshot, and behind them those of rows that triggers touched; ready to be read.
pub fn images(
    unlocked: &UnlockedVault,
    manifest: &Manifest,
    actions: &Actions,
    done: &Action,
) -> Result<Option<BufReader<File>>, OpError> {
    let Some(record) = manifest.sources.iter().find(|source| source.kind == KIND) else { return Ok(None) };
    let images = Images::name(actions.folder())?;
    let mut file = host::create_private(&images.0).map_err(|error| images.failed(error))?;
    let part = Part { source: Some(record.name.to_string()), path: EntryPath::root() };
    show::cat(unlocked, manifest, &part, &mut file)?;
    if let Some(mut fired) = actions.read_fired(done)? {
        std::io::copy(&mut fired, &mut file).map_err(|error| images.failed(error))?;
    }
    let mut file = File::open(&images.0).map_err(|error| images.failed(error))?;
    file.rewind().map_err(|error| images.failed(error))?;
    // The file is gone with its name; what is open stays readable.
    Ok(Some(BufReader::new(file)))
}

/// A private file that is gone afterwards.
struct Images(PathBuf);

impl Images {
    fn name(folder: &Path) -> Result<Self, OpError> {
        host::make_private_folder(folder)?;
        let mut random = [0; 8];
        crate::format::header::fill_random(&mut random);
        Ok(Self(folder.join(format!("{}.rows", hex::encode(random)))))
    }

    fn write(touches: &Touches<'_>) -> Result<Self, OpError> {
        let images = Self::name(touches.folder)?;
        let mut out = BufWriter::new(host::create_private(&images.0).map_err(|error| images.failed(error))?);
        inverse::keep(touches.live, touches.rows, &mut out)?;
        out.flush().map_err(|error| images.failed(error))?;
        drop(out);
        Ok(images)
    }

    fn failed(&self, source: std::io::Error) -> OpError {
        Problem::Output { path: self.0.display().to_string(), source }.into()
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        // What stays is litter in a private folder, not harm.
        let _ = fs::remove_file(&self.0);
    }
}

/// Rows of a live database, written down as a file.
#[derive(Debug)]
struct RowsSource {
    files: FilesSource,
    root: String,
}

impl Source for RowsSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn root(&self) -> String {
        self.root.clone()
    }

    fn memory(&self) -> String {
        format!("{KIND} {}", self.root)
    }

    fn capture(&self, capture: Capture, sink: &mut dyn EntrySink) -> Result<(), SourceError> {
        self.files.capture(capture, sink)
    }

    fn may_be_empty(&self) -> bool {
        true
    }

    fn estimate(&self, control: &Control) {
        self.files.estimate(control);
    }
}
