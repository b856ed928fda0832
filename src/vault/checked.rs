//! Files of this host's cache under digests that fit one file of one vault and no other: a flipped bit, a cut, a block or a
//! whole file in another's place is noticed before anything is believed of it.
//!
//! Owns the form of these digests. They guard against disks and crashes, not against people: whoever can write to the
//! cache can make them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use crate::base::id::VaultId;

/// What one folder of one vault's cache is digested with.
#[derive(Clone, Debug)]
pub struct CheckKey([u8; 32]);

pub const DIGEST: usize = 32;

/// Bytes of a stream that stand under one digest.
const BLOCK: usize = 16 << 10;
const TAG: usize = 16;

impl CheckKey {
    pub fn new(vault: &VaultId, folder: &str) -> Self {
        Self(blake3::derive_key("strongroom cache of a host, 1", format!("{vault}/{folder}").as_bytes()))
    }

    /// Digests the content of a file of this name.
    pub fn hasher(&self, name: &OsStr) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.of_file(name))
    }

    fn of_file(&self, name: &OsStr) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, name.as_encoded_bytes()).as_bytes()
    }

    /// What a small file of this name holds on disk: a digest in front of its content.
    pub fn enclose(&self, name: &OsStr, content: &[u8]) -> Vec<u8> {
        let digest = self.hasher(name).update(content).finalize();
        [digest.to_hex().as_bytes(), b"\n", content].concat()
    }

    /// The content of such a file; `None` where the digest does not fit.
    pub fn disclose(&self, name: &OsStr, stored: &[u8]) -> Option<Vec<u8>> {
        let (digest, content) = stored.split_at_checked(2 * DIGEST)?;
        let content = content.strip_prefix(b"\n")?;
        let expected = self.hasher(name).update(content).finalize();
        (expected.to_hex().as_bytes() == digest).then(|| content.to_vec())
    }
}

/// The digest of one block: of its place and of whether it is the last as well.
fn tag(key: &[u8; 32], number: u64, last: bool, bytes: &[u8]) -> [u8; TAG] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&number.to_le_bytes()).update(&[u8::from(last)]).update(bytes);
    hasher.finalize().as_bytes()[..TAG].try_into().expect("BUG: a digest is longer")
}

/// Writes a file in blocks, each under a digest.
pub struct CheckedWriter {
    out: BufWriter<File>,
    key: [u8; 32],
    block: Vec<u8>,
    number: u64,
}

impl CheckedWriter {
    /// `name` is what the file will be called when it is read.
    pub fn new(file: File, key: &CheckKey, name: &OsStr) -> Self {
        let out = BufWriter::with_capacity(256 << 10, file);
        Self { out, key: key.of_file(name), block: Vec::with_capacity(BLOCK), number: 0 }
    }

    fn close_block(&mut self, last: bool) -> io::Result<()> {
        self.out.write_all(&self.block)?;
        self.out.write_all(&tag(&self.key, self.number, last, &self.block))?;
        self.block.clear();
        self.number += 1;
        Ok(())
    }

    /// Without this, nothing of the last block can be read.
    pub fn finish(&mut self) -> io::Result<()> {
        self.close_block(true)?;
        self.out.flush()
    }
}

impl Write for CheckedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.close_block(false)?;
        }
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads such a file. Hands out nothing of a block that does not fit: that is an error, and so is a file without an end.
pub struct CheckedReader {
    input: BufReader<File>,
    key: [u8; 32],
    block: Vec<u8>,
    at: usize,
    number: u64,
    ended: bool,
}

impl CheckedReader {
    pub fn open(path: &Path, key: &CheckKey) -> io::Result<Self> {
        let input = BufReader::with_capacity(256 << 10, File::open(path)?);
        let key = key.of_file(path.file_name().unwrap_or_default());
        Ok(Self { input, key, block: Vec::with_capacity(BLOCK + TAG), at: 0, number: 0, ended: false })
    }

