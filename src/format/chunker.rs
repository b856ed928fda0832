//! Where content is cut: FastCDC with a gear table drawn from the vault's secret (docs/format.md §6).
//!
//! Published attacks recognise known files by the lengths of their chunks. Here the table is secret, and lengths
//! never show: chunks travel in packs of one size. Either alone would do.

use std::sync::Arc;

use aws_lc_rs::hkdf;
use fastcdc::v2020::{Normalization, cut_gear, select_masks};

use crate::base::capture::Cutter;
use crate::format::identity::ChunkingSecret;

/// How long chunks get.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    pub minimum: usize,
    pub average: usize,
    pub maximum: usize,
}

/// Content of files.
pub const FILE: Lengths = Lengths { minimum: 256 << 10, average: 512 << 10, maximum: 2 << 20 };
/// Listings and lists of extents: short, so that one changed line costs little.
pub const LINES: Lengths = Lengths { minimum: 4 << 10, average: 8 << 10, maximum: 64 << 10 };

/// Cuts content of one kind. Cheap to clone.
#[derive(Clone)]
pub struct Chunker {
    gear: Arc<Gear>,
    lengths: Lengths,
    masks: (u64, u64),
}

struct Gear {
    table: Vec<u64>,
    shifted: Vec<u64>,
    salt: u64,
}

impl Chunker {
    pub fn new(secret: &ChunkingSecret, lengths: Lengths) -> Self {
        let table = gear_table(secret);
        let shifted = table.iter().map(|gear| gear << 1).collect();
        let masks = select_masks(lengths.average, Normalization::Level1);
        Self { gear: Arc::new(Gear { table, shifted, salt: salt(secret) }), lengths, masks }
    }

    fn first_cut(&self, bytes: &[u8]) -> usize {
        let Lengths { minimum, average, maximum } = self.lengths;
        let (strict, loose) = self.masks;
        let Gear { table, shifted, .. } = &*self.gear;
        cut_gear(bytes, minimum, average, maximum, strict, loose, strict << 1, loose << 1, table, shifted).1
    }
}

impl Cutter for Chunker {
    fn cut(&self, bytes: &[u8], last: bool) -> Option<usize> {
        if bytes.len() <= self.lengths.minimum {
            return (last && !bytes.is_empty()).then_some(bytes.len());
        }
        let cut = self.first_cut(bytes);
        (cut < bytes.len() || cut == self.lengths.maximum || last).then_some(cut)
    }

    fn minimum(&self) -> usize {
        self.lengths.minimum
    }

    fn salt(&self) -> u64 {
        self.gear.salt
    }
}

/// For the hashes of keys, whose cuts must tell nobody which rows they are of.
fn salt(secret: &ChunkingSecret) -> u64 {
    let mut bytes = [0; 32];
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret.expose());
    let filled = key.expand(&[b"strongroom rows 1"], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut bytes));
    filled.expect("BUG: 32 bytes is what it gives");
    u64::from_le_bytes(bytes[..8].try_into().expect("BUG: eight bytes"))
}

/// 256 words of HKDF-SHA256 output. The longest that HKDF gives is 8,160 bytes; these are 2,048.
fn gear_table(secret: &ChunkingSecret) -> Vec<u64> {
    const LEN: usize = 256 * 8;
    struct Length;
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            LEN
        }
    }
    let mut bytes = [0; LEN];
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret.expose());
    let filled = key.expand(&[b"strongroom gear 1"], Length).and_then(|okm| okm.fill(&mut bytes));
    filled.expect("BUG: HKDF gives this many bytes");
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("BUG: eight bytes"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunker(secret: u8) -> Chunker {
        Chunker::new(&ChunkingSecret::from_bytes([secret; 32]), LINES)
    }

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn cuts(chunker: &Chunker, mut bytes: &[u8]) -> Vec<usize> {
        let mut cuts = Vec::new();
        while let Some(cut) = chunker.cut(bytes, true) {
            cuts.push(cut);
            bytes = &bytes[cut..];
        }
        cuts
    }

    #[test]
    fn another_secret_cuts_elsewhere() {
        let bytes = noise(400_000, 7);
        assert_ne!(cuts(&chunker(1), &bytes), cuts(&chunker(2), &bytes));
    }

    #[test]
    fn an_insertion_moves_only_the_cuts_around_it() {
        let bytes = noise(1_000_000, 7);
        let mut edited = bytes.clone();
        edited.splice(500_000..500_000, *b"inserted");
        let chunks = |bytes: &[u8]| {
            let mut rest = bytes;
            cuts(&chunker(1), bytes)
                .iter()
                .map(|&cut| {
                    let (now, later) = rest.split_at(cut);
                    rest = later;
                    now.to_vec()
                })
                .collect::<std::collections::HashSet<_>>()
        };
        let (before, after) = (chunks(&bytes), chunks(&edited));
        assert!(after.difference(&before).count() <= 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn cuts_do_not_depend_on_how_much_is_read_at_a_time(len in 0usize..300_000, seed: u64, step in 1000usize..100_000) {
            let (chunker, bytes) = (chunker(1), noise(len, seed));
            let whole = cuts(&chunker, &bytes);
            prop_assert_eq!(whole.iter().sum::<usize>(), len);
            let (mut start, mut end, mut stepped) = (0, 0, Vec::new());
            while start < len {
                match chunker.cut(&bytes[start..end], end == len) {
                    Some(cut) => { stepped.push(cut); start += cut; end = end.max(start); }
                    None => end = (end + step).min(len),
                }
            }
            prop_assert_eq!(stepped, whole);
        }
    }
}
