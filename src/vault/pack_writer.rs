//! From frames to durable packs: compress, seal, put, each on threads of its own with short queues between.
//!
//! Never decides what is stored. The first error ends all stages and is what the caller gets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use age::x25519::Recipient;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::base::id::PlainDigest;
use crate::format::catalog::{FrameContents, PackContents};
use crate::format::frame::{FrameWriter, Packed};
use crate::format::seal::{Sealed, Sealer};
use crate::format::{layout, pack};
use crate::store::Store;
use crate::vault::error::VaultError;
use crate::vault::journal::Journal;

/// Packs being sent at once to a distant store, whose latency that hides. A folder needs only one.
const UPLOADS: usize = 2;

/// Chunks laid out as tar members, to be compressed together.
pub struct Frame {
    pub plain: Vec<u8>,
    pub members: Vec<(PlainDigest, u32)>,
    /// Whose stored bytes these will be.
    pub account: Arc<AtomicU64>,
}

struct Compressed {
    packed: Packed,
    contents: FrameContents,
    account: Arc<AtomicU64>,
}

struct Closed {
    sealed: Sealed,
    contents: PackContents,
}

/// Buffers that were used and will be again: fresh memory costs more than filling it.
#[derive(Clone)]
struct Pool {
    put: Sender<Vec<u8>>,
    take: Receiver<Vec<u8>>,
}

impl Pool {
    fn new(most: usize) -> Self {
        let (put, take) = bounded(most);
        Self { put, take }
    }

    fn take(&self) -> Vec<u8> {
        let mut buffer = self.take.try_recv().unwrap_or_default();
        buffer.clear();
        buffer
    }

    fn put(&self, buffer: Vec<u8>) {
        let _ = self.put.try_send(buffer);
    }
}

/// A pack's bytes on their way to the store; the buffer goes back to the pool when the store is done with it.
struct Lent {
    bytes: Vec<u8>,
    pool: Pool,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.bytes));
    }
}

pub struct PackWriter {
    frames: Option<Sender<Frame>>,
    done: Receiver<PackContents>,
    /// Buffers of frames.
    frames_pool: Pool,
    failure: Arc<Mutex<Option<VaultError>>>,
    threads: Vec<JoinHandle<()>>,
}

impl PackWriter {
    pub fn start(store: Store, recipient: Recipient, journal: Arc<Journal>, pack: usize) -> Self {
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get()).min(8);
        let uploads = if store.is_local() { 1 } else { UPLOADS };
        let (frames, to_compress) = bounded::<Frame>(1);
        let (compressed, to_seal) = bounded::<Compressed>(1);
        let (closed, to_put) = bounded::<Closed>(0);
        let (finished, done) = unbounded::<PackContents>();
        let (frames_pool, packs_pool) = (Pool::new(workers + 3), Pool::new(uploads + 1));
        let failure = Arc::new(Mutex::new(None));
        let mut threads = Vec::new();
        for _ in 0..workers {
            let (input, output, pool) = (to_compress.clone(), compressed.clone(), frames_pool.clone());
            threads.push(std::thread::spawn(move || compress(&input, &output, &pool)));
        }
        let (frames_back, packs) = (frames_pool.clone(), packs_pool.clone());
        threads.push(std::thread::spawn(move || {
            Packer { recipient, output: closed, frames_pool: frames_back, packs_pool: packs, pack, open: None }
                .run(&to_seal);
        }));
        for _ in 0..uploads {
            let (input, output, failure, pool) =
                (to_put.clone(), finished.clone(), failure.clone(), packs_pool.clone());
            let (store, journal) = (store.clone(), journal.clone());
            threads.push(std::thread::spawn(move || {
                if let Err(error) = put(&input, &output, &store, &journal, &pool) {
                    failure.lock().expect("BUG: nothing panics while holding it").get_or_insert(error);
                }
            }));
        }
        Self { frames: Some(frames), done, frames_pool, failure, threads }
    }

    /// Hands a frame over; waits while the stages are full.
    pub fn write(&mut self, frame: Frame) -> Result<(), VaultError> {
        let frames = self.frames.as_ref().expect("BUG: only finish closes it");
        if frames.send(frame).is_ok() { Ok(()) } else { Err(self.fail()) }
    }

    /// An empty buffer, used before if possible.
    pub fn buffer(&self) -> Vec<u8> {
        self.frames_pool.take()
    }

    /// Packs that have become durable since the last call.
    pub fn finished(&self) -> Vec<PackContents> {
        self.done.try_iter().collect()
    }

    /// Waits until everything written is durable.
    pub fn finish(mut self) -> Result<Vec<PackContents>, VaultError> {
        self.close();
        let failure = self.failure.lock().expect("BUG: nothing panics while holding it").take();
        failure.map_or_else(|| Ok(self.finished()), Err)
    }

    fn close(&mut self) {
        self.frames = None;
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "BUG: a stage of the pack writer panicked");
        }
    }

    fn fail(&mut self) -> VaultError {
        self.close();
        let failure = self.failure.lock().expect("BUG: nothing panics while holding it").take();
        failure.expect("BUG: a stage ends early only with an error")
    }
}

