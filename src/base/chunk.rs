//! A run of bytes together with the digest that names it.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::base::id::{PlainDigest, SealedDigest};

/// The longest chunk any source may make. Readers refuse longer ones before allocating.
pub const MAX_CHUNK: usize = 4 << 20;

/// Bytes and their digest. The only way to make one is to hash the bytes.
#[derive(Debug)]
pub struct Chunk {
    digest: PlainDigest,
    bytes: Vec<u8>,
    home: Option<Buffers>,
}

impl Chunk {
    pub fn new(bytes: Vec<u8>) -> Self {
        assert!(bytes.len() <= MAX_CHUNK, "BUG: a chunk of {} bytes", bytes.len());
        Self { digest: plain_digest(&bytes), bytes, home: None }
    }

    /// As [`Chunk::new`]; when the chunk is done with, its buffer goes back to where it was taken from.
    pub fn borrowing(bytes: Vec<u8>, home: &Buffers) -> Self {
        let mut chunk = Self::new(bytes);
        chunk.home = Some(home.clone());
        chunk
    }

    pub fn digest(&self) -> PlainDigest {
        self.digest
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.put(std::mem::take(&mut self.bytes));
        }
    }
}

/// Buffers used again and again: memory that one thread allocates and another frees piles up, and fresh memory costs
/// more than filling it.
#[derive(Clone, Debug)]
pub struct Buffers {
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    most: usize,
    length: usize,
}

impl Buffers {
    /// Keeps at most so many buffers, of this length where they are taken with [`Buffers::take`].
    pub fn new(most: usize, length: usize) -> Self {
        Self { kept: Arc::default(), most, length }
    }

    /// A buffer of the full length; what is in it is of no meaning.
    pub fn take(&self) -> Vec<u8> {
        self.used().unwrap_or_else(|| vec![0; self.length])
    }

    /// A copy of `bytes`.
    pub fn copy(&self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.used().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// Gives a buffer back. One that grew far beyond the usual is not worth keeping.
    pub fn put(&self, buffer: Vec<u8>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < self.most && buffer.capacity() <= self.length {
            kept.push(buffer);
        }
    }

    fn used(&self) -> Option<Vec<u8>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// Bytes in a buffer that goes back where it came from.
#[derive(Debug)]
pub struct Lent {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Lent {
    pub fn new(bytes: Vec<u8>, home: &Buffers) -> Self {
        Self { bytes, home: home.clone() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.put(std::mem::take(&mut self.bytes));
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
