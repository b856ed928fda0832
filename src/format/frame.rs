//! Frames: chunks compressed together (docs/format.md §5). Every frame is one standard zstd frame.

use zstd::bulk::{Compressor, Decompressor};

use crate::format::error::FormatError;

/// No frame unpacks to more: what a reader may be asked to hold.
pub const MAX_FRAME: u32 = 8 << 20;
/// No frame is longer packed: one that does not compress becomes hardly longer.
pub const MAX_PACKED: u32 = MAX_FRAME + (64 << 10);

/// The level used for everything that compresses.
const LEVEL: i32 = 3;
/// The level used where the better one gains nothing.
const FAST_LEVEL: i32 = 1;

/// Compresses frames. Keeps its contexts, so make one per thread.
pub struct FrameWriter {
    best: Compressor<'static>,
    fast: Compressor<'static>,
}

impl Default for FrameWriter {
    fn default() -> Self {
        let context = |level| Compressor::new(level).expect("BUG: the level is valid");
        Self { best: context(LEVEL), fast: context(FAST_LEVEL) }
    }
}

impl FrameWriter {
    /// One zstd frame holding `plain`, at the level a quick look at samples of it asks for. What does not compress is
    /// kept where it is; `buffer` is used for what does.
    pub fn pack(&mut self, plain: Vec<u8>, buffer: Vec<u8>) -> Packed {
        let writer = match self.probe(&plain) {
            Gain::None => return Packed::Stored(plain),
            Gain::Same => &mut self.fast,
            Gain::More => &mut self.best,
        };
        let mut frame = buffer;
        frame.clear();
        frame.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        writer.compress_to_buffer(&plain, &mut frame).expect("BUG: the buffer fits");
        Packed::Compressed { frame, plain }
    }

    /// Compresses a few samples instead of everything: about 1 % of the work.
    fn probe(&mut self, plain: &[u8]) -> Gain {
        const SAMPLE: usize = 8 << 10;
        const SAMPLES: usize = 6;
        if plain.len() < 4 * SAMPLE * SAMPLES {
            return Gain::More;
        }
        let mut sample = Vec::with_capacity(SAMPLE * SAMPLES);
        for i in 0..SAMPLES {
            let at = plain.len() / SAMPLES * i;
            sample.extend_from_slice(&plain[at..at + SAMPLE]);
        }
        let fast = self.fast.compress(&sample).map_or(0, |c| c.len());
        if fast > sample.len() - sample.len() / 50 {
            return Gain::None;
        }
        let best = self.best.compress(&sample).map_or(0, |c| c.len());
        if fast <= best + best / 100 { Gain::Same } else { Gain::More }
    }
}

/// What compressing is worth.
enum Gain {
    /// Nothing: store as it is.
    None,
    /// As much at the fast level.
    Same,
    /// The better level pays.
    More,
}

/// A frame on its way into a pack.
pub enum Packed {
    /// To be written as a frame of uncompressed blocks around these bytes.
    Stored(Vec<u8>),
    /// A frame as it is, and the buffer its content was in.
    Compressed { frame: Vec<u8>, plain: Vec<u8> },
}

impl Packed {
    /// Length of the frame.
    pub fn length(&self) -> usize {
        match self {
            Self::Stored(plain) => RAW_HEAD + plain.len() + BLOCK_HEAD * plain.len().div_ceil(RAW_BLOCK).max(1),
            Self::Compressed { frame, .. } => frame.len(),
        }
    }

    /// The frame's bytes, in order.
    pub fn parts(&self, mut each: impl FnMut(&[u8])) {
        match self {
            Self::Stored(plain) => raw(plain, each),
            Self::Compressed { frame, .. } => each(frame),
        }
    }
}

const RAW_HEAD: usize = 9;
const RAW_BLOCK: usize = 128 << 10;
const BLOCK_HEAD: usize = 3;

/// A zstd frame (RFC 8878 §3.1.1) of uncompressed blocks: no work, and no copy either.
fn raw(plain: &[u8], mut each: impl FnMut(&[u8])) {
    each(&[0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000]);
    each(&(plain.len() as u32).to_le_bytes());
    let blocks = plain.len().div_ceil(RAW_BLOCK).max(1);
    for number in 0..blocks {
        let block = &plain[number * RAW_BLOCK..plain.len().min((number + 1) * RAW_BLOCK)];
        let last = u32::from(number + 1 == blocks);
        each(&((block.len() as u32) << 3 | last).to_le_bytes()[..BLOCK_HEAD]);
        each(block);
    }
}

/// Unpacks frames. Keeps its context, so make one per thread.
pub struct FrameReader(Decompressor<'static>);

impl Default for FrameReader {
    fn default() -> Self {
        Self(Decompressor::new().expect("BUG: a context can be made"))
    }
}

impl FrameReader {
    /// Unpacks one frame into `plain`, which must come to exactly `len` bytes.
    pub fn decompress(&mut self, frame: &[u8], len: u32, plain: &mut Vec<u8>) -> Result<(), FormatError> {
        let what = "a frame";
        if len > MAX_FRAME {
            return Err(FormatError::TooLarge { what, asked: len.into(), limit: MAX_FRAME.into() });
        }
        plain.clear();
        plain.reserve(len as usize);
        let unpacked =
            self.0.decompress_to_buffer(frame, plain).map_err(|error| FormatError::malformed(what, error))?;
        if unpacked == len as usize {
            Ok(())
        } else {
            Err(FormatError::malformed(what, "it unpacks to another length"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame_of(plain: &[u8]) -> Vec<u8> {
        let packed = FrameWriter::default().pack(plain.to_vec(), Vec::new());
        let mut frame = Vec::new();
        packed.parts(|part| frame.extend_from_slice(part));
        assert_eq!(frame.len(), packed.length());
        frame
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn what_does_not_compress_is_stored_as_it_is_in_a_standard_frame() {
        for len in [200_000, 1 << 20, (1 << 20) + 1, 3_000_000] {
            let plain = noise(len);
            let frame = frame_of(&plain);
            assert!(frame.len() > len && frame.len() < len + 100, "{len} became {}", frame.len());
            assert_eq!(zstd::stream::decode_all(&frame[..]).unwrap(), plain);
        }
    }

    #[test]
    fn a_frame_that_unpacks_to_more_than_it_says_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 5 << 20], 19).unwrap();
        let mut plain = Vec::new();
        assert!(FrameReader::default().decompress(&bomb, 1000, &mut plain).is_err());
        assert!(FrameReader::default().decompress(&bomb, u32::MAX, &mut plain).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_survive_a_frame(plain in proptest::collection::vec(0u8..8, 0..20_000)) {
            let frame = frame_of(&plain);
            let mut back = Vec::new();
            FrameReader::default().decompress(&frame, plain.len() as u32, &mut back).unwrap();
            prop_assert_eq!(back, plain);
        }

        #[test]
        fn any_bytes_are_a_frame_or_an_error(frame in proptest::collection::vec(any::<u8>(), 0..200), len in 0u32..2000) {
            let _ = FrameReader::default().decompress(&frame, len, &mut Vec::new());
        }
    }
}
