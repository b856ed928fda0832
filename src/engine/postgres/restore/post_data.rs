//! What is built on rows: indexes, keys and references several at a time, everything else in its order.
//!
//! Owns which statements may run beside each other: those that build, each on tables no other is at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout;
use crate::engine::postgres::restore::crew::{self, Job};
use crate::engine::postgres::restore::dump::{Blocks, Dump};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::statements::{Splitter, Words};

/// So many statements, or so many bytes of them, wait to be run together.
const AT_ONCE: usize = 2000;
const BYTES: usize = 16 << 20;
/// What the server says of two that waited for each other.
const DEADLOCK: &str = "deadlock detected";

/// What a session has been set to, by the name of the setting.
type State = BTreeMap<String, String>;

struct Statement {
    sql: String,
    /// What it must find set.
    state: Arc<State>,
}

/// What may run beside others.
#[derive(PartialEq, Clone, Copy)]
enum Kind {
    Index,
    Reference,
}

enum Class {
    Set(String),
    /// Beside others that use none of these tables, and after those before it that do.
    Beside(Kind, Vec<String>),
    /// Follows an index or key that it says something about, and nothing waits for it.
    Later,
    Alone,
}

/// Runs all of it. With only some tables there, says which references do not hold.
pub fn run(dump: &dyn Dump, sessions: &mut [Session], partial: bool) -> Result<Vec<String>, LoadError> {
    let mut run = Run {
        sessions,
        state: Arc::default(),
        kind: Kind::Index,
        together: Vec::new(),
        bytes: 0,
        later: Vec::new(),
        not_valid: partial.then(Mutex::default),
    };
    let mut blocks = Blocks::of(dump, layout::POST_DATA)?;
    let mut splitter = Splitter::default();
    while let Some(block) = blocks.block()? {
        for &byte in &block {
            if let Some(statement) = splitter.push(byte) {
                run.take(String::from_utf8(statement).map_err(|_| LoadError::NotText)?)?;
            }
        }
    }
    run.flush()?;
    let not_valid = run.not_valid.map(|found| found.into_inner().unwrap_or_default());
    Ok(not_valid.unwrap_or_default())
}

struct Run<'s> {
    sessions: &'s mut [Session],
    state: Arc<State>,
    kind: Kind,
    together: Vec<Job<Statement>>,
    bytes: usize,
    later: Vec<Statement>,
    not_valid: Option<Mutex<Vec<String>>>,
}

impl Run<'_> {
    fn take(&mut self, sql: String) -> Result<(), LoadError> {
        let state = self.state.clone();
        match class(&sql) {
            Class::Set(name) if name.is_empty() => {}
            Class::Set(name) => _ = Arc::make_mut(&mut self.state).insert(name, sql),
            Class::Beside(kind, needs) => {
                // A reference may need what an index becomes only by a statement that waits.
                let needs_later = kind != self.kind && !self.later.is_empty();
                if needs_later || self.together.len() >= AT_ONCE || self.bytes >= BYTES {
                    self.flush()?;
                }
                self.kind = kind;
                self.bytes += sql.len();
                self.together.push(Job { needs, what: Statement { sql, state } });
            }
            Class::Later => {
                self.bytes += sql.len();
                self.later.push(Statement { sql, state });
            }
            Class::Alone => {
                self.flush()?;
                self.one(&Statement { sql, state })?;
            }
        }
        Ok(())
    }

    /// Runs what waits. Those that got into each other's way are run again, one after the other.
    fn flush(&mut self) -> Result<(), LoadError> {
        self.bytes = 0;
        let together = std::mem::take(&mut self.together);
        let again = Mutex::new(Vec::new());
        let not_valid = &self.not_valid;
        crew::work(self.sessions, together, |session, statement| {
            let result = apply(session, &statement);
            match result {
                Err(error) if error.to_string().contains(DEADLOCK) => {
                    again.lock().expect("BUG: nothing panics while holding it").push(statement);
                    Ok(())
                }
                Err(error) => excused(session, &statement, error, not_valid),
                Ok(()) => Ok(()),
            }
        })?;
        let again = again.into_inner().unwrap_or_default();
        let later = std::mem::take(&mut self.later);
        again.iter().chain(&later).try_for_each(|statement| self.one(statement))
    }

    fn one(&mut self, statement: &Statement) -> Result<(), LoadError> {
        let session = &mut self.sessions[0];
        match apply(session, statement) {
            Err(error) => excused(session, statement, error, &self.not_valid),
            Ok(()) => Ok(()),
        }
    }
}

/// A reference to rows that were not wanted holds for those to come.
fn excused(
    session: &mut Session,
    statement: &Statement,
    error: PostgresError,
    not_valid: &Option<Mutex<Vec<String>>>,
) -> Result<(), LoadError> {
    let sql = &statement.sql;
    if let Some(found) = not_valid
        && is_reference(sql)
        && error.to_string().contains("foreign key constraint")
    {
        let later = format!("{} NOT VALID;", sql.trim_end_matches(';'));
        session.batch(&later).map_err(|error| failed(&later, error))?;
        found.lock().expect("BUG: nothing panics while holding it").push(shortened(sql));
        return Ok(());
    }
    Err(failed(sql, error))
}

