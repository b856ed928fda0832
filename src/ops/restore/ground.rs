//! Where a source lives on this host: followed once to where it leads, and from then on reached without any link.
//!
//! Owns what is refused before anything is changed: a source whose place has become a link to somewhere else, or whose
//! folder is none any more; and what is left alone there, since it stands where something else belongs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::base::entry::{Entry, Kind};
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::engine::sqlite::COMPANIONS;
use crate::engine::sqlite::file::{DatabaseFile, what};
use crate::engine::sqlite::held::begins_like_a_database;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::actions::Touched;
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::live::{find, live_path};
use crate::ops::restore::server::KIND;
use crate::ops::safety;
use crate::source::files::root::{self, Absent};
use crate::source::files::target::{Options, Target, TargetError, Tree};
use crate::vault::read::{Library, entries};

/// The place of a source.
pub(in crate::ops) struct Ground {
    /// Its own, without links.
    pub root: PathBuf,
    /// The source is one file, not a folder.
    pub alone: bool,
    /// The folder it is reached from; nothing where that is not there.
    tree: Option<Tree>,
}

/// Is the source one file?
pub(in crate::ops) fn is_alone(record: &SourceRecord, library: &Library<'_>) -> Result<bool, OpError> {
    Ok(find(record, &EntryPath::root(), library)?.is_some_and(|entry| entry.kind != Kind::Dir))
}

/// What will be left alone, since something else stands there: nothing of it need be kept safe.
#[derive(Default)]
pub(in crate::ops) struct Odd {
    /// Sources that are one file.
    pub sources: BTreeSet<Name>,
    /// Databases of other sources, by their paths as snapshots write them.
    pub databases: BTreeSet<(Name, String)>,
}

/// Looks at the places of all parts before any is changed.
pub(in crate::ops) fn look_ahead(touches: &Manifest, parts: &[Touched], library: &Library<'_>) -> Result<Odd, OpError> {
    let mut odd = Odd::default();
    for part in parts.iter().filter(|part| part.kind != KIND) {
        let Some(record) = touches.sources.iter().find(|source| source.name == part.source) else { continue };
        let ground = Ground::of(part, record, is_alone(record, library)?)?;
        for path in database_names(record, &part.path, library) {
            if ground.odd_for_database(&path).is_none() {
                continue;
            }
            if ground.alone {
                odd.sources.insert(part.source.clone());
            } else {
                odd.databases.insert((part.source.clone(), path.to_string()));
            }
        }
    }
    Ok(odd)
}

/// The names of the databases of a source in a part of it. Later names of one may stand alone by now.
pub(in crate::ops) fn database_names(record: &SourceRecord, part: &EntryPath, library: &Library<'_>) -> Vec<EntryPath> {
    let all = record.databases.iter().filter(|database| database.engine == "sqlite");
    let all: BTreeSet<&EntryPath> = all.map(|database| &database.path).collect();
    if all.is_empty() {
        return Vec::new();
    }
    let is_name = |entry: &Entry| entry.link.as_ref().is_some_and(|first| all.contains(first));
    // What cannot be read is told when it is given back.
    let later = entries(&record.listing, part, library).flatten().filter(is_name).map(|entry| entry.path);
    all.iter().filter(|path| path.is_within(part)).map(|path| (*path).clone()).chain(later).collect()
}

