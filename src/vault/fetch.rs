//! Bulk reading: many chunks, each frame read once, on all cores, in memory that does not grow with their number.
//!
//! The caller says what it wants and for what (a tag of its own); chunks are handed to it from several threads in
//! the order of the packs, hashed again, or with the reason why they cannot be had.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::base::chunk::plain_digest;
use crate::base::control::Control;
use crate::base::id::{PlainDigest, SealedDigest};
use crate::format::catalog::Place;
use crate::format::frame::FrameReader;
use crate::format::layout;
use crate::vault::bad_object;
use crate::vault::error::VaultError;
pub use crate::vault::index::Location;
use crate::vault::read::{ChunkReader, Library};

/// One chunk that is wanted, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Want<T> {
    pub digest: PlainDigest,
    pub location: Location,
    pub tag: T,
}

/// Frames that lie one behind the other are read together up to this length: one request instead of many.
const READ: u64 = 4 << 20;

/// Reads all of `wants`; calls `take` with each chunk's bytes or why they cannot be had.
/// An error that `take` returns ends the fetch.
pub fn fetch<T, E, F>(library: &Library<'_>, mut wants: Vec<Want<T>>, control: &Control, take: F) -> Result<(), E>
where
    T: Copy + Send + Sync,
    E: Send,
    F: Fn(&Want<T>, Result<&[u8], &VaultError>) -> Result<(), E> + Sync,
{
    wants.sort_unstable_by_key(|want| (want.location.pack, want.location.place.frame, want.location.place.offset));
    let jobs = jobs(&wants);
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get()).clamp(2, 8).min(jobs.len().max(1));
    let work = || {
        let tools = library.tools.take();
        let mut reader = JobReader { library, tools, second: library.reader() };
        let mut result = Ok(());
        while result.is_ok() && !control.stopped() {
            let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            result = reader.run(&wants[job.clone()], &take);
        }
        if result.is_err() {
            next.store(jobs.len(), Ordering::Relaxed);
        }
        library.tools.give_back(reader.tools);
        result
    };
    if workers == 1 {
        return work();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let results = threads.into_iter().map(|thread| thread.join().expect("BUG: a reader panicked"));
        results.collect()
    })
}

/// Runs of wants that one read serves.
fn jobs<T>(wants: &[Want<T>]) -> Vec<Range<usize>> {
    let mut jobs: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for at in 1..=wants.len() {
        if at == wants.len() || !together(&wants[start].location, &wants[at - 1].location, &wants[at].location) {
            jobs.push(start..at);
            start = at;
        }
    }
    if wants.is_empty() {
        jobs.clear();
    }
    jobs
}

/// Does `next` belong in the same read as the frames from `first` to `last`? Catalogs may disagree about a pack: what
/// each says is read by itself.
fn together(first: &Location, last: &Location, next: &Location) -> bool {
    let end = |place: &Place| place.frame + u64::from(place.stored);
    (next.pack, next.size) == (last.pack, last.size)
        && (same_frame(&next.place, &last.place)
            || (next.place.frame == end(&last.place) && end(&next.place) - first.place.frame <= READ))
}

fn same_frame(a: &Place, b: &Place) -> bool {
    (a.frame, a.stored, a.plain) == (b.frame, b.stored, b.plain)
}

/// What a thread reads with. Fresh memory costs as much as reading into it: it is used from fetch to fetch.
#[derive(Default)]
pub(super) struct Tools {
    unpack: FrameReader,
    packed: Vec<u8>,
    plain: Vec<u8>,
}

/// The tools of threads that have ended.
#[derive(Default)]
pub(super) struct Shelf(Mutex<Vec<Tools>>);

impl Shelf {
    fn take(&self) -> Tools {
        self.lock().pop().unwrap_or_default()
    }

    fn give_back(&self, tools: Tools) {
        self.lock().push(tools);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Tools>> {
        self.0.lock().expect("BUG: nothing panics while holding it")
    }
}

struct JobReader<'l> {
    library: &'l Library<'l>,
    tools: Tools,
    /// For what could not be had where it was looked for first.
    second: ChunkReader<'l>,
}

impl JobReader<'_> {
    fn run<T, E>(
        &mut self,
        wants: &[Want<T>],
        take: &impl Fn(&Want<T>, Result<&[u8], &VaultError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (first, last) = (&wants[0].location, &wants[wants.len() - 1].location);
        let start = first.place.frame;
        let end = last.place.frame + u64::from(last.place.stored);
        let whole = self.read(first.pack, first.size, start..end);
        for frame in wants.chunk_by(|a, b| same_frame(&a.location.place, &b.location.place)) {
            let place = frame[0].location.place;
            let unpacked = match &whole {
                Ok(()) => {
                    let from = (place.frame - start) as usize;
                    let Tools { unpack, packed, plain } = &mut self.tools;
                    unpack
                        .decompress(&packed[from..from + place.stored as usize], place.plain, plain)
                        .map_err(bad_object(&layout::pack(first.pack)))
                }
                // One altered segment spoils the read, not every frame in it.
                Err(_) => self.read_alone(&frame[0].location),
            };
            for want in frame {
                self.hand_over(want, &unpacked, take)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, pack: SealedDigest, size: u64, plain: Range<u64>) -> Result<(), VaultError> {
        self.library.read_pack_into(pack, size, plain, &mut self.tools.packed)
    }

    fn read_alone(&mut self, location: &Location) -> Result<(), VaultError> {
        let place = location.place;
        self.read(location.pack, location.size, place.frame..place.frame + u64::from(place.stored))?;
        let Tools { unpack, packed, plain } = &mut self.tools;
        let unpacked = unpack.decompress(packed, place.plain, plain);
        unpacked.map_err(bad_object(&layout::pack(location.pack)))
    }

    fn hand_over<T, E>(
        &mut self,
        want: &Want<T>,
        unpacked: &Result<(), VaultError>,
        take: &impl Fn(&Want<T>, Result<&[u8], &VaultError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let place = want.location.place;
        let bytes = self.tools.plain.get(place.offset as usize..place.offset as usize + place.length as usize);
        if let Some(bytes) = bytes.filter(|bytes| unpacked.is_ok() && plain_digest(bytes) == want.digest) {
            return take(want, Ok(bytes));
        }
        if let Some(bytes) = self.second.elsewhere(&want.digest, &want.location) {
            return take(want, Ok(&bytes));
        }
        match unpacked {
            Err(error) => take(want, Err(error)),
            Ok(()) => {
                let object = layout::pack(want.location.pack);
                take(want, Err(&VaultError::BadChunk { digest: want.digest, object }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(pack: u8, frame: u64) -> Want<()> {
        let place = Place { frame, stored: 1 << 20, plain: 1 << 20, offset: 0, length: 1 };
        let pack = SealedDigest::from_bytes([pack; 32]);
        Want { digest: PlainDigest::from_bytes([0; 32]), location: Location { pack, size: 100 << 20, place }, tag: () }
    }

    #[test]
    fn neighbouring_frames_are_read_together_up_to_a_bound() {
        let mib = 1 << 20;
        let wants = [
            want(1, 0),
            want(1, 0),
            want(1, mib),
            want(1, 2 * mib),
            want(1, 3 * mib),
            want(1, 4 * mib),
            want(1, 9 * mib),
            want(2, 10 * mib),
        ];
        assert_eq!(jobs(&wants), [0..5, 5..6, 6..7, 7..8]);
        assert!(jobs::<()>(&[]).is_empty());
    }
}
