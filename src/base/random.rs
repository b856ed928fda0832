//! Bytes that can be read at any place, wherever they are kept.

use crate::base::error::Explained;

/// Content of a known length. Shared by threads.
pub trait RandomRead: Send + Sync {
    fn length(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on. Reading beyond the end is a mistake of the caller, and an error.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained>;
}
