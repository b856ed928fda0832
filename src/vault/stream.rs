//! One entry's content in order, fetched ahead of need on all cores.
//!
//! Owns how far ahead: the content is fetched in windows, one being taken while the next is on its way. Chunks are hashed
//! again by `fetch`, each once for a window, however many extents point into it.

use std::collections::HashMap;
use std::sync::Mutex;

use crossbeam_channel::{Sender, bounded};

use crate::base::control::Control;
use crate::base::entry::{Entry, Extent};
use crate::base::error::Explained;
use crate::base::id::PlainDigest;
use crate::vault::error::VaultError;
use crate::vault::extents;
use crate::vault::fetch::{self, Want};
use crate::vault::read::Library;

/// Content fetched at once. Three of these are in memory: fetched, waiting, taken.
const WINDOW: usize = 8 << 20;

/// An entry's bytes, in blocks of any length.
pub type Blocks<'b> = dyn Iterator<Item = Result<Vec<u8>, Explained>> + 'b;

/// Hands the content of `entry` to `take`, which need not take all of it. After an error nothing follows.
pub fn in_order<R>(
    library: &Library<'_>,
    entry: &Entry,
    control: &Control,
    take: impl FnOnce(&mut Blocks<'_>) -> R,
) -> R {
    std::thread::scope(|scope| {
        let (send, receive) = bounded(1);
        scope.spawn(move || produce(library, entry, control, &send));
        let mut blocks = receive.into_iter().map(|block: Result<_, VaultError>| block.map_err(boxed));
        take(&mut blocks)
    })
}

fn boxed(error: VaultError) -> Explained {
    Box::new(error)
}

/// A receiver that has left has all it wants.
fn produce(library: &Library<'_>, entry: &Entry, control: &Control, send: &Sender<Result<Vec<u8>, VaultError>>) {
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
            if window.length == WINDOW && (send.send(std::mem::take(&mut window).fetch(library, control)).is_err()) {
                return;
            }
        }
    }
    if window.length > 0 {
        let _ = send.send(window.fetch(library, control));
    }
}

#[derive(Default)]
struct Window {
    length: usize,
    chunks: HashMap<PlainDigest, usize>,
    parts: Vec<Vec<Part>>,
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
        let Some(digest) = extent.chunk else { return };
        let next = self.parts.len();
        let known = *self.chunks.entry(digest).or_insert(next);
        if known == next {
            self.parts.push(Vec::new());
        }
        self.parts[known].push(part);
    }

    fn fetch(self, library: &Library<'_>, control: &Control) -> Result<Vec<u8>, VaultError> {
        let wants =
            self.chunks.iter().map(|(digest, &tag)| Ok(Want { digest: *digest, location: library.find(digest)?, tag }));
        let wants = wants.collect::<Result<Vec<_>, VaultError>>()?;
        let bytes = Mutex::new(vec![0; self.length]);
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
        .map_err(|()| self::failure(library, failed.into_inner().expect(poisoned)))?;
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