fn failed(sql: &str, source: PostgresError) -> LoadError {
    match source {
        PostgresError::Interrupted | PostgresError::Lost { .. } => source.into(),
        source => LoadError::Statement { statement: shortened(sql), source },
    }
}

/// The beginning, on one line.
fn shortened(sql: &str) -> String {
    const MOST: usize = 120;
    let line: String = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.trim_end_matches(';').to_owned(),
    }
}

/// Sets what it must find set, which is little, and runs it.
fn apply(session: &mut Session, statement: &Statement) -> Result<(), PostgresError> {
    let settings: String = statement.state.values().map(|sql| format!("{sql}\n")).collect();
    session.batch(&settings)?;
    session.batch(&statement.sql)
}

fn is_reference(sql: &str) -> bool {
    matches!(class(sql), Class::Beside(Kind::Reference, _))
        || (sql.starts_with("ALTER TABLE") && sql.contains("FOREIGN KEY"))
}

fn class(sql: &str) -> Class {
    let mut words = Words(sql);
    if words.word("SET") {
        let name = words.name().unwrap_or_default().to_owned();
        // The session speaks UTF-8, which is what this text was read as.
        return if name == "client_encoding" { Class::Set(String::new()) } else { Class::Set(name) };
    }
    if words.words(&["SELECT", "pg_catalog.set_config"]) {
        return Class::Set(words.0.split(',').next().unwrap_or_default().to_owned());
    }
    if words.words(&["COMMENT", "ON", "INDEX"]) || words.words(&["COMMENT", "ON", "CONSTRAINT"]) {
        return Class::Later;
    }
    if words.words(&["ALTER", "INDEX"]) {
        return Class::Later;
    }
    if words.word("CREATE") {
        return index(words).unwrap_or(Class::Alone);
    }
    if words.words(&["ALTER", "TABLE"]) {
        return constraint(words).unwrap_or(Class::Alone);
    }
    Class::Alone
}

fn index(mut words: Words<'_>) -> Option<Class> {
    words.word("UNIQUE");
    words.word("INDEX").then_some(())?;
    words.name()?;
    words.word("ON").then_some(())?;
    words.word("ONLY");
    Some(Class::Beside(Kind::Index, vec![words.name()?.to_owned()]))
}

fn constraint(mut words: Words<'_>) -> Option<Class> {
    let only = words.word("ONLY");
    let table = words.name()?.to_owned();
    if words.words(&["CLUSTER", "ON"]) || words.words(&["REPLICA", "IDENTITY"]) {
        return Some(Class::Later);
    }
    words.words(&["ADD", "CONSTRAINT"]).then_some(())?;
    words.name()?;
    if words.words(&["PRIMARY", "KEY"]) || words.word("UNIQUE") || words.word("EXCLUDE") {
        return only.then_some(Class::Beside(Kind::Index, vec![table]));
    }
    words.words(&["FOREIGN", "KEY"]).then_some(())?;
    let referred = (words.brackets() && words.word("REFERENCES")).then(|| words.name())??.to_owned();
    // Without ONLY it is about all partitions of the table, whatever they are called.
    only.then_some(Class::Beside(Kind::Reference, vec![table, referred]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(sql: &str) -> Option<Vec<String>> {
        match class(sql) {
            Class::Beside(_, needs) => Some(needs),
            _ => None,
        }
    }

    #[test]
    fn what_builds_runs_beside_others_and_says_what_it_needs() {
        let needed = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(needs("CREATE UNIQUE INDEX i ON ONLY s.t USING btree (a);"), needed(&["s.t"]));
        assert_eq!(needs("ALTER TABLE ONLY s.t\n    ADD CONSTRAINT p PRIMARY KEY (id);"), needed(&["s.t"]));
        let reference = "ALTER TABLE ONLY s.\"a b\"\n    ADD CONSTRAINT f FOREIGN KEY (x, y) REFERENCES s.t(x, y);";
        assert_eq!(needs(reference), needed(&["s.\"a b\"", "s.t"]));
        for alone in [
            "ALTER TABLE s.parted ADD CONSTRAINT f FOREIGN KEY (x) REFERENCES s.t(x);",
            "ALTER TABLE ONLY s.t ADD CONSTRAINT c CHECK ((a > 0)) NOT VALID;",
            "CREATE TRIGGER t BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION f();",
            "REFRESH MATERIALIZED VIEW s.v;",
            "CREATE PUBLICATION p;",
        ] {
            assert!(matches!(class(alone), Class::Alone), "{alone}");
        }
        assert!(matches!(class("SET default_tablespace = x;"), Class::Set(name) if name == "default_tablespace"));
        let set = "SELECT pg_catalog.set_config('search_path', '', false);";
        assert!(matches!(class(set), Class::Set(name) if name == "('search_path'"));
        assert!(matches!(class("ALTER INDEX s.p ATTACH PARTITION s.c;"), Class::Later));
    }
}
