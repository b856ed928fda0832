//! Triggers of an app, put to sleep within a transaction and woken as they were.
//!
//! Owns that a trigger which was off, or fires always or only on a replica, is that again afterwards. Leaves alone those
//! that check references.

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::{Qualified, quoted};

/// Those that are on. A partition's own copy of a trigger comes with the partitioned table's, and by itself.
const AWAKE: &str = "SELECT tgname::text, tgenabled::text FROM pg_catalog.pg_trigger \
    WHERE tgrelid = to_regclass($1) AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY tgname";

/// Triggers that are asleep. They stay so until they are woken, or the transaction is taken back.
#[must_use]
pub struct Asleep(Vec<String>);

/// Puts the triggers of tables to sleep.
pub fn put_to_sleep<'t>(
    session: &mut Session,
    tables: impl Iterator<Item = &'t Qualified>,
) -> Result<Asleep, PostgresError> {
    let mut wake = Vec::new();
    for table in tables {
        let table = table.quoted();
        for row in session.query(AWAKE, &[&table])? {
            let (name, fires): (String, String) = (row.get(0), row.get(1));
            let how = match fires.as_str() {
                "A" => "ENABLE ALWAYS",
                "R" => "ENABLE REPLICA",
                _ => "ENABLE",
            };
            session.batch(&format!("ALTER TABLE ONLY {table} DISABLE TRIGGER {}", quoted(&name)))?;
            wake.push(format!("ALTER TABLE ONLY {table} {how} TRIGGER {}", quoted(&name)));
        }
    }
    Ok(Asleep(wake))
}

impl Asleep {
    /// Wakes them, each as it was.
    pub fn wake(self, session: &mut Session) -> Result<(), PostgresError> {
        self.0.iter().try_for_each(|sql| session.batch(sql))
    }
}
