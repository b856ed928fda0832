//! Large objects, as a moment sees them.
//!
//! Owns finding and reading them, some of one at a time. Who owns them is in the definitions.

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;

/// So much of one is read by one query.
pub const SLICE: i32 = 1 << 20;

/// All of them, in the order their numbers have as text, which is that of their paths.
pub fn list(session: &mut Session) -> Result<Vec<u32>, PostgresError> {
    let sql = "SELECT oid FROM pg_largeobject_metadata ORDER BY oid::text COLLATE \"C\"";
    Ok(session.query(sql, &[])?.iter().map(|row| row.get(0)).collect())
}

/// Hands over the content of one, until its end or until nobody takes more.
pub fn read(session: &mut Session, oid: u32, start: u64) -> Result<Vec<u8>, PostgresError> {
    let rows = session.query("SELECT lo_get($1, $2, $3)", &[&oid, &(start as i64), &SLICE])?;
    Ok(rows[0].get(0))
}
