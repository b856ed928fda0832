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
use crate::format::frame::FrameWriter;
use crate::format::seal::{Sealed, Sealer};
use crate::format::{layout, pack};
use crate::store::Store;
use crate::vault::error::VaultError;
use crate::vault::journal::Journal;

/// Packs being sent at once: bounds memory, and hides the latency of a distant store.
const UPLOADS: usize = 2;

/// Chunks laid out as tar members, to be compressed together.
pub struct Frame {
    pub plain: Vec<u8>,
    pub members: Vec<(PlainDigest, u32)>,
    /// Whose stored bytes these will be.
    pub account: Arc<AtomicU64>,
}

struct Compressed {
    bytes: Vec<u8>,
    contents: FrameContents,
    account: Arc<AtomicU64>,
}

struct Closed {
    sealed: Sealed,
    contents: PackContents,
}

pub struct PackWriter {
    frames: Option<Sender<Frame>>,
    done: Receiver<PackContents>,
    /// Buffers of frames that were compressed, to be filled again.
    spare: Receiver<Vec<u8>>,
    failure: Arc<Mutex<Option<VaultError>>>,
    threads: Vec<JoinHandle<()>>,
}

impl PackWriter {
    pub fn start(store: Store, recipient: Recipient, journal: Arc<Journal>, pack: usize) -> Self {
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get()).min(8);
        let (frames, to_compress) = bounded::<Frame>(1);
        let (compressed, to_seal) = bounded::<Compressed>(2);
        let (closed, to_put) = bounded::<Closed>(0);
        let (finished, done) = unbounded::<PackContents>();
        let (recycle, spare) = bounded::<Vec<u8>>(workers + 2);
        let failure = Arc::new(Mutex::new(None));
        let mut threads = Vec::new();
        for _ in 0..workers {
            let (input, output, recycle) = (to_compress.clone(), compressed.clone(), recycle.clone());
            threads.push(std::thread::spawn(move || compress(&input, &output, &recycle)));
        }
        threads.push(std::thread::spawn(move || seal(&to_seal, &closed, &recipient, pack)));
        for _ in 0..UPLOADS {
            let (input, output, failure) = (to_put.clone(), finished.clone(), failure.clone());
            let (store, journal) = (store.clone(), journal.clone());
            threads.push(std::thread::spawn(move || {
                if let Err(error) = put(&input, &output, &store, &journal) {
                    failure.lock().expect("BUG: nothing panics while holding it").get_or_insert(error);
                }
            }));
        }
        Self { frames: Some(frames), done, spare, failure, threads }
    }

    /// Hands a frame over; waits while the stages are full.
    pub fn write(&mut self, frame: Frame) -> Result<(), VaultError> {
        let frames = self.frames.as_ref().expect("BUG: only finish closes it");
        if frames.send(frame).is_ok() { Ok(()) } else { Err(self.fail()) }
    }

    /// An empty buffer, used before if possible: fresh memory costs more than filling it.
    pub fn buffer(&self) -> Vec<u8> {
        let mut buffer = self.spare.try_recv().unwrap_or_default();
        buffer.clear();
        buffer
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
            thread.join().expect("BUG: a stage of the pack writer panicked");
        }
    }

    fn fail(&mut self) -> VaultError {
        self.close();
        let failure = self.failure.lock().expect("BUG: nothing panics while holding it").take();
        failure.expect("BUG: a stage ends early only with an error")
    }
}

fn compress(input: &Receiver<Frame>, output: &Sender<Compressed>, recycle: &Sender<Vec<u8>>) {
    let mut writer = FrameWriter::new();
    for Frame { plain, members, account } in input {
        let bytes = writer.compress(&plain);
        let contents = FrameContents { stored: bytes.len() as u32, plain: plain.len() as u32, members };
        let _ = recycle.try_send(plain);
        if output.send(Compressed { bytes, contents, account }).is_err() {
            return;
        }
    }
}

fn seal(input: &Receiver<Compressed>, output: &Sender<Closed>, recipient: &Recipient, pack: usize) {
    let open = || Sealer::new(&[recipient], Vec::with_capacity(pack + (4 << 20)));
    let (mut sealer, mut frames) = (open(), Vec::new());
    let mut writer = FrameWriter::new();
    let mut close = |sealer: Sealer, frames: Vec<FrameContents>| {
        let mut sealer = sealer;
        sealer.write(&writer.compress(&pack::END));
        let sealed = sealer.finish();
        let contents = PackContents { digest: sealed.digest, size: sealed.bytes.len() as u64, frames };
        output.send(Closed { sealed, contents }).is_ok()
    };
    for Compressed { bytes, contents, account } in input {
        sealer.write(&bytes);
        account.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        frames.push(contents);
        if sealer.len() >= pack && !close(std::mem::replace(&mut sealer, open()), std::mem::take(&mut frames)) {
            return;
        }
    }
    if !frames.is_empty() {
        close(sealer, frames);
    }
}

fn put(
    input: &Receiver<Closed>,
    output: &Sender<PackContents>,
    store: &Store,
    journal: &Journal,
) -> Result<(), VaultError> {
    for Closed { sealed, contents } in input {
        journal.note(&contents)?;
        store.put_new(&layout::pack(sealed.digest), sealed.bytes.into())?;
        // The receiver may be gone when the caller gives up; the journal still knows of the pack.
        let _ = output.send(contents);
    }
    Ok(())
}
