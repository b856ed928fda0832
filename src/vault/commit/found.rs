//! What a source turned out to have, and whether that is anything at all.

use crate::base::database::Database;
use crate::base::path::EntryPath;
use crate::format::manifest::SourceRecord;
use crate::vault::recall;

/// What a source turned out to have.
pub struct Found {
    pub extent: recall::Extent,
    pub databases: Vec<Database>,
    /// What could not be captured, as its paths are written: it may be there as ever.
    pub uncaptured: Uncaptured,
    /// There is nothing but folders; or nothing but databases, and no table in them.
    pub empty: bool,
}

/// Paths that could not be captured, and what was known of databases there.
#[derive(Clone, Debug, Default)]
pub struct Uncaptured {
    paths: Vec<String>,
    /// How many there are: not all of them are kept.
    pub count: u64,
}

impl Uncaptured {
    pub(super) fn of(record: &SourceRecord) -> Self {
        let lost = record.skipped.iter().filter(|skip| !skip.damage && !skip.other);
        let paths: Vec<String> = lost.map(|skip| skip.path.clone()).collect();
        let told_otherwise = (record.skipped.len() - paths.len()) as u64;
        Self { paths, count: record.skipped_count.saturating_sub(told_otherwise) }
    }

    /// Is it there, or below something that is?
    pub fn covers(&self, path: &EntryPath) -> bool {
        let path = path.to_string();
        self.paths.iter().any(|skipped| {
            skipped == "."
                || *skipped == path
                || path.strip_prefix(skipped.as_str()).is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

/// Has it nothing but folders; or nothing but databases, without a table in them? `things` are the entries that are no
/// folders.
pub(super) fn is_empty(record: &SourceRecord, things: u64) -> bool {
    let databases = &record.databases;
    let is_the_source = matches!(&databases[..], [only] if only.path.is_root());
    let nothing_else = is_the_source || (!databases.is_empty() && databases.len() as u64 == things);
    let have_no_table = databases.iter().all(|database| database.rows.is_empty() && database.damage.is_none());
    things == 0 || (nothing_else && have_no_table)
}
