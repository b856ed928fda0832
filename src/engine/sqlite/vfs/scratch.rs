//! What SQLite would put into temporary files: memory, bounded for the whole process.

use std::sync::atomic::{AtomicUsize, Ordering};

/// All temporary files together.
pub const MOST: usize = 512 << 20;

/// Grows so many bytes at a time.
const BLOCK: usize = 256 << 10;

static USED: AtomicUsize = AtomicUsize::new(0);

/// No more memory for temporary data.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// A file in memory, gone when it is dropped.
#[derive(Default)]
pub struct Scratch {
    blocks: Vec<Box<[u8]>>,
    length: usize,
}

impl Scratch {
    pub fn length(&self) -> usize {
        self.length
    }

    /// Fills `buffer` from `offset` on, with zeros beyond the end. Says whether all of it was there.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> bool {
        let there = self.length.saturating_sub(offset).min(buffer.len());
        let (inside, beyond) = buffer.split_at_mut(there);
        beyond.fill(0);
        let mut at = offset;
        for part in Parts::of(offset, there) {
            let range = at - offset..at - offset + part.length;
            inside[range].copy_from_slice(&self.blocks[part.block][part.from..part.from + part.length]);
            at += part.length;
        }
        beyond.is_empty()
    }

    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Full> {
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= MOST).ok_or(Full)?;
        self.grow(end.div_ceil(BLOCK))?;
        let mut at = offset;
        for part in Parts::of(offset, bytes.len()) {
            let range = at - offset..at - offset + part.length;
            self.blocks[part.block][part.from..part.from + part.length].copy_from_slice(&bytes[range]);
            at += part.length;
        }
        self.length = self.length.max(end);
        Ok(())
    }

    pub fn truncate(&mut self, length: usize) {
        if length >= self.length {
            return;
        }
        self.length = length;
        let blocks = length.div_ceil(BLOCK);
        USED.fetch_sub((self.blocks.len() - blocks) * BLOCK, Ordering::Relaxed);
        self.blocks.truncate(blocks);
        // What is grown into again must read as zeros.
        if let Some(last) = self.blocks.last_mut().filter(|_| !length.is_multiple_of(BLOCK)) {
            last[length % BLOCK..].fill(0);
        }
    }

    fn grow(&mut self, blocks: usize) -> Result<(), Full> {
        while self.blocks.len() < blocks {
            if USED.fetch_add(BLOCK, Ordering::Relaxed) + BLOCK > MOST {
                USED.fetch_sub(BLOCK, Ordering::Relaxed);
                return Err(Full);
            }
            self.blocks.push(vec![0; BLOCK].into_boxed_slice());
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        USED.fetch_sub(self.blocks.len() * BLOCK, Ordering::Relaxed);
    }
}

/// Part of a block.
struct Part {
    block: usize,
    from: usize,
    length: usize,
}

/// The parts of blocks that a run of bytes lies in.
struct Parts {
    at: usize,
    end: usize,
}

impl Parts {
    fn of(offset: usize, length: usize) -> Self {
        Self { at: offset, end: offset + length }
    }
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let (block, from) = (self.at / BLOCK, self.at % BLOCK);
        let length = (BLOCK - from).min(self.end.checked_sub(self.at)?);
        self.at += length;
        (length > 0).then_some(Part { block, from, length })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_scratch_file_reads_as_it_was_written(steps in proptest::collection::vec((0usize..900_000, 0usize..300_000, 0u8..10), 1..12)) {
            let (mut scratch, mut expected) = (Scratch::default(), Vec::new());
            for (at, length, what) in steps {
                if what == 0 {
                    scratch.truncate(at);
                    expected.truncate(at);
                } else if length > 0 {
                    scratch.write(at, &vec![what; length]).unwrap();
                    let longer = expected.len().max(at + length);
                    expected.resize(longer, 0);
                    expected[at..at + length].fill(what);
                }
                let mut found = vec![9; expected.len() + 10];
                prop_assert!(!scratch.read(0, &mut found));
                prop_assert_eq!(&found[..expected.len()], &expected[..]);
                prop_assert!(found[expected.len()..].iter().all(|byte| *byte == 0));
                prop_assert_eq!(scratch.length(), expected.len());
            }
        }
    }

    #[test]
    fn a_scratch_file_beyond_the_bound_is_refused() {
        let mut scratch = Scratch::default();
        assert_eq!(scratch.write(MOST, &[1]), Err(Full));
        assert_eq!(scratch.write(usize::MAX, &[1]), Err(Full));
        assert_eq!(scratch.length(), 0);
    }
}
