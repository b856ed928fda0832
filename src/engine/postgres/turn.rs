//! Waiting for tables that somebody else keeps or wants to himself, without being in anybody's way meanwhile.
//!
//! Owns who is waited for and how long. What waits here holds nothing: an app is never held up by a capture that is held up.

use std::time::{Duration, Instant};

use crate::base::control::Control;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;

/// Those who have tables to themselves, or wait for that.
const OTHERS: &str = "SELECT format('ONLY %I.%I', n.nspname, c.relname), format('%s.%s', n.nspname, c.relname), l.pid, \
        coalesce(a.application_name, ''), coalesce(a.query, '') \
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace \
        LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = ANY ($1) \
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
        AND l.pid IS DISTINCT FROM pg_backend_pid() \
    ORDER BY l.granted DESC, l.pid LIMIT 1";
/// Of what somebody is doing so much is told.
const TOLD: usize = 60;

/// Until when something waits for its turn.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    ends: Instant,
    whole: Duration,
}

impl Patience {
    pub fn of(whole: Duration) -> Self {
        Self { ends: Instant::now() + whole, whole }
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }

    /// What comes of it when it is over.
    pub fn lost(&self, reason: &str) -> PostgresError {
        PostgresError::HeldUp { reason: format!("waited {} s for {reason}", self.whole.as_secs()) }
    }

    /// Waits until one that keeps or wants one of these tables has had his turn. The session is in no transaction.
    pub fn wait(&self, session: &mut Session, tables: &[u32], control: &Control) -> Result<(), PostgresError> {
        let rows = session.query(OTHERS, &[&tables])?;
        let Some(row) = rows.first() else {
            return if self.is_over() { Err(self.lost("a table that is locked again and again")) } else { Ok(()) };
        };
        let (table, shown): (String, String) = (row.get(0), row.get(1));
        let whom = who(row.get(2), row.get(3), row.get(4));
        let told = format!("{shown}, which {whom}");
        let left = self.ends.saturating_duration_since(Instant::now()).as_millis();
        if left == 0 {
            return Err(self.lost(&told));
        }
        control.wait_for(Some(format!("waiting for {told}")));
        // In the queue, and out of it at once when the turn has come.
        let queue = format!(
            "BEGIN; SET LOCAL lock_timeout = {}; LOCK TABLE {table} IN ACCESS SHARE MODE; ROLLBACK",
            left.min(i32::MAX as u128)
        );
        let waited = session.batch(&queue);
        control.wait_for(None);
        match waited {
            Ok(()) => Ok(()),
            Err(PostgresError::Interrupted) => Err(PostgresError::Interrupted),
            Err(error) => {
                session.batch("ROLLBACK")?;
                match error {
                    PostgresError::Locked { .. } => Err(self.lost(&told)),
                    // It is gone, or somebody else had to give way: look again.
                    error if error.is_undefined() || error.is_locked() => Ok(()),
                    error => Err(error),
                }
            }
        }
    }
}

/// `session 4711 (psql) has to itself: ALTER TABLE …`
fn who(pid: Option<i32>, application: String, query: String) -> String {
    let application = if application.is_empty() { String::new() } else { format!(" ({application})") };
    let query = query.split_whitespace().collect::<Vec<_>>().join(" ");
    let query: String = query.chars().take(TOLD).collect();
    let query = if query.is_empty() { query } else { format!(": {query}") };
    let pid = pid.map_or_else(|| "a prepared transaction".to_owned(), |pid| format!("session {pid}{application}"));
    format!("{pid} has or wants to itself{query}")
}
