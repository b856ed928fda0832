//! The seam between a source and the vault: what a source is given, and what it hands over.
//!
//! A source knows nothing of packs, and a vault nothing of files. Both know this page.

use std::ops::Range;
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
    /// All its bytes were captured: what they are is damaged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damage: bool,
    /// Something else is there than was to be captured: that is lost, and not only out of reach. Not written down.
    #[serde(skip)]
    pub other: bool,
}

impl Skip {
    /// What is not in the capture as it should be.
    pub fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into(), damage: false, other: false }
    }

    /// What is there is something else than was to be captured.
    pub fn other(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { other: true, ..Self::new(path, reason) }
    }
}

/// What was left out by a rule that nobody had to write down.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeftOut {
    pub path: String,
    pub why: Rule,
}

/// A rule by which something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// What is in a folder that a CACHEDIR.TAG marks as a cache.
    Cache,
    /// What a restore that was killed left unfinished.
    Partial,
    /// What strongroom itself keeps on this host: the vault, its cache, its configuration, an identity.
    Own,
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

    /// Notes what is left out on purpose: it goes into the manifest and the report.
    fn left_out(&mut self, _: LeftOut) {}
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

/// Which files are read although they look unchanged: bytes that a disk has changed leave no other trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Rescan {
    #[default]
    Nothing,
    Everything,
    /// What lies at these paths, or below.
    Parts(Vec<EntryPath>),
    /// Those whose turn it is: each has one in every whole number that this goes on by.
    Turns(Range<f64>),
}

impl Rescan {
    pub fn wants(&self, path: &EntryPath) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Parts(parts) => parts.iter().any(|part| path.is_within(part)),
            Self::Turns(turns) => {
                let turn = turn_of(path.as_bytes());
                (turns.end - turn).floor() > (turns.start - turn).floor()
            }
        }
    }
}

/// Where in a turn a path is: a number from 0 to 1 that is the same ever after (FNV-1a, its bits mixed once more).
fn turn_of(path: &[u8]) -> f64 {
    let hash = path
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    ((mixed ^ (mixed >> 33)) >> 11) as f64 / (1u64 << 53) as f64
}

/// What a source needs for one capture.
pub struct Capture {
    pub cutter: Arc<dyn Cutter>,
    pub recall: Recall,
    pub control: Arc<Control>,
    /// Which files are read, whatever the fingerprints say.
    pub rescan: Rescan,
    /// Have engines check what is captured of them, where that takes time of its own, and tell of what is asked for and is
    /// not there.
    pub check: bool,
    /// What is never captured where it lies inside a source: by device and inode, so that no link hides it.
    pub own: Arc<[(u64, u64)]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_turn_once_in_a_round_of_shares_and_each_share_is_one() {
        let paths: Vec<EntryPath> =
            (0..10_000).map(|number| format!("folder-{}/file-{number}", number % 7).parse().unwrap()).collect();
        let mut times = vec![0; paths.len()];
        for round in 0..10 {
            let turns = Rescan::Turns(3.0 + f64::from(round) * 0.1..3.0 + f64::from(round + 1) * 0.1);
            let wanted: Vec<bool> = paths.iter().map(|path| turns.wants(path)).collect();
            let count = wanted.iter().filter(|wanted| **wanted).count();
            assert!((900..1100).contains(&count), "{round}: {count}");
            times.iter_mut().zip(wanted).for_each(|(times, wanted)| *times += usize::from(wanted));
        }
        assert!(times.iter().all(|times| *times == 1));
        assert!(paths.iter().all(|path| Rescan::Turns(0.3..1.3).wants(path) && !Rescan::Turns(0.3..0.3).wants(path)));
    }

    #[test]
    fn a_part_holds_what_lies_below_it() {
        let path = |text: &str| text.parse::<EntryPath>().unwrap();
        let parts = Rescan::Parts(vec![path("docs")]);
        assert!(parts.wants(&path("docs")) && parts.wants(&path("docs/a")) && !parts.wants(&path("docs2")));
        assert!(Rescan::Parts(vec![EntryPath::root()]).wants(&path("a")) && !Rescan::default().wants(&path("a")));
    }
}