impl Ground {
    /// Refuses a place that leads elsewhere than when the snapshot was made, and one that cannot be a folder any more.
    pub fn of(part: &Touched, record: &SourceRecord, alone: bool) -> Result<Self, OpError> {
        let named = safety::place(&part.root);
        let root = lead(&named, part, record, alone)?;
        let folder = folder_of(&root, alone);
        let tree = match root::open(folder, Absent::Fail) {
            Ok(open) => Some(Tree::new(open, folder)),
            Err(Errno::NOENT) => None,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(Problem::NoFolder { path: folder.to_owned(), source_name: part.source.to_string() }.into());
            }
            Err(error) => {
                return Err(Problem::Unreadable { path: folder.display().to_string(), source: error.into() }.into());
            }
        };
        Ok(Self { root, alone, tree })
    }

    /// The folder that its entries are written into.
    pub fn folder(&self) -> &Path {
        folder_of(&self.root, self.alone)
    }

    /// Where an entry lives.
    pub fn path(&self, path: &EntryPath) -> PathBuf {
        live_path(&self.root, path)
    }

    /// An entry as it is called in that folder.
    pub fn named(&self, path: &EntryPath) -> EntryPath {
        use std::os::unix::ffi::OsStrExt;
        match self.root.file_name() {
            Some(name) if self.alone && path.is_root() => EntryPath::root().child(name.as_bytes()),
            _ => path.clone(),
        }
    }

    /// What stands where an entry lives. Where a link or a file stands in place of a folder, nothing of it is there.
    pub fn look(&self, path: &EntryPath) -> Option<Stat> {
        self.tree.as_ref()?.look(&self.named(path)).ok().flatten()
    }

    /// The database that lives at a path, which need not be there; nothing where not even its folder is.
    pub fn database(&self, path: &EntryPath) -> Option<DatabaseFile> {
        self.tree.as_ref()?.database(&self.named(path)).ok().flatten()
    }

    /// What keeps a database from being given back to its place, or taken from it: something else stands there.
    pub fn odd_for_database(&self, path: &EntryPath) -> Option<String> {
        let tree = self.tree.as_ref()?;
        let file = match tree.database(&self.named(path)) {
            Ok(file) => file?,
            Err(TargetError::InTheWay { what, .. }) => return Some(format!("{what} is in the way: no folder")),
            Err(error) => return Some(error.to_string()),
        };
        let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        for end in COMPANIONS {
            let beside = file.companion(end);
            if let Some(stat) = beside.look().ok().flatten().filter(|stat| !is_file(stat)) {
                return Some(format!("{} is {}", beside.shown().display(), what(&stat)));
            }
        }
        match file.look().ok().flatten() {
            Some(stat) if !is_file(&stat) => Some(format!("{} stands there", what(&stat))),
            // SQLite makes a database of a file that is empty.
            Some(stat) if stat.st_size > 0 && !begins_like_a_database(&file) => {
                Some("a file stands there that is no database: move it away, and run this again".to_owned())
            }
            _ => file.doubt().map(|doubt| format!("it {doubt}")),
        }
    }

    /// What stands in the place of a folder, in words.
    pub fn odd_for_folder(&self, path: &EntryPath) -> Option<&'static str> {
        let stat = self.look(path)?;
        (FileType::from_raw_mode(stat.st_mode) != FileType::Directory).then(|| what(&stat))
    }

    /// What the link at a path leads to, as it is written in it.
    pub fn read_link(&self, path: &EntryPath) -> Option<Vec<u8>> {
        self.tree.as_ref()?.read_link(&self.named(path))
    }

    /// Opens the regular file that lives at a path to be read.
    pub fn open_file(&self, path: &EntryPath) -> Option<std::os::fd::OwnedFd> {
        self.tree.as_ref()?.file(&self.named(path))
    }

    /// The files that stand in a folder.
    pub fn open_folder(&self, path: &EntryPath) -> Option<std::os::fd::OwnedFd> {
        self.tree.as_ref()?.folder(path)
    }

    /// Opens the folder to write into; it is made where it is not there.
    pub fn target(&self, options: Options) -> Result<Target, OpError> {
        let folder = self.folder();
        let open = root::open(folder, Absent::Make);
        let open =
            open.map_err(|error| TargetError::Closed { path: folder.display().to_string(), source: error.into() })?;
        Ok(Target::within(open, folder, options)?)
    }
}

fn folder_of(root: &Path, alone: bool) -> &Path {
    root.parent().filter(|_| alone).unwrap_or(root)
}

/// Where the source's place leads, if that is where it led, or where an administrator's links lead it.
fn lead(named: &Path, part: &Touched, record: &SourceRecord, alone: bool) -> Result<PathBuf, OpError> {
    let unreadable = |source| OpError::from(Problem::Unreadable { path: named.display().to_string(), source });
    let captured = record.place.as_deref().filter(|_| part.root == record.root);
    // What stands in the place of a single file is no way to another one: that costs only itself.
    let led = match (named.parent(), named.file_name()) {
        (Some(parent), Some(name)) if alone && record.place.is_none() => {
            let led = root::follow(parent).map_err(unreadable)?;
            root::Led { path: led.path.join(name), ..led }
        }
        _ => root::follow(named).map_err(unreadable)?,
    };
    let was = captured.map(safety::place);
    let is_same = match &was {
        Some(was) => led.path == *was,
        None => led.owners.is_empty(),
    };
    let may_lead = was.is_some() || part.root != record.root;
    let own = rustix::process::geteuid().as_raw();
    if is_same || (may_lead && led.owners.iter().all(|&owner| owner == 0 || owner == own)) {
        return Ok(led.path);
    }
    Err(Problem::LedAstray { path: named.to_owned(), to: led.path, source_name: part.source.to_string() }.into())
}