impl Drop for PackWriter {
    /// Whoever gives up leaves nobody behind who goes on sending: what was written becomes durable first, or fails as
    /// whatever went before.
    fn drop(&mut self) {
        self.close();
    }
}

fn compress(input: &Receiver<Frame>, output: &Sender<Compressed>, pool: &Pool) {
    let mut writer = FrameWriter::default();
    for Frame { plain, members, account } in input {
        let length = plain.len() as u32;
        let packed = writer.pack(plain, pool.take());
        let contents = FrameContents { stored: packed.length() as u32, plain: length, members };
        if output.send(Compressed { packed, contents, account }).is_err() {
            return;
        }
    }
}

/// Fills packs with frames and closes them.
struct Packer {
    recipient: Recipient,
    output: Sender<Closed>,
    frames_pool: Pool,
    packs_pool: Pool,
    /// How long a pack gets.
    pack: usize,
    open: Option<(Sealer, Vec<FrameContents>)>,
}

impl Packer {
    fn run(mut self, input: &Receiver<Compressed>) {
        for Compressed { packed, contents, account } in input {
            let full = self.open.as_ref().is_some_and(|(sealer, _)| sealer.length() + packed.length() > self.pack);
            if full && !self.close() {
                return;
            }
            account.fetch_add(packed.length() as u64, Ordering::Relaxed);
            self.add(packed, contents);
        }
        self.close();
    }

    fn add(&mut self, packed: Packed, contents: FrameContents) {
        let (recipient, pool, most) = (&self.recipient, &self.packs_pool, self.pack);
        let (sealer, frames) = self.open.get_or_insert_with(|| {
            let mut buffer = pool.take();
            buffer.reserve_exact(most + most / 1024);
            (Sealer::new(&[recipient], buffer), Vec::new())
        });
        packed.parts(|part| sealer.write(part));
        frames.push(contents);
        match packed {
            Packed::Stored(plain) => self.frames_pool.put(plain),
            Packed::Compressed { frame, plain } => {
                self.frames_pool.put(frame);
                self.frames_pool.put(plain);
            }
        }
    }

    /// Hands the open pack on. False when nobody takes it any more.
    fn close(&mut self) -> bool {
        let Some((mut sealer, frames)) = self.open.take() else { return true };
        FrameWriter::default().pack(pack::END.to_vec(), Vec::new()).parts(|part| sealer.write(part));
        let sealed = sealer.finish();
        let contents = PackContents { digest: sealed.digest, size: sealed.bytes.len() as u64, frames };
        self.output.send(Closed { sealed, contents }).is_ok()
    }
}

fn put(
    input: &Receiver<Closed>,
    output: &Sender<PackContents>,
    store: &Store,
    journal: &Journal,
    pool: &Pool,
) -> Result<(), VaultError> {
    for Closed { sealed, contents } in input {
        journal.note(&contents);
        let lent = Lent { bytes: sealed.bytes, pool: pool.clone() };
        store.put_new(&layout::pack(sealed.digest), bytes::Bytes::from_owner(lent))?;
        // The receiver may be gone when the caller gives up; the journal still knows of the pack.
        let _ = output.send(contents);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use age::x25519::Identity;

    use super::*;
    use crate::store::Options;
    use crate::vault::cache::CacheFolder;

    #[test]
    fn who_gives_up_leaves_nobody_behind_who_goes_on_sending() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..50 {
            let store = Store::open("memory://", &Options::default()).unwrap();
            let journal = Arc::new(Journal::open(CacheFolder::of_test(folder.path())));
            let recipient = Identity::generate().to_public();
            let mut writer = PackWriter::start(store.clone(), recipient, journal.clone(), 1 << 20);
            let (plain, members) = (vec![7; 300_000], vec![(PlainDigest::from_bytes([7; 32]), 300_000)]);
            writer.write(Frame { plain, members, account: Arc::default() }).unwrap();
            drop(writer);
            assert_eq!(Arc::strong_count(&journal), 1, "a thread still has it");
            assert_eq!(store.list(layout::PACKS).unwrap().len(), 1);
        }
    }
}
