//! The frames unpacked last, shared by all who read.
//!
//! Owns fetching a frame once however many ask for it at the same time, hashing each chunk once for as long as its frame
//! is kept, and forgetting what was used longest ago.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::base::chunk::plain_digest;
use crate::base::id::{PlainDigest, SealedDigest};
use crate::format::frame::FrameReader;
use crate::format::layout;
use crate::vault::bad_object;
use crate::vault::error::VaultError;
use crate::vault::index::Location;
use crate::vault::read::Library;

/// Frames that lie one behind the other are fetched by one request up to this length.
const REQUEST: u64 = 4 << 20;
/// What keeping a frame costs beside its bytes: a bound on the number of small ones.
const OVERHEAD: usize = 1 << 10;

pub struct Frames {
    library: Library<'static>,
    most: usize,
    state: Mutex<State>,
    loaded: Condvar,
    tools: Mutex<Vec<Tools>>,
}

/// A frame, as one catalog describes it; another may say something else of the same pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name {
    pack: SealedDigest,
    size: u64,
    start: u64,
    stored: u32,
    plain: u32,
}

impl Name {
    fn of(location: &Location) -> Self {
        let place = location.place;
        let (pack, size) = (location.pack, location.size);
        Self { pack, size, start: place.frame, stored: place.stored, plain: place.plain }
    }

    fn end(&self) -> u64 {
        self.start + u64::from(self.stored)
    }
}

#[derive(Default)]
struct State {
    frames: HashMap<Name, Kept>,
    /// Chunks that were hashed, and where they are.
    chunks: HashMap<PlainDigest, (Name, Range<usize>)>,
    /// Frames that somebody is fetching.
    loading: HashSet<Name>,
    held: usize,
    clock: u64,
}

struct Kept {
    bytes: Arc<Vec<u8>>,
    used: u64,
    chunks: Vec<PlainDigest>,
}

/// A chunk's bytes.
struct View {
    bytes: Arc<Vec<u8>>,
    range: Range<usize>,
}

#[derive(Default)]
struct Tools {
    unpack: FrameReader,
    packed: Vec<u8>,
}

impl Frames {
    pub fn new(library: Library<'static>, most: usize) -> Self {
        let (state, loaded, tools) = Default::default();
        Self { library, most, state, loaded, tools }
    }

    pub fn library(&self) -> &Library<'static> {
        &self.library
    }

    /// Copies bytes of a chunk from `from` on.
    pub fn copy(&self, digest: &PlainDigest, from: u64, to: &mut [u8]) -> Result<(), VaultError> {
        let view = self.chunk(digest)?;
        let chunk = &view.bytes[view.range];
        let end = from.checked_add(to.len() as u64).filter(|end| *end <= chunk.len() as u64);
        let end = end.ok_or(VaultError::BadExtent { digest: *digest })?;
        to.copy_from_slice(&chunk[from as usize..end as usize]);
        Ok(())
    }

    /// Fetches the frames of these chunks, as far as they are not there, and hashes the chunks. What cannot be had is
    /// told to whoever reads it.
    pub fn prepare(&self, digests: &[PlainDigest]) {
        let unknown = |digest: &&PlainDigest| !self.lock().chunks.contains_key(*digest);
        let missing =
            digests.iter().filter(unknown).filter_map(|digest| Some((*digest, self.library.find(digest).ok()?)));
        let missing: Vec<(PlainDigest, Location)> = missing.collect();
        for run in missing.chunk_by(|(_, a), (_, b)| follows(&Name::of(a), &Name::of(b))) {
            let mut names: Vec<Name> = run.iter().map(|(_, location)| Name::of(location)).collect();
            names.dedup();
            for names in groups(&names) {
                self.fetch_missing(names);
            }
        }
        for (digest, location) in &missing {
            let _ = self.checked(digest, location);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("BUG: nothing panics while holding it")
    }

    fn chunk(&self, digest: &PlainDigest) -> Result<View, VaultError> {
        if let Some(view) = self.lock().view(digest) {
            return Ok(view);
        }
        let location = self.library.find(digest)?;
        match self.checked(digest, &location) {
            Some(view) => Ok(view),
            // Read by itself: what is wrong is told with the name of the object, or it is found elsewhere.
            None => {
                let bytes = self.library.reader().chunk(digest)?;
                Ok(View { range: 0..bytes.len(), bytes: Arc::new(bytes) })
            }
        }
    }

    /// The chunk out of its frame, hashed.
    fn checked(&self, digest: &PlainDigest, location: &Location) -> Option<View> {
        let (name, place) = (Name::of(location), location.place);
        let bytes = self.frame(name)?;
        let range = place.offset as usize..place.offset as usize + place.length as usize;
        if plain_digest(bytes.get(range.clone())?) != *digest {
            return None;
        }
        self.lock().note(*digest, name, range.clone());
        Some(View { bytes, range })
    }

    /// A frame; fetched by whoever asks first, while others wait.
    fn frame(&self, name: Name) -> Option<Arc<Vec<u8>>> {
        let mut state = self.lock();
        loop {
            if let Some(bytes) = state.frame(&name) {
                return Some(bytes);
            }
            if state.loading.insert(name) {
                break;
            }
            state = self.loaded.wait(state).expect("BUG: nothing panics while holding it");
        }
        drop(state);
        let mut loading = Loading { frames: self, names: vec![name] };
        loading.fetch().ok()?.pop()
    }

    /// Fetches those of these frames that are not there and that nobody is fetching.
    fn fetch_missing(&self, names: &[Name]) {
        let mut state = self.lock();
        let mut wanted = Vec::new();
        for name in names {
            if !state.frames.contains_key(name) && state.loading.insert(*name) {
                wanted.push(*name);
            }
        }
        drop(state);
        for run in wanted.chunk_by(follows) {
            // What fails here fails again for whoever reads it, and is told then.
            let _ = Loading { frames: self, names: run.to_vec() }.fetch();
        }
    }

    /// Reads frames that lie one behind the other.
    fn read(&self, names: &[Name], tools: &mut Tools) -> Result<Vec<Arc<Vec<u8>>>, VaultError> {
        let (first, last) = (names.first().expect("BUG: there is one"), names.last().expect("BUG: there is one"));
        self.library.read_pack_into(first.pack, first.size, first.start..last.end(), &mut tools.packed)?;
        let unpack = |name: &Name| {
            let from = (name.start - first.start) as usize;
            let packed = &tools.packed[from..from + name.stored as usize];
            let mut plain = Vec::new();
            tools.unpack.decompress(packed, name.plain, &mut plain).map_err(bad_object(&layout::pack(name.pack)))?;
            Ok(Arc::new(plain))
        };
        names.iter().map(unpack).collect()
    }
}

