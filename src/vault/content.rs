//! Content as lists of extents, however long: a list too long for one line is kept as content itself.

use crate::base::capture::{Access, Cutter};
use crate::base::chunk::Chunk;
use crate::base::entry::{Content, Extent};
use crate::format::chunker::Chunker;
use crate::format::listing::{self, MAX_LINE};
use crate::vault::error::VaultError;

/// A list of at most this many extents stands in the entry itself.
const INLINE: usize = 1000;

/// Takes chunks that lists and listings are made of.
pub trait ChunkSink {
    fn chunk(&mut self, chunk: Chunk, access: Access) -> Result<(), VaultError>;
    fn line_cutter(&self) -> &Chunker;
}

/// Collects extents, in order, into content.
#[derive(Default)]
pub struct ContentWriter {
    extents: Vec<Extent>,
    list: Option<Box<LineWriter>>,
}

impl ContentWriter {
    pub fn push(&mut self, extent: Extent, sink: &mut dyn ChunkSink) -> Result<(), VaultError> {
        self.extents.push(extent);
        if self.list.is_none() && self.extents.len() <= INLINE {
            return Ok(());
        }
        let list = self.list.get_or_insert_default();
        let mut line = Vec::new();
        for extent in self.extents.drain(..) {
            line.clear();
            listing::write_extent(&extent, &mut line);
            list.push(&line, extent.first.as_deref(), sink)?;
        }
        Ok(())
    }

    pub fn finish(self, sink: &mut dyn ChunkSink) -> Result<Content, VaultError> {
        match self.list {
            None => Ok(Content { depth: 0, extents: self.extents }),
            Some(list) => {
                let content = list.finish(sink)?;
                Ok(Content { depth: content.depth + 1, extents: content.extents })
            }
        }
    }
}

/// Collects lines into chunks cut by content at line ends, and those into content.
pub struct LineWriter {
    access: Access,
    lines: Vec<u8>,
    /// Where each line begins that carries a key, and the key: the first of a chunk is noted in its extent.
    keys: std::collections::VecDeque<(usize, String)>,
    content: ContentWriter,
}

/// Cutting needs to look this far ahead, and looks at several chunks at a time.
const LOOKAHEAD: usize = 256 << 10;

impl Default for LineWriter {
    /// Of a list in which lines are looked up by their keys.
    fn default() -> Self {
        Self::read_as(Access::Lines)
    }
}

impl LineWriter {
    pub fn read_as(access: Access) -> Self {
        Self { access, lines: Vec::new(), keys: std::collections::VecDeque::new(), content: ContentWriter::default() }
    }

    /// Adds a line, newline included.
    pub fn push(&mut self, line: &[u8], key: Option<&str>, sink: &mut dyn ChunkSink) -> Result<(), VaultError> {
        if line.len() > MAX_LINE {
            return Err(VaultError::LongLine { limit: MAX_LINE });
        }
        if let Some(key) = key {
            self.keys.push_back((self.lines.len(), key.to_owned()));
        }
        self.lines.extend_from_slice(line);
        if self.lines.len() >= LOOKAHEAD { self.cut(false, sink) } else { Ok(()) }
    }

    pub fn finish(mut self, sink: &mut dyn ChunkSink) -> Result<Content, VaultError> {
        self.cut(true, sink)?;
        self.content.finish(sink)
    }

    fn cut(&mut self, last: bool, sink: &mut dyn ChunkSink) -> Result<(), VaultError> {
        let mut start = 0;
        while let Some(length) = self.next_cut(start, last, sink.line_cutter()) {
            let chunk = Chunk::new(self.lines[start..start + length].to_vec());
            let mut extent = Extent::whole(chunk.digest(), length as u64);
            extent.first = self.take_key(start, start + length);
            sink.chunk(chunk, self.access)?;
            self.content.push(extent, sink)?;
            start += length;
        }
        self.lines.drain(..start);
        self.keys.iter_mut().for_each(|(at, _)| *at -= start);
        Ok(())
    }

    /// The chunker's cut, moved to the end of the line it falls into.
    fn next_cut(&self, start: usize, last: bool, cutter: &Chunker) -> Option<usize> {
        let rest = &self.lines[start..];
        let cut = cutter.cut(rest, last)?;
        let line_end = rest[cut - 1..].iter().position(|&b| b == b'\n')?;
        Some(cut + line_end)
    }

    fn take_key(&mut self, start: usize, end: usize) -> Option<String> {
        let mut first = None;
        while self.keys.front().is_some_and(|(at, _)| *at < end) {
            let (at, key) = self.keys.pop_front().expect("BUG: just seen");
            if at == start {
                first = Some(key);
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::chunker::LINES;
    use crate::format::identity::ChunkingSecret;

    struct Kept(Chunker, Vec<u8>);

    impl ChunkSink for Kept {
        fn chunk(&mut self, chunk: Chunk, _: Access) -> Result<(), VaultError> {
            assert_eq!(chunk.bytes().last(), Some(&b'\n'));
            self.1.extend_from_slice(chunk.bytes());
            Ok(())
        }

        fn line_cutter(&self) -> &Chunker {
            &self.0
        }
    }

    #[test]
    fn the_longest_line_fits_into_a_chunk_whatever_comes_before_it() {
        let longest = [&vec![b'x'; MAX_LINE - 1][..], b"\n"].concat();
        for before in (0..70_000).step_by(1709) {
            let mut sink = Kept(Chunker::new(&ChunkingSecret::from_bytes([1; 32]), LINES), Vec::new());
            let mut writer = LineWriter::default();
            let short = [&vec![b'y'; before][..], b"\n"].concat();
            for line in [&short, &longest, &short] {
                writer.push(line, None, &mut sink).unwrap();
            }
            writer.finish(&mut sink).unwrap();
            assert!(sink.1 == [&short[..], &longest, &short].concat());
        }
        let mut sink = Kept(Chunker::new(&ChunkingSecret::from_bytes([1; 32]), LINES), Vec::new());
        let too_long = [&longest[..], b"\n"].concat();
        assert!(matches!(LineWriter::default().push(&too_long, None, &mut sink), Err(VaultError::LongLine { .. })));
    }
}
