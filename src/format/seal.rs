//! Sealing and opening: an age file's payload (docs/format.md §4), streamed in, read back whole or by range.
//!
//! The payload is cut into segments of 64 KiB, each under ChaCha20-Poly1305 with its number and whether it is the
//! last as nonce: so none can be dropped, repeated or moved, and each can be opened alone.

use std::ops::Range;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

use crate::base::id::SealedDigest;
use crate::format::error::FormatError;
use crate::format::header;

const SEGMENT: usize = 64 << 10;
const TAG: usize = 16;
pub const SEALED_SEGMENT: usize = SEGMENT + TAG;

/// The key of one file's payload.
pub struct PayloadKey(LessSafeKey);

impl PayloadKey {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("BUG: the key has 32 bytes")))
    }

    fn nonce(segment: u64, last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&segment.to_be_bytes());
        nonce[11] = u8::from(last);
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, segment: u64, last: bool, bytes: &mut [u8]) -> [u8; TAG] {
        let tag = self.0.seal_in_place_separate_tag(Self::nonce(segment, last), Aad::empty(), bytes);
        tag.expect("BUG: a segment is far below the cipher's limit")
            .as_ref()
            .try_into()
            .expect("BUG: a tag has 16 bytes")
    }

    fn open(&self, segment: u64, last: bool, sealed: &[u8], plain: &mut [u8]) -> Result<(), FormatError> {
        let (cipher, tag) = sealed.split_at(plain.len());
        let nonce = Self::nonce(segment, last);
        self.0
            .open_separate_gather(nonce, Aad::empty(), cipher, tag, plain)
            .map_err(|_| FormatError::Altered { what: "the payload" })
    }
}

/// A finished object: its bytes and the name they give it.
pub struct Sealed {
    pub bytes: Vec<u8>,
    pub digest: SealedDigest,
}

/// Seals what is written to it, hashing the sealed bytes on the way.
pub struct Sealer {
    key: PayloadKey,
    out: Vec<u8>,
    /// Where the open segment begins in `out`.
    start: usize,
    segment: u64,
    hasher: Sha256,
    hashed: usize,
}

impl Sealer {
    /// `buffer` is reused for the output; what it held is dropped.
    pub fn new(recipients: &[&dyn age::Recipient], mut buffer: Vec<u8>) -> Self {
        let (head, key) = header::write(recipients);
        buffer.clear();
        buffer.extend_from_slice(&head);
        Self { key, start: buffer.len(), out: buffer, segment: 0, hasher: Sha256::new(), hashed: 0 }
    }

    pub fn write(&mut self, mut plain: &[u8]) {
        while !plain.is_empty() {
            // A full segment stays open until more comes: only then is it known not to be the last.
            if self.out.len() - self.start == SEGMENT {
                self.close_segment(false);
            }
            let room = SEGMENT - (self.out.len() - self.start);
            let (now, later) = plain.split_at(room.min(plain.len()));
            self.out.extend_from_slice(now);
            plain = later;
        }
    }

    /// Length of the object so far.
    pub fn length(&self) -> usize {
        self.out.len()
    }

    pub fn finish(mut self) -> Sealed {
        self.close_segment(true);
        let digest = SealedDigest::from_bytes(self.hasher.finalize().into());
        Sealed { bytes: self.out, digest }
    }

    fn close_segment(&mut self, last: bool) {
        let tag = self.key.seal(self.segment, last, &mut self.out[self.start..]);
        self.out.extend_from_slice(&tag);
        self.segment += 1;
        self.start = self.out.len();
        self.hasher.update(&self.out[self.hashed..]);
        self.hashed = self.out.len();
    }
}

/// Seals one whole object.
pub fn seal(recipients: &[&dyn age::Recipient], plain: &[u8]) -> Sealed {
    let mut sealer = Sealer::new(recipients, Vec::with_capacity(plain.len() + plain.len() / SEGMENT * TAG + 1024));
    sealer.write(plain);
    sealer.finish()
}

/// Opens one whole object.
pub fn open(sealed: &[u8], identities: &[&dyn age::Identity]) -> Result<Vec<u8>, FormatError> {
    let opener = Opener::new(sealed, identities, sealed.len() as u64)?;
    let whole = 0..opener.plain_len();
    let range = opener.sealed_range(&whole);
    opener.open_range(&whole, &sealed[range.start as usize..range.end as usize])
}

/// Opens ranges of one object, given its head.
pub struct Opener {
    key: PayloadKey,
    /// Where the payload begins.
    start: u64,
    /// Length of the payload, tags included.
    payload: u64,
}

impl Opener {
    /// `head` is the beginning of the object, at least as long as its age header; `size` is the whole object's.
    pub fn new(head: &[u8], identities: &[&dyn age::Identity], size: u64) -> Result<Self, FormatError> {
        let (key, start) = header::read(head, identities)?;
        let start = start as u64;
        let payload = size
            .checked_sub(start)
            .filter(|p| *p >= TAG as u64)
            .ok_or(FormatError::Truncated { what: "the payload" })?;
        let rest = payload % SEALED_SEGMENT as u64;
        // Only an empty payload may end in an empty segment.
        if (1..TAG as u64).contains(&rest) || (rest == TAG as u64 && payload > TAG as u64) {
            return Err(FormatError::Truncated { what: "the payload" });
        }
        Ok(Self { key, start, payload })
    }

    fn segments(&self) -> u64 {
        self.payload.div_ceil(SEALED_SEGMENT as u64)
    }

