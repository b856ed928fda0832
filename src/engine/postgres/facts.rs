//! What a database says of itself: kept beside its rows, so that nobody has to restore it to know.

use std::collections::BTreeMap;

use crate::base::database::Revision;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::Qualified;
use crate::engine::revision;

/// Words and values, one row each. What a server does not have is no row.
const FACTS: &str = "SELECT name, value FROM (VALUES \
    ('server', current_setting('server_version')), \
    ('database', current_database()::text), \
    ('owner', (SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database())), \
    ('encoding', current_setting('server_encoding')), \
    ('collate', (SELECT datcollate::text FROM pg_database WHERE datname = current_database())), \
    ('ctype', (SELECT datctype::text FROM pg_database WHERE datname = current_database())), \
    ('locale provider', (SELECT to_jsonb(d) ->> 'datlocprovider' FROM pg_database d WHERE datname = current_database())), \
    ('icu locale', (SELECT coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale') FROM pg_database d \
        WHERE datname = current_database())), \
    ('size', pg_database_size(current_database())::text), \
    ('in recovery', CASE WHEN pg_is_in_recovery() THEN 'yes' END), \
    ('replication lag', CASE WHEN pg_is_in_recovery() THEN \
        round(extract(epoch FROM now() - pg_last_xact_replay_timestamp())::numeric, 3)::text || ' s' END), \
    ('wal position', CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text), \
    ('snapshot', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')), \
    ('extensions', (SELECT string_agg(extname || ' ' || extversion, ', ' ORDER BY extname) FROM pg_extension)) \
    ) facts (name, value) WHERE value IS NOT NULL";

/// What the server and the database say.
pub fn read(session: &mut Session) -> Result<BTreeMap<String, String>, PostgresError> {
    Ok(session.query(FACTS, &[])?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Are all columns of a table of types that every server has?
const PLAIN: &str = "SELECT NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND t.typnamespace <> 'pg_catalog'::regnamespace)";

/// The last migration, among the tables that were captured.
pub fn revision(session: &mut Session, tables: &[Qualified]) -> Result<Option<Revision>, PostgresError> {
    let mut places = BTreeMap::new();
    for name in revision::tables() {
        let mut found: Vec<&Qualified> = tables.iter().filter(|table| table.name == name).collect();
        found.sort_by_key(|table| (table.schema != "public", &table.schema));
        let Some(table) = found.first().map(|table| table.quoted()) else { continue };
        // A type of somebody's own may bring casts, which are functions of his.
        if session.query(PLAIN, &[&table])?[0].get(0) {
            places.insert(name, table);
        }
    }
    if places.is_empty() {
        return Ok(None);
    }
    session.batch("SAVEPOINT revision")?;
    let ask = |sql: &str| {
        let answer = session.query(&format!("SELECT a.answer::text FROM ({sql}) a (answer)"), &[]).ok();
        if answer.is_none() {
            session.batch("ROLLBACK TO SAVEPOINT revision").ok()?;
        }
        answer?.iter().map(|row| row.get::<_, Option<String>>(0)).collect()
    };
    Ok(revision::find(|name| places.get(name).cloned(), ask))
}
