//! The seam between a source and the vault: what a source is given, and what it hands over.
//!
//! A source knows nothing of packs, and a vault nothing of files. Both know this page.

use std::sync::Arc;

use crate::base::chunk::{Chunk, Lent};
use crate::base::control::Control;
use crate::base::database::Database;
use crate::base::entry::{Content, Entry};
use crate::base::error::Explained;
use crate::base::path::EntryPath;

/// A piece of a file's content, in order.
#[derive(Debug)]
pub enum Piece {
    Chunk(Chunk),
    /// This many zero bytes that the file system does not store.
    Hole(u64),
}

/// What a file of rows is kept as, and what is noted of it beside it.
#[derive(Debug)]
pub enum Rows {
    /// A chunk of the file, and the key of the row that begins in it, written as paths are.
    Chunk(Chunk, Option<String>),
    /// A line of the file beside it, newline included, with the key it is found by.
    Note(Vec<u8>, Option<String>),
}

/// How content is going to be read back, which decides what it is compressed together with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whole: large frames, best compression.
    Whole,
    /// Here and there: small frames.
    Random,
    /// Lists in which lines are looked up: small frames of nothing else, so that a list of the parts of something large
    /// does not lie scattered among the parts.
    Lines,
}

/// What the host remembers of an item to recognise it unchanged. Never leaves the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub size: u64,
    pub inode: u64,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    /// Nanoseconds since 1970; 0 where the time was too fresh to be trusted.
    pub ctime: i64,
}

/// One entry of the previous capture of the same source on this host.
#[derive(Clone, Debug)]
pub struct Known {
    pub path: EntryPath,
    pub fingerprint: Option<Fingerprint>,
    /// It was captured as a database.
    pub database: bool,
    /// The entry's listing line, verbatim, without its newline.
    pub line: Vec<u8>,
}

/// The previous capture, in path order.
pub type Recall = Box<dyn Iterator<Item = Known> + Send>;

/// What could not be captured, or not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Skip {
    pub path: String,
    pub reason: String,
}

/// Takes a capture, entry by entry in path order.
pub trait EntrySink {
    /// Keeps content and says how to refer to it. `pieces` yields until the content ends.
    /// An error that `pieces` yields is handed back: then, and when the source has no use for the content because
    /// the file has changed, what was kept is referred to by nothing, and the capture goes on.
    fn content(
        &mut self,
        pieces: &mut dyn Iterator<Item = Result<Piece, Explained>>,
        access: Access,
    ) -> Result<Content, Explained>;

    /// Keeps a database: whole pages of one size, in order, which `batches` yields until they end. Errors as with
    /// [`EntrySink::content`]. The entry `path` must come next.
    fn pages(
        &mut self,
        path: &EntryPath,
        page_size: usize,
        batches: &mut dyn Iterator<Item = Result<Lent, Explained>>,
    ) -> Result<Content, Explained>;

    /// Tells where the source's place led, where it led there through links.
    fn led_to(&mut self, _place: &str) {}

    /// Tells of the table whose rows come next: its line in the source's list of tables, as far as that is known before
    /// they have come. For whoever compares; what is kept does not need it.
    fn table(&mut self, _line: &[u8]) {}

    /// Keeps the rows of a table that is the entry `path`, and the notes on them that are the entry `notes`. Errors as
    /// with [`EntrySink::content`].
    fn rows(
        &mut self,
        path: &EntryPath,
        notes: &EntryPath,
        rows: &mut dyn Iterator<Item = Result<Rows, Explained>>,
    ) -> Result<(Content, Content), Explained>;

    /// Notes what is known of a database among the entries.
    fn database(&mut self, database: Database);

    /// Adds an entry to the listing.
    fn entry(&mut self, entry: &Entry, fingerprint: Option<Fingerprint>) -> Result<(), Explained>;

    /// Adds an entry of the previous capture again, as it was.
    fn repeat(&mut self, known: &Known) -> Result<(), Explained>;

    /// Notes what could not be captured: it goes into the manifest, the report and the exit code.
    fn skip(&mut self, skip: Skip);
}

/// Cuts files where their content says, keyed by the vault's secret. Shared by all readers.
pub trait Cutter: Send + Sync {
    /// Length of the first chunk of `bytes`; `last` says whether the content ends with them.
    /// `None` when more bytes are needed to tell.
    fn cut(&self, bytes: &[u8], last: bool) -> Option<usize>;

    /// Content shorter than this is always one chunk.
    fn minimum(&self) -> usize;

    /// What to mix into the hashes of keys that decide where sorted rows are cut.
    fn salt(&self) -> u64;
}

/// What a source needs for one capture.
pub struct Capture {
    pub cutter: Arc<dyn Cutter>,
    pub recall: Recall,
    pub control: Arc<Control>,
    /// Read everything, whatever the fingerprints say.
    pub rescan: bool,
    /// Have engines check what is captured of them, where that takes time of its own.
    pub check: bool,
}
