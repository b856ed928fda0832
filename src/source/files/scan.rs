//! Looks into one folder: its names, sorted, and what `stat` says of each.
//!
//! A folder is listed in one go, and its names are looked at slice by slice, so that a folder with a million names
//! costs little more than those names. Both are tasks: done by a helper ahead of need, or when needed.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use rustix::fs::RawDir;
use rustix::io::Errno;

use crate::base::entry::Kind;
use crate::base::path::EntryPath;
use crate::source::files::exclude::Scope;
use crate::source::files::handle::{Handle, Opener};
use crate::source::files::metadata::Facts;
use crate::source::files::only::{Paths, leads_to};
use crate::source::files::target::is_temporary;
use crate::source::files::task::{Task, locked};

/// How many names are looked at together.
const SLICE: usize = 1024;
const CACHEDIR_TAG: &[u8] = b"CACHEDIR.TAG";
const CACHEDIR_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What holds for the whole walk.
pub(super) struct Terms {
    pub opener: Opener,
    /// The only file system to walk, where there is only one.
    pub device: Option<u64>,
    /// What is walked to, where it is not everything.
    pub paths: Option<Paths>,
    /// Capture marked cache folders in full.
    pub cachedirs: bool,
    /// What strongroom keeps itself is not walked into.
    pub own: Own,
    /// How many directories are open now.
    pub open: Arc<AtomicUsize>,
}

/// Devices and inodes of what strongroom keeps itself.
pub(super) type Own = Arc<[(u64, u64)]>;

pub(super) fn is_one_of(own: &Own, facts: &Facts) -> bool {
    own.contains(&(facts.device, facts.inode))
}

/// A folder to list.
pub(super) struct Folder {
    pub path: EntryPath,
    pub name: CString,
    pub owner: u32,
    pub scope: Scope,
    /// Where it lies; given up once it is listed, so that its parent can be closed.
    pub parent: Mutex<Option<Arc<Handle>>>,
    pub listing: Task<Result<Listing, Errno>>,
}

/// A listed folder.
pub(super) struct Listing {
    pub place: Arc<Place>,
    pub slices: Vec<Arc<Slice>>,
    /// It is marked as a cache, and what is in it beside the mark is left out.
    pub is_cache: bool,
}

/// A folder that is open.
pub(super) struct Place {
    pub path: EntryPath,
    pub handle: Arc<Handle>,
    scope: Scope,
}

/// Some of a folder's names, in order.
pub(super) struct Slice {
    pub place: Arc<Place>,
    /// The path of the first name: says when the slice is needed.
    pub first: EntryPath,
    /// Each name with a zero byte after it.
    names: Box<[u8]>,
    inodes: Box<[u64]>,
    pub items: Task<Vec<Item>>,
}

/// Something in a folder.
pub(super) struct Item {
    pub name: CString,
    pub facts: Result<Facts, Errno>,
    /// What to list next, when the item is a folder to walk into.
    pub folder: Option<Arc<Folder>>,
}

impl Folder {
    pub fn list(&self, terms: &Terms) -> Result<Listing, Errno> {
        let parent = locked(&self.parent).clone().ok_or(Errno::BADF)?;
        let fd = terms.opener.directory(&parent, &self.name, self.owner)?;
        let handle = Arc::new(Handle::new(fd, &terms.open));
        let mut names = Names::read(&handle)?;
        if let Some(paths) = &terms.paths {
            names.keep(|name| leads_to(paths, &self.path.child(name)));
        }
        // A marked folder named by a person is captured all the same: nothing else can have been meant.
        let is_cache =
            !terms.cachedirs && terms.paths.is_none() && !self.path.is_root() && is_cachedir(&names, &handle, terms);
        let is_cache = is_cache && names.keep(|name| name == CACHEDIR_TAG);
        let scope = self.scope.enter(&self.path, &ignore_texts(&self.scope, &names, &handle, terms));
        *locked(&self.parent) = None;
        let place = Arc::new(Place { path: self.path.clone(), handle, scope });
        let slices = names.slices(&place);
        Ok(Listing { place, slices, is_cache })
    }
}

impl Slice {
    pub fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Looks at every item, in the order of their inodes: on a disk that is the order they lie in.
    pub fn look(&self, terms: &Terms) -> Vec<Item> {
        let names: Vec<&CStr> =
            self.names.split_inclusive(|&b| b == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok()).collect();
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_unstable_by_key(|&at| self.inodes[at]);
        let mut facts: Vec<Option<Result<Facts, Errno>>> = Vec::new();
        facts.resize_with(names.len(), || None);
        for at in order {
            facts[at] = Some(Facts::at(&self.place.handle, names[at]));
        }
        let found = names.into_iter().zip(facts.into_iter().flatten());
        found.filter_map(|(name, facts)| self.place.item(name, facts, terms)).collect()
    }
}

