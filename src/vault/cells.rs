//! The sealed segments of packs that were read last: small things that were written together are asked for one after the
//! other, and many lie in one segment.
//!
//! Keeps what has opened, and no more than a bound. Never vouches for anything: whoever reads opens it again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::base::id::SealedDigest;
use crate::format::seal::SEALED_SEGMENT;
use crate::vault::error::VaultError;

/// So many segments are kept: two MiB.
const KEPT: usize = 32;
/// Longer ranges are read by whoever reads on, who does not come back.
const LONGEST: u64 = 4 * SEALED_SEGMENT as u64;

/// Segments by their packs and places, the one used last at the end.
#[derive(Default)]
pub(super) struct Cells(Mutex<VecDeque<Cell>>);

struct Cell {
    pack: SealedDigest,
    start: u64,
    bytes: Bytes,
}

impl Cells {
    /// The bytes of whole segments, of which `fetch` is asked for what is not kept.
    pub fn read(
        &self,
        pack: SealedDigest,
        range: Range<u64>,
        fetch: impl Fn(Range<u64>) -> Result<Bytes, VaultError>,
    ) -> Result<Bytes, VaultError> {
        if range.end - range.start > LONGEST {
            return fetch(range);
        }
        let kept: Vec<Option<Bytes>> = starts(&range).map(|start| self.find(pack, start)).collect();
        if kept.iter().all(Option::is_none) {
            return fetch(range);
        }
        let (mut found, mut at) = (Vec::with_capacity((range.end - range.start) as usize), 0);
        while at < kept.len() {
            if let Some(bytes) = &kept[at] {
                found.extend_from_slice(bytes);
                at += 1;
                continue;
            }
            let end = at + kept[at..].iter().take_while(|kept| kept.is_none()).count();
            let place = |at: usize| range.end.min(range.start + (at * SEALED_SEGMENT) as u64);
            found.extend_from_slice(&fetch(place(at)..place(end))?);
            at = end;
        }
        Ok(found.into())
    }

    /// Keeps segments that have opened.
    pub fn keep(&self, pack: SealedDigest, range: Range<u64>, sealed: &Bytes) {
        if range.end - range.start > LONGEST {
            return;
        }
        let mut cells = self.lock();
        for (start, at) in starts(&range).zip((0..).step_by(SEALED_SEGMENT)) {
            cells.retain(|cell| (cell.pack, cell.start) != (pack, start));
            let bytes = sealed.slice(at..sealed.len().min(at + SEALED_SEGMENT));
            cells.push_back(Cell { pack, start, bytes });
        }
        let over = cells.len().saturating_sub(KEPT);
        cells.drain(..over);
    }

    fn find(&self, pack: SealedDigest, start: u64) -> Option<Bytes> {
        let cells = self.lock();
        cells.iter().find(|cell| (cell.pack, cell.start) == (pack, start)).map(|cell| cell.bytes.clone())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Cell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the segments of a range begin.
fn starts(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    range.clone().step_by(SEALED_SEGMENT)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Count;

    use proptest::prelude::*;

    use super::*;

    const SEGMENT: u64 = SEALED_SEGMENT as u64;
    /// Behind the header, and the last segment is shorter.
    const START: u64 = 216;
    const SIZE: u64 = START + 40 * SEGMENT + 1000;

    fn bytes(range: &Range<u64>) -> Bytes {
        range.clone().map(|at| (at / 251 + at) as u8).collect()
    }

    fn segments(first: u64, count: u64) -> Range<u64> {
        START + first * SEGMENT..SIZE.min(START + (first + count) * SEGMENT)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_kept_is_what_the_store_has(reads in proptest::collection::vec((0u64..41, 1u64..7, any::<bool>()), 1..20)) {
            let cells = Cells::default();
            let packs = [SealedDigest::from_bytes([1; 32]), SealedDigest::from_bytes([2; 32])];
            for (first, count, other) in reads {
                let range = segments(first, count);
                let fetch = |part: Range<u64>| {
                    assert!(part.start >= range.start && part.end <= range.end);
                    Ok(bytes(&part))
                };
                let found = cells.read(packs[usize::from(other)], range.clone(), fetch).unwrap();
                prop_assert!(found == bytes(&range));
                cells.keep(packs[usize::from(other)], range, &found);
                prop_assert!(cells.lock().len() <= KEPT);
            }
        }
    }

    #[test]
    fn what_lies_side_by_side_is_fetched_once() {
        let (cells, pack, fetched) = (Cells::default(), SealedDigest::from_bytes([1; 32]), Count::new(0));
        let read = |first, count| {
            let range = segments(first, count);
            let fetch = |part: Range<u64>| {
                fetched.set(fetched.get() + (part.end - part.start).div_ceil(SEGMENT));
                Ok(bytes(&part))
            };
            let found = cells.read(pack, range.clone(), fetch).unwrap();
            cells.keep(pack, range, &found);
            fetched.replace(0)
        };
        assert_eq!((read(39, 2), read(40, 1), read(39, 2), read(38, 2)), (2, 0, 0, 1));
        assert_eq!((read(0, 6), read(0, 6)), (6, 6), "whoever reads on is not kept");
        for first in 0..KEPT as u64 {
            read(first, 1);
        }
        assert_eq!(read(38, 2), 2, "it was forgotten");
    }
}
