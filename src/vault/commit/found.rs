//! What a source turned out to have, and whether that is anything at all.

use crate::base::database::Database;
use crate::format::manifest::SourceRecord;
use crate::vault::recall;

/// What a source turned out to have.
pub struct Found {
    pub extent: recall::Extent,
    pub databases: Vec<Database>,
    /// There is nothing but folders; or nothing but databases, and no table in them.
    pub empty: bool,
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