    fn next_block(&mut self) -> io::Result<()> {
        (self.at, self.ended) = (0, true);
        self.block.clear();
        self.input.by_ref().take((BLOCK + TAG) as u64).read_to_end(&mut self.block)?;
        let length = self.block.len().checked_sub(TAG).ok_or(io::ErrorKind::InvalidData)?;
        let (bytes, found) = self.block.split_at(length);
        let fits = |last| tag(&self.key, self.number, last, bytes) == found;
        // Only a full block has others behind it.
        self.ended = length < BLOCK || !fits(false);
        let fit = !self.ended || (fits(true) && self.input.read(&mut [0])? == 0);
        self.block.truncate(if fit { length } else { 0 });
        self.number += 1;
        if fit { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

impl Read for CheckedReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() && !self.ended {
            self.next_block()?;
        }
        let taken = to.len().min(self.block.len() - self.at);
        to[..taken].copy_from_slice(&self.block[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn key(folder: &str) -> CheckKey {
        CheckKey::new(&VaultId::from_bytes([7; VaultId::BYTES]), folder)
    }

    fn write(path: &Path, length: usize) -> Vec<u8> {
        let content: Vec<u8> = (0..length).map(|at| (at / 251 + at) as u8).collect();
        let file = File::create(path).unwrap();
        let mut writer = CheckedWriter::new(file, &key("a"), path.file_name().unwrap());
        content.chunks(1000).for_each(|part| writer.write_all(part).unwrap());
        writer.finish().unwrap();
        content
    }

    /// What can be read, and whether it ends as it should.
    fn read(path: &Path, key: &CheckKey) -> (Vec<u8>, bool) {
        let mut content = Vec::new();
        let ended = CheckedReader::open(path, key).unwrap().read_to_end(&mut content).is_ok();
        (content, ended)
    }

    #[test]
    fn a_stream_reads_back_as_written_whatever_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream");
        for length in [0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5] {
            let content = write(&path, length);
            assert!(read(&path, &key("a")) == (content, true), "{length}");
        }
    }

    #[test]
    fn of_a_stream_with_any_byte_flipped_or_cut_off_only_what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream");
        let content = write(&path, 2 * BLOCK + 100);
        let stored = fs::read(&path).unwrap();
        // Every byte around the ends of blocks, and some between.
        let near = |at: usize| at % (BLOCK + TAG) < 40 || at % (BLOCK + TAG) > BLOCK - 20 || at.is_multiple_of(509);
        for at in (0..stored.len()).filter(|at| near(*at)) {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            for harmed in [&flipped[..], &stored[..at]] {
                fs::write(&path, harmed).unwrap();
                let (found, ended) = read(&path, &key("a"));
                assert!(!ended && content.starts_with(&found), "{at}");
            }
        }
        let longer = [&stored[..], b"x"].concat();
        fs::write(&path, longer).unwrap();
        assert!(!read(&path, &key("a")).1);
    }

    #[test]
    fn a_stream_in_the_place_of_another_and_blocks_that_changed_places_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream");
        write(&path, 3 * BLOCK);
        assert_eq!(read(&path, &key("b")), (Vec::new(), false));
        let other = folder.path().join("other");
        fs::copy(&path, &other).unwrap();
        assert_eq!(read(&other, &key("a")), (Vec::new(), false));
        let stored = fs::read(&path).unwrap();
        let blocks: Vec<&[u8]> = stored.chunks(BLOCK + TAG).collect();
        fs::write(&path, [blocks[1], blocks[0], blocks[2]].concat()).unwrap();
        assert_eq!(read(&path, &key("a")), (Vec::new(), false));
    }

    #[test]
    fn a_small_file_with_any_byte_flipped_or_cut_off_is_not_believed() {
        let (key, name) = (key("a"), OsStr::new("small"));
        let stored = key.enclose(name, b"some content");
        assert_eq!(key.disclose(name, &stored).unwrap(), b"some content");
        assert_eq!(key.disclose(OsStr::new("other"), &stored), None);
        for at in 0..stored.len() {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            assert_eq!((key.disclose(name, &flipped), key.disclose(name, &stored[..at])), (None, None), "{at}");
        }
        assert_eq!(key.disclose(name, &[&stored[..], b"x"].concat()), None);
    }
}
