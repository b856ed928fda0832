//! Is a database sound, as far as SQLite can tell, and does it hold what it held?
//!
//! Owns SQLite's own checks of a whole database, through whatever it is read from. Never changes anything.

use std::collections::BTreeMap;

use crate::engine::sqlite::ask::{AskError, Session};
use crate::engine::sqlite::facts;

/// Complaints beyond this many are not listened to.
const MOST: usize = 100;

/// What the checks came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What `integrity_check` complains about: the first hundred.
    pub complaints: Vec<String>,
    /// How many rows of each table refer to rows that are not there. Databases that do not enforce foreign keys have
    /// such rows, and are sound.
    pub dangling: BTreeMap<String, u64>,
    /// Rows per table.
    pub rows: BTreeMap<String, u64>,
}

impl Session {
    pub fn check(&self) -> Result<Health, AskError> {
        let mut health = Health { complaints: self.complaints()?, ..Health::default() };
        if health.complaints.is_empty() {
            health.dangling = self.dangling()?;
            health.rows = facts::rows(&self.connection).map_err(|error| self.explain(error))?;
        }
        Ok(health)
    }

    fn complaints(&self) -> Result<Vec<String>, AskError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare(&format!("PRAGMA integrity_check({MOST})"))?;
            statement.query_map([], |row| row.get::<_, String>(0))?.collect()
        };
        let found = match read() {
            Ok(found) => found,
            // What keeps the check from going on is what it has found.
            Err(error) => match self.explain(error) {
                AskError::Unsound { reason, .. } => vec![reason],
                error => return Err(error),
            },
        };
        // A page that cannot be read is a complaint to SQLite, which does not know why.
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let lines = found.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with("*** in database"));
        Ok(lines.filter(|line| *line != "ok").map(str::to_owned).collect())
    }

    fn dangling(&self) -> Result<BTreeMap<String, u64>, AskError> {
        let read = || -> rusqlite::Result<BTreeMap<String, u64>> {
            let mut statement = self.connection.prepare("PRAGMA foreign_key_check")?;
            let (mut rows, mut dangling) = (statement.query([])?, BTreeMap::new());
            while let Some(row) = rows.next()? {
                *dangling.entry(row.get(0)?).or_insert(0) += 1;
            }
            Ok(dangling)
        };
        match read().map_err(|error| self.explain(error)) {
            // A key that refers to columns that are no key can be declared, and never checked.
            Err(AskError::Sql { .. }) => Ok(BTreeMap::new()),
            result => result,
        }
    }
}
