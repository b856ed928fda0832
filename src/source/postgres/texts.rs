//! Texts and large objects as pieces of content, cut where their content says.

use crate::base::capture::{Cutter, Piece};
use crate::base::chunk::Chunk;
use crate::base::error::Explained;

/// Cuts what comes block by block.
pub(super) struct Cut<'c, I> {
    cutter: &'c dyn Cutter,
    blocks: I,
    bytes: Vec<u8>,
    start: usize,
    ended: bool,
    /// All bytes so far.
    pub length: u64,
}

/// What is gathered before it is looked for a cut.
const AT_ONCE: usize = 4 << 20;

impl<'c, I: Iterator<Item = Result<Vec<u8>, Explained>>> Cut<'c, I> {
    pub fn new(cutter: &'c dyn Cutter, blocks: I) -> Self {
        Self { cutter, blocks, bytes: Vec::new(), start: 0, ended: false, length: 0 }
    }

    fn fill(&mut self) -> Result<(), Explained> {
        self.bytes.drain(..self.start);
        self.start = 0;
        while !self.ended && self.bytes.len() < AT_ONCE {
            match self.blocks.next().transpose()? {
                Some(block) => {
                    self.length += block.len() as u64;
                    self.bytes.extend_from_slice(&block);
                }
                None => self.ended = true,
            }
        }
        Ok(())
    }
}

impl<I: Iterator<Item = Result<Vec<u8>, Explained>>> Iterator for Cut<'_, I> {
    type Item = Result<Piece, Explained>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut cut = self.cutter.cut(&self.bytes[self.start..], self.ended);
        if cut.is_none() && !self.ended {
            if let Err(error) = self.fill() {
                self.ended = true;
                return Some(Err(error));
            }
            cut = self.cutter.cut(&self.bytes[self.start..], self.ended);
        }
        let length = cut.filter(|length| *length > 0)?;
        let chunk = Chunk::new(self.bytes[self.start..self.start + length].to_vec());
        self.start += length;
        Some(Ok(Piece::Chunk(chunk)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::chunker::{Chunker, FILE};
    use crate::format::identity::ChunkingSecret;

    #[test]
    fn blocks_of_any_length_come_back_in_pieces_that_do_not_depend_on_them() {
        let cutter = Chunker::new(&ChunkingSecret::from_bytes([1; 32]), FILE);
        let bytes: Vec<u8> = (0u32..3_000_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let cut = |length: usize| {
            let mut cut = Cut::new(&cutter, bytes.chunks(length).map(|block| Ok(block.to_vec())));
            let pieces: Vec<Vec<u8>> = (&mut cut)
                .map(|piece| match piece {
                    Ok(Piece::Chunk(chunk)) => chunk.bytes().to_vec(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(cut.length, bytes.len() as u64);
            pieces
        };
        let pieces = cut(100_000);
        assert!(pieces.concat() == bytes && pieces == cut(bytes.len()) && pieces == cut(4097));
        let mut empty = Cut::new(&cutter, std::iter::empty());
        assert!(empty.next().is_none() && empty.length == 0);
    }
}
