//! One entry's content in order, fetched ahead of need on all cores.
//!
//! Owns how far ahead: the content is fetched in windows, one being taken while the next is on its way. Chunks are hashed
//! again by `fetch`, each once for a window, however many extents point into it.

use std::collections::HashMap;
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::control::Control;
use crate::base::entry::{Entry, Extent};
use crate::base::error::Explained;
use crate::base::id::PlainDigest;
use crate::vault::error::VaultError;
use crate::vault::extents;
use crate::vault::fetch::{self, Want};
use crate::vault::read::Library;

/// Content fetched at once. Three of these are in memory: fetched, waiting, taken.
const WINDOW: usize = 12 << 20;

/// Puts an entry's next bytes into the buffer, whose memory is used again. `false` when there are no more.
pub type Blocks<'b> = dyn FnMut(&mut Vec<u8>) -> Result<bool, Explained> + 'b;

/// Hands the content of `entry` to `take`, which need not take all of it. After an error nothing follows.
pub fn in_order<R>(
    library: &Library<'_>,
    entry: &Entry,
    control: &Control,
    take: impl FnOnce(&mut Blocks<'_>) -> R,
) -> R {
    std::thread::scope(|scope| {
        let (send, receive) = bounded::<Result<Vec<u8>, VaultError>>(1);
        let (give_back, used) = bounded(2);
        scope.spawn(move || produce(library, entry, control, &send, &used));
        let mut blocks = move |buffer: &mut Vec<u8>| {
            let Ok(next) = receive.recv() else { return Ok(false) };
            let old = std::mem::replace(buffer, next.map_err(|error| Box::new(error) as Explained)?);
            // Fresh memory costs more than what is put into it. Whoever has enough of it lets it go.
            let _ = give_back.try_send(old);
            Ok(true)
        };
        take(&mut blocks)
    })
}

/// A receiver that has left has all it wants.
fn produce(
    library: &Library<'_>,
    entry: &Entry,
    control: &Control,
    send: &Sender<Result<Vec<u8>, VaultError>>,
    used: &Receiver<Vec<u8>>,
) {
    let fetch = |window: Window| window.fetch(library, control, used.try_recv().unwrap_or_default());
    let mut window = Window::default();
    for extent in extents::of_file(entry, library) {
        let mut rest = match extent {
            Ok(extent) => extent,
            Err(error) => {
                let _ = send.send(Err(error));
                return;
            }
        };
        // A hole may be longer than memory.
        while rest.length > 0 {
            let now = rest.length.min((WINDOW - window.length) as u64);
            window.add(Extent { length: now, ..rest.clone() });
            rest = Extent { length: rest.length - now, offset: rest.offset + now, ..rest };
            if window.length == WINDOW && send.send(fetch(std::mem::take(&mut window))).is_err() {
                return;
            }
        }
    }
    if window.length > 0 {
        let _ = send.send(fetch(window));
    }
}

#[derive(Default)]
struct Window {
    length: usize,
    chunks: HashMap<PlainDigest, usize>,
    parts: Vec<Vec<Part>>,
    holes: Vec<std::ops::Range<usize>>,
}

/// Which part of a chunk goes where.
#[derive(Clone, Copy)]
struct Part {
    from: u64,
    length: usize,
    at: usize,
}

impl Window {
    fn add(&mut self, extent: Extent) {
        let part = Part { from: extent.offset, length: extent.length as usize, at: self.length };
        self.length += part.length;
        let Some(digest) = extent.chunk else {
            self.holes.push(part.at..self.length);
            return;
        };
        let next = self.parts.len();
        let known = *self.chunks.entry(digest).or_insert(next);
        if known == next {
            self.parts.push(Vec::new());
        }
        self.parts[known].push(part);
    }

    fn fetch(self, library: &Library<'_>, control: &Control, mut memory: Vec<u8>) -> Result<Vec<u8>, VaultError> {
        memory.resize(self.length, 0);
        for hole in &self.holes {
            memory[hole.clone()].fill(0);
        }
        let wants =
            self.chunks.iter().map(|(digest, &tag)| Ok(Want { digest: *digest, location: library.find(digest)?, tag }));
        let wants = wants.collect::<Result<Vec<_>, VaultError>>()?;
        let bytes = Mutex::new(memory);
        let failed = Mutex::new(None);
        let poisoned = "BUG: nothing panics while holding it";
        fetch::fetch(library, wants, control, |want: &Want<usize>, chunk| {
            let copied = chunk.map_err(|error| error.to_string()).and_then(|chunk| {
                let mut bytes = bytes.lock().expect(poisoned);
                for part in &self.parts[want.tag] {
                    let end = part.from.checked_add(part.length as u64).filter(|end| *end <= chunk.len() as u64);
                    let end = end.ok_or_else(String::new)? as usize;
                    bytes[part.at..part.at + part.length].copy_from_slice(&chunk[part.from as usize..end]);
                }
                Ok(())
            });
            copied.map_err(|_| {
                failed.lock().expect(poisoned).get_or_insert(want.digest);
            })
        })
        .map_err(|()| failure(library, failed.into_inner().expect(poisoned)))?;
        if control.stopped() {
            return Err(VaultError::Interrupted);
        }
        Ok(bytes.into_inner().expect(poisoned))
    }
}

/// Why a chunk cannot be had: read once more by itself, which says it with its object.
fn failure(library: &Library<'_>, digest: Option<PlainDigest>) -> VaultError {
    let digest = digest.expect("BUG: noted when it failed");
    match library.reader().chunk(&digest) {
        Err(error) => error,
        Ok(_) => VaultError::BadExtent { digest },
    }
}
