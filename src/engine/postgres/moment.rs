//! One moment of a database, seen by several connections at once.
//!
//! Owns the locks, the transaction whose snapshot is exported, and those that share it. Locks come first and the moment
//! after them: what rewrites or empties a table keeps to no snapshot, and cannot happen in between. A lock that cannot be
//! had at once is waited for without any other: whoever waits with locks keeps others out.

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::control::Control;
use crate::engine::postgres::catalog::{self, Lockable};
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::Qualified;
use crate::engine::postgres::settings::Settings;
use crate::engine::postgres::turn::Patience;

/// The oldest server that is spoken to: older ones lack what is asked of the catalog.
pub(super) const OLDEST: u32 = 12;
/// So often the locks are taken anew because tables came and went meanwhile.
const TRIES: usize = 10;
/// Tables locked by one statement.
const AT_ONCE: usize = 200;
/// A server has room for some thousands of locks in all: more tables than these are locked by the first connection only.
const MOST_LOCKED_TWICE: usize = 1000;

/// How rows are read, beside what every session is set to. Tables are all that is read: a view that took the place of one
/// meanwhile would run what its owner likes. Older servers have no word for that.
const READING: &str = "SET lock_timeout = '1s'; SET max_parallel_workers_per_gather = 0; SET synchronize_seqscans = off; SET jit = off; \
    SELECT pg_catalog.set_config(name, 'view', false) FROM pg_catalog.pg_settings WHERE name = 'restrict_nonsystem_relation_kind'";

/// Sessions that want a table to themselves, where not all those have locked it that are going to.
const KEPT_FROM: &str = "SELECT 1 FROM pg_locks l WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' \
        AND NOT l.granted AND l.relation = ANY ($1) \
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
        AND (SELECT count(DISTINCT o.pid) FROM pg_locks o JOIN pg_stat_activity a ON a.pid = o.pid \
            WHERE o.locktype = 'relation' AND o.granted AND o.database = l.database AND o.relation = l.relation \
                AND a.application_name = $2) < $3 LIMIT 1";

/// The transaction whose moment is captured.
pub struct Moment {
    pub session: Session,
    /// What other connections name it by.
    pub id: String,
    pub version: u32,
    /// The tables that are locked.
    pub locked: Vec<u32>,
}

impl Moment {
    /// Locks the tables that `wanted` says yes to, and begins the moment.
    pub fn begin(
        settings: &Settings,
        wanted: &dyn Fn(&Lockable) -> bool,
        patience: &Patience,
        control: &Arc<Control>,
    ) -> Result<Self, PostgresError> {
        let mut session = settings.connect(control)?;
        let version = session.server_version();
        if version / 10_000 < OLDEST {
            return Err(PostgresError::ServerTooOld {
                server: settings.server(),
                version: shown(version),
                oldest: OLDEST,
            });
        }
        pin(&session)?;
        let mut tries = TRIES;
        while tries > 0 {
            let begun = try_begin(&mut session, wanted);
            if let Ok(Some((id, locked))) = begun {
                return Ok(Self { session, id, version, locked });
            }
            session.batch("ROLLBACK")?;
            match begun {
                Ok(_) => tries -= 1,
                Err(error) if error.is_locked() => {
                    let tables: Vec<u32> =
                        catalog::lockable(&mut session)?.iter().filter(|table| wanted(table)).map(|t| t.oid).collect();
                    patience.wait(&mut session, &tables, control)?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(PostgresError::Restless)
    }

    /// Who waits for one of the locked tables to himself, and will keep those out that are still to lock it: those whose
    /// sessions are called `name`, `count` of them.
    pub fn kept_from(session: &mut Session, locked: &[u32], name: &str, count: i64) -> Result<bool, PostgresError> {
        // What sessions are called is remembered for a whole transaction otherwise.
        session.query("SELECT pg_stat_clear_snapshot()::text", &[])?;
        Ok(!session.query(KEPT_FROM, &[&locked, &name, &count])?.is_empty())
    }

    /// Another connection that sees this moment. Tables are locked by it too, so that it does not queue for them later
    /// behind somebody who waits for the first connection to let go.
    pub fn join(&self, tables: &[String], control: &Arc<Control>) -> Result<Session, PostgresError> {
        let mut session = self.session.settings().connect(control)?;
        pin(&session)?;
        session.batch("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")?;
        session.batch(&format!("SET TRANSACTION SNAPSHOT '{}'", self.id.replace('\'', "''")))?;
        // Sorting in memory what fits there, without asking for more than a server has to spare.
        session.batch(
            "SELECT set_config('work_mem', '64MB', true) WHERE pg_size_bytes(current_setting('work_mem')) < 67108864",
        )?;
        // Nobody can hold what the first connection has: whoever is in the way waits for this capture himself.
        if tables.len() <= MOST_LOCKED_TWICE {
            lock(&mut session, tables)?;
        }
        Ok(session)
    }
}

/// In groups: a statement has to stay within bounds.
fn lock(session: &mut Session, tables: &[String]) -> Result<(), PostgresError> {
    let groups = tables.chunks(AT_ONCE).map(|names| names.join(", "));
    groups
        .map(|names| format!("LOCK TABLE {names} IN ACCESS SHARE MODE NOWAIT"))
        .try_for_each(|sql| session.batch(&sql))
}

/// Rows are read the same way in every session, and only those of tables.
pub(super) fn pin(session: &Session) -> Result<(), PostgresError> {
    session.batch(READING)
}

/// Locks what there is, begins the moment, and looks whether there is anything else by then: then nothing is returned.
fn try_begin(
    session: &mut Session,
    wanted: &dyn Fn(&Lockable) -> bool,
) -> Result<Option<(String, Vec<u32>)>, PostgresError> {
    let before: Vec<Lockable> = catalog::lockable(session)?.into_iter().filter(wanted).collect();
    session.batch("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")?;
    let names: Vec<String> = before.iter().map(|table| format!("ONLY {}", table.name.quoted())).collect();
    match lock(session, &names) {
        Err(error) if error.is_undefined() => return Ok(None),
        other => other?,
    }
    let id: String = session.query("SELECT pg_export_snapshot()", &[])?[0].get(0);
    let after = catalog::lockable(session)?;
    let known: HashSet<(u32, &Qualified)> = before.iter().map(|table| (table.oid, &table.name)).collect();
    let all_locked = after.iter().filter(|table| wanted(table)).all(|table| known.contains(&(table.oid, &table.name)));
    Ok(all_locked.then(|| (id, before.iter().map(|table| table.oid).collect())))
}

/// A version as people know it.
pub fn shown(version: u32) -> String {
    format!("{}.{}", version / 10_000, version % 10_000)
}
