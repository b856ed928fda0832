//! The `files` source against trees made for the purpose.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::{FilesOptions, FilesSource, configure};
use crate::base::capture::{Access, Capture, Cutter, EntrySink, Fingerprint, Known, Piece, Rows, Skip};
use crate::base::chunk::{Chunk, Lent, plain_digest};
use crate::base::control::Control;
use crate::base::database::Database;
use crate::base::entry::{Content, Entry, Extent, Kind};
use crate::base::error::{Class, Explain, Explained};
use crate::base::id::PlainDigest;
use crate::base::path::EntryPath;
use crate::source::{ConfigError, Source, SourceError};

mod changing;
mod databases;
mod speed;
mod trees;

/// Cuts in equal lengths.
struct Equal(usize);

impl Cutter for Equal {
    fn cut(&self, bytes: &[u8], last: bool) -> Option<usize> {
        if bytes.len() >= self.0 { Some(self.0) } else { last.then_some(bytes.len()) }
    }

    fn minimum(&self) -> usize {
        self.0
    }

    fn salt(&self) -> u64 {
        0
    }
}

/// How to refer to content; each chunk of it is handed over.
fn content_of(
    pieces: &mut dyn Iterator<Item = Result<Piece, Explained>>,
    mut each: impl FnMut(&Chunk),
) -> Result<Content, Explained> {
    let mut content = Content::default();
    for piece in pieces {
        content.extents.push(match piece? {
            Piece::Hole(length) => Extent::hole(length),
            Piece::Chunk(chunk) => {
                each(&chunk);
                Extent::whole(chunk.digest(), chunk.bytes().len() as u64)
            }
        });
    }
    Ok(content)
}

type Before = Box<dyn FnMut(&Entry) + Send>;

/// Keeps everything it is given.
#[derive(Default)]
struct Recorder {
    chunks: BTreeMap<String, Vec<u8>>,
    entries: Vec<(Entry, Option<Fingerprint>)>,
    databases: Vec<Database>,
    repeated: Vec<String>,
    skips: Vec<Skip>,
    /// Called before each entry.
    before: Option<Before>,
}

impl EntrySink for Recorder {
    fn content(
        &mut self,
        pieces: &mut dyn Iterator<Item = Result<Piece, Explained>>,
        _: Access,
    ) -> Result<Content, Explained> {
        content_of(pieces, |chunk| drop(self.chunks.insert(chunk.digest().to_hex(), chunk.bytes().to_vec())))
    }

    fn pages(
        &mut self,
        _: &EntryPath,
        page_size: usize,
        batches: &mut dyn Iterator<Item = Result<Lent, Explained>>,
    ) -> Result<Content, Explained> {
        let mut content = Content::default();
        for batch in batches {
            let batch = batch?;
            assert_eq!(batch.bytes().len() % page_size, 0);
            let digest = plain_digest(batch.bytes());
            self.chunks.insert(digest.to_hex(), batch.bytes().to_vec());
            content.extents.push(Extent::whole(digest, batch.bytes().len() as u64));
        }
        Ok(content)
    }

    fn rows(
        &mut self,
        _: &EntryPath,
        _: &EntryPath,
        _: &mut dyn Iterator<Item = Result<Rows, Explained>>,
    ) -> Result<(Content, Content), Explained> {
        Ok(Default::default())
    }

    fn database(&mut self, database: Database) {
        self.databases.push(database);
    }

    fn entry(&mut self, entry: &Entry, fingerprint: Option<Fingerprint>) -> Result<(), Explained> {
        if let Some(before) = &mut self.before {
            before(entry);
        }
        let length: u64 = entry.content.extents.iter().map(|extent| extent.length).sum();
        assert!(entry.link.is_some() || entry.kind != Kind::File || length == entry.size, "{entry:?}");
        self.entries.push((entry.clone(), fingerprint));
        Ok(())
    }

    fn repeat(&mut self, known: &Known) -> Result<(), Explained> {
        self.repeated.push(known.path.to_string());
        self.entries.push((serde_json::from_slice(&known.line).unwrap(), known.fingerprint));
        Ok(())
    }

    fn skip(&mut self, skip: Skip) {
        self.skips.push(skip);
    }
}

impl Recorder {
    fn paths(&self) -> Vec<String> {
        self.entries.iter().map(|(entry, _)| entry.path.to_string()).collect()
    }

    fn find(&self, path: &str) -> &Entry {
        let found = self.entries.iter().find(|(entry, _)| entry.path.to_string() == path);
        &found.unwrap_or_else(|| panic!("no {path} in {:?}", self.paths())).0
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for extent in &self.find(path).content.extents {
            match extent.chunk.map(PlainDigest::to_hex) {
                Some(digest) => bytes.extend_from_slice(&self.chunks[&digest]),
                None => bytes.resize(bytes.len() + extent.length as usize, 0),
            }
        }
        bytes
    }

    /// What the host remembers of this capture.
    fn recall(&self) -> Vec<Known> {
        let known = |(entry, fingerprint): &(Entry, Option<Fingerprint>)| Known {
            path: entry.path.clone(),
            fingerprint: *fingerprint,
            database: self.databases.iter().any(|database| database.path == entry.path),
            line: serde_json::to_vec(entry).unwrap(),
        };
        self.entries.iter().map(known).collect()
    }

    fn assert_sorted(&self) {
        assert!(self.entries.windows(2).all(|pair| pair[0].0.path < pair[1].0.path), "{:?}", self.paths());
    }
}

fn options(path: &Path) -> FilesOptions {
    FilesOptions { path: path.to_owned(), ..FilesOptions::default() }
}

fn capture_with(
    options: FilesOptions,
    recall: Vec<Known>,
    sink: &mut Recorder,
    control: &Arc<Control>,
) -> Result<(), SourceError> {
    let capture = Capture {
        cutter: Arc::new(Equal(64 << 10)),
        recall: Box::new(recall.into_iter()),
        control: control.clone(),
        rescan: Default::default(),
        check: true,
        own: Default::default(),
    };
    FilesSource::new(options).unwrap().capture(capture, sink)
}

fn again(options: FilesOptions, recall: Vec<Known>) -> Recorder {
    let mut sink = Recorder::default();
    capture_with(options, recall, &mut sink, &Arc::default()).unwrap();
    sink.assert_sorted();
    sink
}

fn captured(options: FilesOptions) -> Recorder {
    again(options, Vec::new())
}

fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Lets everything in a tree rest long enough to be trusted.
fn settle() {
    std::thread::sleep(Duration::from_millis(1100));
}
