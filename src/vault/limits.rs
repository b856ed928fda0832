//! How large things get before they are closed. Not part of the format: any reader reads any of them.

use crate::base::capture::Access;

/// What a vault being appended to keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No pack is longer, unless one frame alone is.
    pub pack: usize,
    /// Frames of content that is read whole are this long, unless one chunk is longer.
    pub whole_frame: usize,
    /// Frames of content that is read here and there.
    pub random_frame: usize,
    /// Frames of lists.
    pub lines_frame: usize,
    /// A catalog is written when this many chunks have become durable: bounds what is held in memory.
    pub catalog_chunks: usize,
    /// … or this many packs: bounds what a crash makes the next backup look at again.
    pub catalog_packs: usize,
}

impl Limits {
    /// How long frames are of content that is read like this.
    pub fn frame(&self, access: Access) -> usize {
        match access {
            Access::Whole => self.whole_frame,
            Access::Random => self.random_frame,
            Access::Lines => self.lines_frame,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pack: 16 << 20,
            whole_frame: 2 << 20,
            random_frame: 128 << 10,
            lines_frame: 128 << 10,
            catalog_chunks: 60_000,
            catalog_packs: 64,
        }
    }
}
