//! A run of bytes together with the digest that names it.

use sha2::{Digest, Sha256};

use crate::base::id::{PlainDigest, SealedDigest};

/// The longest chunk any source may make. Readers refuse longer ones before allocating.
pub const MAX_CHUNK: usize = 4 << 20;

/// Bytes and their digest. The only way to make one is to hash the bytes.
#[derive(Clone, Debug)]
pub struct Chunk {
    digest: PlainDigest,
    bytes: Vec<u8>,
}

impl Chunk {
    pub fn new(bytes: Vec<u8>) -> Self {
        assert!(bytes.len() <= MAX_CHUNK, "BUG: a chunk of {} bytes", bytes.len());
        Self { digest: plain_digest(&bytes), bytes }
    }

    pub fn digest(&self) -> PlainDigest {
        self.digest
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The digest that names plain bytes inside the vault.
pub fn plain_digest(bytes: &[u8]) -> PlainDigest {
    PlainDigest::from_bytes(Sha256::digest(bytes).into())
}

/// The digest that names stored bytes in the open.
pub fn sealed_digest(bytes: &[u8]) -> SealedDigest {
    SealedDigest::from_bytes(Sha256::digest(bytes).into())
}