impl Place {
    /// The item, unless it has vanished or is to be left out.
    fn item(&self, name: &CStr, facts: Result<Facts, Errno>, terms: &Terms) -> Option<Item> {
        if matches!(facts, Err(Errno::NOENT)) {
            return None;
        }
        let found = facts.as_ref().ok();
        let is_folder = found.is_some_and(|facts| facts.kind == Kind::Dir);
        if !is_folder && self.scope.is_empty() {
            return Some(Item { name: name.to_owned(), facts, folder: None });
        }
        let path = self.path.child(name.to_bytes());
        if !self.scope.is_empty() && self.scope.leaves_out(&path, is_folder) {
            return None;
        }
        // What a killed restore left is named, not looked into.
        let is_folder = is_folder && !is_temporary(name.to_bytes());
        let is_folder = is_folder && !found.is_some_and(|facts| is_one_of(&terms.own, facts));
        let walked = found.filter(|facts| is_folder && terms.device.is_none_or(|device| device == facts.device));
        let folder = walked.map(|facts| {
            Arc::new(Folder {
                path,
                name: name.to_owned(),
                owner: facts.uid,
                scope: self.scope.clone(),
                parent: Mutex::new(Some(self.handle.clone())),
                listing: Task::new(),
            })
        });
        Some(Item { name: name.to_owned(), facts, folder })
    }
}

/// The names in one folder, sorted, in one allocation.
struct Names {
    bytes: Vec<u8>,
    index: Vec<Name>,
}

struct Name {
    start: u32,
    length: u32,
    inode: u64,
}

impl Names {
    fn read(directory: impl AsFd) -> Result<Self, Errno> {
        let mut names = Names { bytes: Vec::new(), index: Vec::new() };
        let mut buffer = [MaybeUninit::uninit(); 32 << 10];
        let mut entries = RawDir::new(directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                // The folder was removed while it was read: what it still has is nothing.
                Err(Errno::NOENT) => break,
                Err(error) => return Err(error),
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let start = u32::try_from(names.bytes.len()).map_err(|_| Errno::OVERFLOW)?;
            names.index.push(Name { start, length: name.len() as u32, inode: entry.ino() });
            names.bytes.extend_from_slice(name);
        }
        let Names { bytes, index } = &mut names;
        index.sort_unstable_by(|a, b| a.of(bytes).cmp(b.of(bytes)));
        // A folder that changes while it is read may name an item twice.
        index.dedup_by(|a, b| a.of(bytes) == b.of(bytes));
        Ok(names)
    }

    fn has(&self, name: &[u8]) -> bool {
        self.index.binary_search_by(|known| known.of(&self.bytes).cmp(name)).is_ok()
    }

    /// Is anything left out by that?
    fn keep(&mut self, wanted: impl Fn(&[u8]) -> bool) -> bool {
        let Names { bytes, index } = self;
        let before = index.len();
        index.retain(|known| wanted(known.of(bytes)));
        index.len() < before
    }

    fn slices(&self, place: &Arc<Place>) -> Vec<Arc<Slice>> {
        self.index.chunks(SLICE).map(|part| Arc::new(self.slice(part, place))).collect()
    }

    fn slice(&self, part: &[Name], place: &Arc<Place>) -> Slice {
        let mut names = Vec::with_capacity(part.iter().map(|name| name.length as usize + 1).sum());
        for name in part {
            names.extend_from_slice(name.of(&self.bytes));
            names.push(0);
        }
        let inodes = part.iter().map(|name| name.inode).collect();
        let first = place.path.child(part.first().map_or(b"", |name| name.of(&self.bytes)));
        Slice { place: place.clone(), first, names: names.into(), inodes, items: Task::new() }
    }
}

impl Name {
    fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..][..self.length as usize]
    }
}

fn is_cachedir(names: &Names, handle: &Handle, terms: &Terms) -> bool {
    names.has(CACHEDIR_TAG)
        && CString::new(CACHEDIR_TAG).is_ok_and(|name| {
            beginning(handle, &name, CACHEDIR_SIGNATURE.len(), terms).as_deref() == Some(CACHEDIR_SIGNATURE)
        })
}

fn ignore_texts(scope: &Scope, names: &Names, handle: &Handle, terms: &Terms) -> Vec<Vec<u8>> {
    const LONGEST: usize = 1 << 20;
    let there = scope.ignore_files().iter().filter(|name| names.has(name.as_bytes()));
    there.filter_map(|name| beginning(handle, &CString::new(name.as_str()).ok()?, LONGEST, terms)).collect()
}

/// The first bytes of a small file; nothing when it cannot be read.
fn beginning(parent: &Handle, name: &CStr, most: usize, terms: &Terms) -> Option<Vec<u8>> {
    use std::io::Read;
    let facts = Facts::at(parent, name).ok().filter(|facts| facts.kind == Kind::File)?;
    let file = terms.opener.file(parent, name, facts.uid).ok()?;
    // Something else may have taken its place.
    Facts::of_open(&file).ok().filter(|facts| facts.kind == Kind::File)?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(most as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
