//! A vault with its host folders and identity in a temporary folder, and trees of files to put into it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use strongroom::base::chunk::plain_digest;
use strongroom::base::control::Control;
use strongroom::base::id::{PlainDigest, SealedDigest};
use strongroom::format::catalog::PackContents;
use strongroom::format::identity::{OwnerKeys, WriterKeys};
use strongroom::format::manifest::Manifest;
use strongroom::format::{catalog, layout, seal};
use strongroom::ops::backup::{self, Planned};
use strongroom::ops::error::OpError;
use strongroom::ops::verify::{self, Depth};
use strongroom::ops::{restore, verify::Report};
use strongroom::source::files::{FilesOptions, FilesSource};
use strongroom::store::{Options, Store};
use strongroom::vault::commit::Label;
use strongroom::vault::host::Folders;
use strongroom::vault::limits::Limits;
use strongroom::vault::people::{Credentials, Person};
use strongroom::vault::snapshots::Snapshot;
use strongroom::vault::unlocked::UnlockedVault;
use strongroom::vault::{LockedVault, Vault, create};
use tempfile::TempDir;

/// Packs of some ten kilobytes: a small tree makes many.
pub const SMALL: Limits = Limits {
    pack: 24 << 10,
    whole_frame: 12 << 10,
    random_frame: 8 << 10,
    lines_frame: 8 << 10,
    catalog_chunks: 60_000,
    catalog_packs: 3,
};

/// A vault, a host that appends to it, and the person who may read it.
pub struct Lab {
    temp: TempDir,
    pub store: Store,
    pub folders: Folders,
    pub identity: Identity,
}

impl Lab {
    pub fn in_memory() -> Self {
        Self::at(tempfile::tempdir().unwrap(), Store::open("memory://", &Options::default()).unwrap())
    }

    pub fn in_folder() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::create(temp.path().join("vault").to_str().unwrap(), &Options::default()).unwrap();
        Self::at(temp, store)
    }

    fn at(temp: TempDir, store: Store) -> Self {
        let (identity, other) = (Identity::generate(), Identity::generate());
        let person = |name: &str, identity: &Identity| Person::with_age(name.parse().unwrap(), identity.to_public());
        let folders = Folders { config: temp.path().join("config"), cache: temp.path().join("cache") };
        create::create(&store, &[person("me", &identity), person("somebody_else", &other)], &folders).unwrap();
        Self { temp, store, folders, identity }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// The vault as a host sees it that keeps its writer file and has a cache of its own.
    pub fn with_cache(&self, name: &str) -> Folders {
        Folders { config: self.folders.config.clone(), cache: self.path(name) }
    }

    pub fn vault(&self, store: &Store, folders: &Folders) -> Vault {
        LockedVault::open(store.clone(), folders).unwrap().into_vault().unwrap().with_limits(SMALL)
    }

    pub fn unlock(&self, store: &Store, folders: &Folders) -> Result<UnlockedVault, OpError> {
        Ok(LockedVault::open(store.clone(), folders)?.unlock(&self.credentials())?)
    }

    pub fn credentials(&self) -> Credentials {
        let mut credentials = Credentials::default();
        credentials.add("identity", self.identity.to_string().expose_secret(), age::NoCallbacks).unwrap();
        credentials
    }

    /// The keys that forge anything.
    pub fn owner_keys(&self) -> OwnerKeys {
        let keys = self.store.list(layout::KEYS).unwrap();
        let text = keys.iter().find_map(|key| seal::open(&self.store.get(&key.key).unwrap(), &[&self.identity]).ok());
        OwnerKeys::from_text(std::str::from_utf8(&text.unwrap()).unwrap()).unwrap().0
    }

    /// Takes a snapshot of a folder with the host's own cache.
    pub fn backup(&self, tree: &Path) -> Manifest {
        backup(&self.vault(&self.store, &self.folders), tree).unwrap().manifest
    }
}

pub fn request(tree: &Path, rescan: bool) -> backup::Request {
    let options = FilesOptions { path: tree.to_owned(), ..FilesOptions::default() };
    let label = Label {
        host: "here".into(),
        user: "me".into(),
        app: "app".parse().unwrap(),
        tags: Vec::new(),
        labels: BTreeMap::new(),
        reason: "test".into(),
        tool: "test".into(),
    };
    let source = Planned { name: "docs".parse().unwrap(), source: Box::new(FilesSource::new(options).unwrap()) };
    let (check, estimate, all, alarms) = (true, false, false, Some(backup::Shares::default()));
    let (rescan, control) = (rescan.into(), Arc::default());
    backup::Request { sources: vec![source], label, check, rescan, estimate, alarms, all, control }
}

pub fn backup(vault: &Vault, tree: &Path) -> Result<backup::Report, OpError> {
    backup::backup(vault, &request(tree, false))
}

pub fn restore(unlocked: &UnlockedVault, manifest: &Manifest, to: &Path) -> Result<restore::Report, OpError> {
    let request = restore::Request { parts: Vec::new(), to: to.to_owned(), numeric_ids: true, control: Arc::default() };
    restore::restore(unlocked, manifest, &request)
}

pub fn verify(unlocked: &UnlockedVault, depth: Depth) -> Result<Report, OpError> {
    verify::unlocked(unlocked, None, depth, &Arc::<Control>::default())
}

pub const ALL_DATA: Depth = Depth::Data { sample: None };