/// Does the second frame lie right behind the first?
fn follows(a: &Name, b: &Name) -> bool {
    (a.pack, a.size) == (b.pack, b.size) && (a == b || a.end() == b.start)
}

/// Cuts frames that lie one behind the other into requests.
fn groups(names: &[Name]) -> impl Iterator<Item = &[Name]> {
    let mut start = names.first().map_or(0, |name| name.start);
    names.chunk_by(move |_, next| {
        let same = next.end() - start <= REQUEST;
        if !same {
            start = next.start;
        }
        same
    })
}

/// Frames that are being fetched: whatever happens, those who wait for them are woken.
struct Loading<'f> {
    frames: &'f Frames,
    names: Vec<Name>,
}

impl Loading<'_> {
    fn fetch(&mut self) -> Result<Vec<Arc<Vec<u8>>>, VaultError> {
        let poisoned = "BUG: nothing panics while holding it";
        let mut tools = self.frames.tools.lock().expect(poisoned).pop().unwrap_or_default();
        let read = self.frames.read(&self.names, &mut tools)?;
        self.frames.tools.lock().expect(poisoned).push(tools);
        let mut state = self.frames.lock();
        for (name, bytes) in self.names.iter().zip(&read) {
            state.keep(*name, bytes.clone(), self.frames.most);
        }
        Ok(read)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut state = self.frames.lock();
        state.loading.retain(|name| !self.names.contains(name));
        self.frames.loaded.notify_all();
    }
}

impl State {
    fn view(&mut self, digest: &PlainDigest) -> Option<View> {
        let (name, range) = self.chunks.get(digest)?.clone();
        Some(View { bytes: self.frame(&name)?, range })
    }

    fn frame(&mut self, name: &Name) -> Option<Arc<Vec<u8>>> {
        self.clock += 1;
        let kept = self.frames.get_mut(name)?;
        kept.used = self.clock;
        Some(kept.bytes.clone())
    }

    fn note(&mut self, digest: PlainDigest, name: Name, range: Range<usize>) {
        if let Some(kept) = self.frames.get_mut(&name)
            && self.chunks.insert(digest, (name, range)).is_none()
        {
            kept.chunks.push(digest);
        }
    }

    fn keep(&mut self, name: Name, bytes: Arc<Vec<u8>>, most: usize) {
        let cost = bytes.len() + OVERHEAD;
        while self.held + cost > most && self.forget_oldest() {}
        self.clock += 1;
        self.held += cost;
        self.frames.insert(name, Kept { bytes, used: self.clock, chunks: Vec::new() });
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(name) = self.frames.iter().min_by_key(|(_, kept)| kept.used).map(|(name, _)| *name) else {
            return false;
        };
        let kept = self.frames.remove(&name).expect("BUG: just found");
        self.held -= kept.bytes.len() + OVERHEAD;
        for digest in kept.chunks {
            // The same chunk may by now be known from another frame.
            if self.chunks.get(&digest).is_some_and(|(at, _)| *at == name) {
                self.chunks.remove(&digest);
            }
        }
        true
    }
}