    /// Length of what is inside.
    pub fn plain_len(&self) -> u64 {
        self.payload - self.segments() * TAG as u64
    }

    /// Which bytes of the object are needed to read `plain`.
    pub fn sealed_range(&self, plain: &Range<u64>) -> Range<u64> {
        let first = plain.start / SEGMENT as u64;
        let end = plain.end.div_ceil(SEGMENT as u64).max(first + 1);
        let start = self.start + first * SEALED_SEGMENT as u64;
        start..self.start + (end * SEALED_SEGMENT as u64).min(self.payload)
    }

    /// Opens `plain`, given the bytes that [`Self::sealed_range`] asks for.
    pub fn open_range(&self, plain: &Range<u64>, sealed: &[u8]) -> Result<Vec<u8>, FormatError> {
        let mut opened = Vec::new();
        self.open_range_into(plain, sealed, &mut opened)?;
        Ok(opened)
    }

    /// As [`Self::open_range`], into a buffer that is reused.
    pub fn open_range_into(&self, plain: &Range<u64>, sealed: &[u8], opened: &mut Vec<u8>) -> Result<(), FormatError> {
        let asked = self.sealed_range(plain);
        if plain.start > plain.end || plain.end > self.plain_len() || sealed.len() as u64 != asked.end - asked.start {
            return Err(FormatError::Truncated { what: "the payload" });
        }
        let first = plain.start / SEGMENT as u64;
        let count = sealed.len().div_ceil(SEALED_SEGMENT);
        opened.clear();
        opened.resize(sealed.len() - count * TAG, 0);
        for (number, (sealed, plain)) in
            sealed.chunks(SEALED_SEGMENT).zip(opened.chunks_mut(SEGMENT).chain([&mut [][..]])).enumerate()
        {
            let number = first + number as u64;
            self.key.open(number, number + 1 == self.segments(), sealed, plain)?;
        }
        opened.truncate((plain.end - first * SEGMENT as u64) as usize);
        opened.drain(..(plain.start - first * SEGMENT as u64) as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use age::x25519::Identity;
    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    /// Lengths around every boundary of a segment.
    const LENGTHS: [usize; 9] =
        [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT - 1, 2 * SEGMENT, 2 * SEGMENT + 1, 5 * SEGMENT + 7];

    #[test]
    fn the_age_crate_opens_what_is_sealed_here_and_the_other_way_round() {
        let (identity, other) = (Identity::generate(), Identity::generate());
        for len in LENGTHS {
            let plain = bytes(len);
            let sealed = seal(&[&other.to_public(), &identity.to_public()], &plain).bytes;
            let mut theirs = Vec::new();
            let decryptor = age::Decryptor::new(&sealed[..]).unwrap();
            decryptor.decrypt([&identity as &dyn age::Identity].into_iter()).unwrap().read_to_end(&mut theirs).unwrap();
            assert_eq!(theirs, plain, "{len}");

            let recipients = [&identity.to_public() as &dyn age::Recipient];
            let mut sealed = Vec::new();
            let mut writer =
                age::Encryptor::with_recipients(recipients.into_iter()).unwrap().wrap_output(&mut sealed).unwrap();
            writer.write_all(&plain).unwrap();
            writer.finish().unwrap();
            assert_eq!(open(&sealed, &[&identity]).unwrap(), plain, "{len}");
        }
    }

    #[test]
    fn every_flip_and_every_truncation_is_noticed() {
        let identity = Identity::generate();
        let sealed = seal(&[&identity.to_public()], &bytes(300)).bytes;
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(open(&flipped, &[&identity]).is_err(), "flip at {at}");
            assert!(open(&sealed[..at], &[&identity]).is_err(), "cut at {at}");
        }
        let longer = [&sealed[..], &[0]].concat();
        assert!(open(&longer, &[&identity]).is_err());
        let long = seal(&[&identity.to_public()], &bytes(3 * SEGMENT)).bytes;
        let two_segments = long.len() - SEALED_SEGMENT;
        assert!(open(&long[..two_segments], &[&identity]).is_err(), "a whole segment cut off the end");
    }

    #[test]
    fn a_stranger_opens_nothing() {
        let sealed = seal(&[&Identity::generate().to_public()], b"secret").bytes;
        assert!(matches!(open(&sealed, &[&Identity::generate()]), Err(FormatError::NoIdentity { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_range_reads_as_the_same_range_of_the_plain_bytes(len in 0usize..300_000, a in 0u64..300_000, b in 0u64..300_000) {
            let identity = Identity::generate();
            let plain = bytes(len);
            let sealed = seal(&[&identity.to_public()], &plain);
            let opener = Opener::new(&sealed.bytes, &[&identity], sealed.bytes.len() as u64).unwrap();
            prop_assert_eq!(opener.plain_len(), len as u64);
            let (a, b) = (a.min(len as u64), b.min(len as u64));
            let range = a.min(b)..a.max(b);
            let asked = opener.sealed_range(&range);
            let opened = opener.open_range(&range, &sealed.bytes[asked.start as usize..asked.end as usize]).unwrap();
            prop_assert_eq!(&opened[..], &plain[range.start as usize..range.end as usize]);
        }

        #[test]
        fn any_bytes_are_an_age_file_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = open(&bytes, &[&Identity::generate()]);
            let _ = open(&[b"age-encryption.org/v1\n-> ".as_slice(), &bytes].concat(), &[&Identity::generate()]);
        }
    }
}