/// The readable snapshots, oldest first; none may be damaged.
pub fn snapshots(unlocked: &UnlockedVault) -> Vec<Snapshot> {
    let snapshots = unlocked.snapshots().unwrap();
    assert!(snapshots.damaged.is_empty(), "{:?}", snapshots.damaged);
    snapshots.readable
}

/// Sound at this depth, or the damage in the panic.
pub fn assert_sound(unlocked: &UnlockedVault, depth: Depth, context: &str) {
    let report = verify(unlocked, depth).unwrap();
    assert!(report.sound(), "{context}: {:#?}", report.damage);
}

/// Restores a snapshot into a fresh folder; it must be this tree and nothing may be left out.
pub fn assert_restores(unlocked: &UnlockedVault, manifest: &Manifest, tree: &Tree, context: &str) {
    let to = tempfile::tempdir().unwrap();
    let report = restore(unlocked, manifest, to.path()).unwrap();
    assert_eq!(report.issues, [], "{context}");
    assert_same(&Tree::read(to.path()), tree, context);
}

/// Everything that catalogs say of packs, each pack as often as a catalog names it.
pub fn catalogued(store: &Store, folders: &Folders) -> Vec<PackContents> {
    let host = LockedVault::open(store.clone(), folders).unwrap();
    let text = fs::read_to_string(host.host().writer_file()).unwrap();
    let key = WriterKeys::from_json(&text).unwrap().catalog;
    let read = |object: strongroom::store::Listed| {
        let sealed = store.get(&object.key).unwrap();
        catalog::read(&seal::open(&sealed, &[&key]).unwrap()).unwrap()
    };
    store.list(layout::CATALOGS).unwrap().into_iter().flat_map(read).collect()
}

pub fn packs(store: &Store) -> BTreeSet<SealedDigest> {
    store.list(layout::PACKS).unwrap().iter().map(|object| object.key.digest().unwrap()).collect()
}

/// What a folder holds, in memory: path to what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<String, Thing>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    pub mode: u32,
    pub mtime: (i64, i64),
    pub is: Is,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Is {
    Dir,
    /// Its length and the digest of its bytes.
    File(usize, PlainDigest),
    Link(PathBuf),
}

impl Tree {
    pub fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        for entry in walkdir::WalkDir::new(root) {
            let entry = entry.unwrap();
            let stat = entry.metadata().unwrap();
            let is = if stat.is_dir() {
                Is::Dir
            } else if stat.is_symlink() {
                Is::Link(fs::read_link(entry.path()).unwrap())
            } else {
                let bytes = fs::read(entry.path()).unwrap();
                Is::File(bytes.len(), plain_digest(&bytes))
            };
            let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            tree.0.insert(path, Thing { mode: stat.mode(), mtime: (stat.mtime(), stat.mtime_nsec()), is });
        }
        tree
    }

    pub fn files(&self) -> impl Iterator<Item = (&String, &Thing)> {
        self.0.iter().filter(|(_, thing)| !matches!(thing.is, Is::Dir))
    }
}

/// Names the first few differences.
pub fn assert_same(found: &Tree, expected: &Tree, context: &str) {
    let wrong: Vec<_> = expected
        .0
        .iter()
        .filter(|(path, thing)| found.0.get(*path) != Some(thing))
        .map(|(path, thing)| format!("{path}: {:?} instead of {thing:?}", found.0.get(path)))
        .chain(found.0.keys().filter(|path| !expected.0.contains_key(*path)).map(|path| format!("{path}: too much")))
        .take(5)
        .collect();
    assert!(wrong.is_empty(), "{context}: {wrong:#?}");
}

/// Numbers that look random and come again with the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..length.div_ceil(6)).flat_map(|_| self.next().to_le_bytes()[..6].to_vec()).collect();
        bytes.truncate(length);
        bytes
    }
}

/// Another place in memory with the same objects.
pub fn copy_store(store: &Store) -> Store {
    let copy = Store::open("memory://", &Options::default()).unwrap();
    for object in store.list("").unwrap() {
        copy.put_new(&object.key, store.get(&object.key).unwrap()).unwrap();
    }
    copy
}

/// Writes a tree of `count` files of up to `largest` bytes in some folders, with links and modes.
pub fn plant(root: &Path, random: &mut Random, count: usize, largest: usize) {
    fs::create_dir_all(root.join("empty")).unwrap();
    for n in 0..count {
        let folder = root.join(format!("folder-{}", n % 7));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("file-{n:03}"));
        let length = random.below(largest);
        fs::write(&file, random.bytes(length)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600 | (n as u32 % 8))).unwrap();
    }
    fs::write(root.join("nothing"), b"").unwrap();
    symlink("folder-0/file-000", root.join("link")).unwrap();
}

/// Changes, adds and removes some files.
pub fn change(root: &Path, random: &mut Random, changes: usize, largest: usize) {
    for _ in 0..changes {
        let folder = root.join(format!("folder-{}", random.below(7)));
        let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let name = format!("new-{:06}", random.below(1_000_000));
        let file = match random.below(4) {
            0 => folder.join(name),
            _ if files.is_empty() => folder.join(name),
            1 if files.len() > 2 => {
                fs::remove_file(&files[random.below(files.len())]).unwrap();
                continue;
            }
            _ => files[random.below(files.len())].clone(),
        };
        let length = random.below(largest);
        fs::write(file, random.bytes(length)).unwrap();
    }
}

pub fn copy_folder(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let place = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(place).unwrap();
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}
