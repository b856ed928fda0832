//! What of a folder no source of the proposed configuration holds, so that nobody takes it for captured.
//!
//! Looks at everything: hidden folders, and those that tools make, may hold what nobody can make again. Names whole
//! folders where nothing in them is captured, and the files beside what is captured where something is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::base::control::Control;
use crate::base::error::reason;
use crate::base::text::{counted, printable, size};
use crate::ops::discover::Findings;
use crate::ops::error::{OpError, Problem};

/// So many files of one folder are named one by one.
const NAMED: usize = 5;

/// Something that is not in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Relative to the folder that was looked through; empty for that folder itself.
    pub path: PathBuf,
    pub what: What,
    pub files: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A folder of which nothing is captured.
    Folder,
    File,
    /// The files of a folder of which something else is captured.
    FilesIn,
    /// A link, which is not followed.
    Link {
        to: PathBuf,
    },
    /// A folder that could not be looked into.
    Unreadable {
        why: String,
    },
}

impl LeftOut {
    /// `src/  3 files, 1.2 kB`, on one line.
    pub fn words(&self) -> String {
        let path = printable(&self.path.to_string_lossy());
        let amount = format!("{}, {}", counted(self.files, "file"), size(self.bytes));
        match &self.what {
            What::Folder => format!("{path}/  {amount}"),
            What::File => format!("{path}  {}", size(self.bytes)),
            What::FilesIn if path.is_empty() => format!("files beside the configuration  {amount}"),
            What::FilesIn => format!("files in {path}/  {amount}"),
            What::Link { to } => format!("{path}  a link to {}", printable(&to.to_string_lossy())),
            What::Unreadable { why } => format!("{path}/  could not be looked into: {why}"),
        }
    }
}

/// Everything in `folder` that these findings do not hold. The vault, where it lies in the folder, is no data.
pub(super) fn look(
    folder: &Path,
    vault: Option<&str>,
    findings: &Findings,
    control: &Control,
) -> Result<Vec<LeftOut>, OpError> {
    let covered = Covered::by(findings);
    let vault = vault.and_then(|vault| std::path::absolute(vault).ok());
    let is_vault = |entry: &DirEntry| {
        vault.as_ref().is_some_and(|vault| std::path::absolute(entry.path()).is_ok_and(|path| path == *vault))
    };
    let mut groups = Groups::default();
    let relative = |path: &Path| path.strip_prefix(folder).unwrap_or(path).to_owned();
    let walk = WalkDir::new(folder).min_depth(1).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| !is_vault(entry) && !covered.holds(&relative(entry.path()))) {
        if control.stopped() {
            return Err(Problem::Interrupted.into());
        }
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => groups.add(&covered, relative(entry.path()), &entry),
            Err(error) => {
                let path = error.path().map(&relative).unwrap_or_default();
                let why = error.io_error().map_or_else(|| error.to_string(), reason);
                let what = What::Unreadable { why };
                groups.whole.insert(path.clone(), LeftOut { path, what, files: 0, bytes: 0 });
            }
        }
    }
    Ok(groups.told())
}

/// What sources hold.
struct Covered {
    trees: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    databases: BTreeSet<PathBuf>,
    /// Folders that hold something of it.
    above: BTreeSet<PathBuf>,
}

impl Covered {
    fn by(findings: &Findings) -> Self {
        let trees: BTreeSet<PathBuf> = findings.documents.iter().cloned().collect();
        let databases: BTreeSet<PathBuf> = findings.databases.iter().cloned().collect();
        let compose = findings.compose.iter().map(|compose| &compose.path);
        let files: BTreeSet<PathBuf> = findings.environments.iter().chain(compose).cloned().collect();
        let all = trees.iter().chain(&files).chain(&databases);
        let above = all.flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
        Self { trees, files, databases, above }
    }

    fn holds(&self, path: &Path) -> bool {
        let is_beside = |end: &str| {
            path.to_str()
                .and_then(|path| path.strip_suffix(end))
                .is_some_and(|path| self.databases.contains(Path::new(path)))
        };
        self.files.contains(path)
            || self.databases.contains(path)
            || ["-wal", "-shm", "-journal"].iter().any(|end| is_beside(end))
            || path.ancestors().any(|above| self.trees.contains(above))
    }
}

#[derive(Default)]
struct Groups {
    whole: BTreeMap<PathBuf, LeftOut>,
    /// By the folder they lie in.
    files: BTreeMap<PathBuf, Vec<LeftOut>>,
}

impl Groups {
    fn add(&mut self, covered: &Covered, path: PathBuf, entry: &DirEntry) {
        let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
        let mut folders: Vec<&Path> = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
        folders.reverse();
        if let Some(top) = folders.into_iter().find(|above| !covered.above.contains(*above)) {
            let empty = LeftOut { path: top.to_owned(), what: What::Folder, files: 0, bytes: 0 };
            let group = self.whole.entry(top.to_owned()).or_insert(empty);
            group.files += 1;
            group.bytes += bytes;
            return;
        }
        if entry.file_type().is_symlink() {
            let to = std::fs::read_link(entry.path()).unwrap_or_default();
            self.whole.insert(path.clone(), LeftOut { path, what: What::Link { to }, files: 0, bytes: 0 });
            return;
        }
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        self.files.entry(parent).or_default().push(LeftOut { path, what: What::File, files: 1, bytes });
    }

    /// The largest first.
    fn told(self) -> Vec<LeftOut> {
        let mut all: Vec<LeftOut> = self.whole.into_values().collect();
        for (path, files) in self.files {
            if files.len() <= NAMED {
                all.extend(files);
                continue;
            }
            let bytes = files.iter().map(|file| file.bytes).sum();
            all.push(LeftOut { path, what: What::FilesIn, files: files.len() as u64, bytes });
        }
        all.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.path.cmp(&other.path)));
        all
    }
}
