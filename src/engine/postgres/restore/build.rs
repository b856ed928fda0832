//! Rows, and what is built on them: indexes, keys and references several at a time, everything else in its order.
//!
//! Owns what may run beside each other. What is built on a table need not wait until others are filled, and reading a
//! table back is for whoever would have nothing to do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::{self, Table};
use crate::engine::postgres::restore::crew::{self, Job, Mode, Need};
use crate::engine::postgres::restore::definitions::{self, failed, shortened};
use crate::engine::postgres::restore::dump::Dump;
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::rows::{Filling, Part};
use crate::engine::postgres::restore::statements::Words;

/// So many statements, or so many bytes of them, wait to be run together.
const AT_ONCE: usize = 2000;
const BYTES: usize = 16 << 20;

/// What a session has been set to, by the name of the setting.
type State = BTreeMap<String, String>;

struct Statement {
    sql: String,
    /// What it must find set.
    state: Arc<State>,
}

/// Something that a connection does.
enum Work {
    Fill(Part),
    ReadBack(usize),
    State(Statement),
}

/// What may run beside others.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Kind {
    Fill,
    Index,
    ReadBack,
    Reference,
}

impl Kind {
    /// What is looked for first: what others wait for. A reference refers to what has its key by then.
    fn turn(self) -> u8 {
        match self {
            Self::Fill => 0,
            Self::Index | Self::ReadBack => 1,
            Self::Reference => 2,
        }
    }
}

enum Class {
    Set(String),
    /// Beside others whose needs go with these, and after those before it whose needs do not.
    Beside(Kind, Vec<Need>),
    /// Follows an index or key that it says something about, and nothing waits for it.
    Later,
    Alone,
}

/// What came of it.
pub struct Built {
    /// References that do not hold, with only some tables there.
    pub not_valid: Vec<String>,
    /// Nothing was run that could change rows: a view that is filled may call anything.
    pub only_builds: bool,
}

/// Fills tables and, where they are wanted, runs the statements that come after rows.
pub fn run(
    dump: &dyn Dump,
    filling: &Filling,
    sessions: &mut [Session],
    statements: bool,
    partial: bool,
) -> Result<Built, LoadError> {
    let mut run = Run::of(filling, sessions, partial)?;
    if statements {
        definitions::each(dump, layout::POST_DATA, |statement| run.take(statement.into_text()?))?;
    }
    run.flush()?;
    let not_valid = run.not_valid.map(|found| found.into_inner().unwrap_or_default());
    Ok(Built { not_valid: not_valid.unwrap_or_default(), only_builds: run.only_builds })
}

struct Run<'s> {
    filling: &'s Filling<'s>,
    sessions: &'s mut [Session],
    /// How long tables are, by their names as needs have them.
    sizes: HashMap<String, u64>,
    state: Arc<State>,
    kind: Kind,
    together: Vec<(Kind, Job<Work>)>,
    /// What of it are statements.
    statements: usize,
    bytes: usize,
    later: Vec<Statement>,
    only_builds: bool,
    not_valid: Option<Mutex<Vec<String>>>,
}

impl<'s> Run<'s> {
    fn of(filling: &'s Filling<'s>, sessions: &'s mut [Session], partial: bool) -> Result<Self, LoadError> {
        let name = |table: &Table| Need::of(&table.name.shown(), Mode::Read).table().to_owned();
        let mut together = Vec::new();
        for part in filling.parts(sessions.len())? {
            let (table, is_read_back) = (part.table, filling.is_read_back(&part));
            let need = |mode| vec![Need::of(&filling.tables[table].name.shown(), mode)];
            together.push((Kind::Fill, Job { needs: need(Mode::Fill), what: Work::Fill(part) }));
            if is_read_back {
                together.push((Kind::ReadBack, Job { needs: need(Mode::Read), what: Work::ReadBack(table) }));
            }
        }
        Ok(Self {
            filling,
            sessions,
            sizes: filling.tables.iter().map(|table| (name(table), table.bytes)).collect(),
            state: Arc::default(),
            kind: Kind::Index,
            together,
            statements: 0,
            bytes: 0,
            later: Vec::new(),
            only_builds: true,
            not_valid: partial.then(Mutex::default),
        })
    }

    fn take(&mut self, sql: String) -> Result<(), LoadError> {
        let state = self.state.clone();
        match class(&sql) {
            Class::Set(name) if name.is_empty() => {}
            Class::Set(name) => _ = Arc::make_mut(&mut self.state).insert(name, sql),
            Class::Beside(kind, needs) => {
                if self.must_wait(kind, &needs) {
                    self.flush()?;
                }
                self.kind = kind;
                self.statements += 1;
                self.bytes += sql.len();
                self.together.push((kind, Job { needs, what: Work::State(Statement { sql, state }) }));
            }
            Class::Later => {
                self.bytes += sql.len();
                self.later.push(Statement { sql, state });
            }
            Class::Alone => {
                self.flush()?;
                self.only_builds = false;
                self.one(&Statement { sql, state })?;
            }
        }
        Ok(())
    }

    /// Must what is there already be done first?
    fn must_wait(&self, kind: Kind, needs: &[Need]) -> bool {
        // A reference may need what an index becomes only by a statement that waits, and rows of whatever it is about.
        let needs_later = kind != self.kind && !self.later.is_empty();
        let is_known = |need: &Need| self.sizes.contains_key(need.table());
        let needs_rows = kind == Kind::Reference && !needs.iter().all(is_known);
        needs_later || needs_rows || self.statements >= AT_ONCE || self.bytes >= BYTES
    }

    /// Runs what waits, what is about the largest tables first. Those that got into each other's way are run again, one
    /// after the other.
    fn flush(&mut self) -> Result<(), LoadError> {
        (self.bytes, self.statements) = (0, 0);
        let mut together = std::mem::take(&mut self.together);
        together.sort_by_key(|(kind, job)| (kind.turn(), Reverse(self.size(&job.needs)), *kind));
        let again = Mutex::new(Vec::new());
        let (filling, not_valid) = (self.filling, &self.not_valid);
        crew::work(self.sessions, together.into_iter().map(|(_, job)| job), |session, work| {
            let statement = match work {
                Work::Fill(part) => return filling.fill(session, &part),
                Work::ReadBack(table) => return filling.read_back(session, table),
                Work::State(statement) => statement,
            };
            match apply(session, &statement) {
                Err(error) if error.is_deadlock() => {
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

    /// Of the largest table that is needed.
    fn size(&self, needs: &[Need]) -> u64 {
        let sizes = needs.iter().filter_map(|need| self.sizes.get(need.table()));
        sizes.max().copied().unwrap_or_default()
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
        && error.is_reference()
    {
        let later = format!("{} NOT VALID;", sql.trim_end_matches(';'));
        definitions::run(session, &later)?;
        found.lock().expect("BUG: nothing panics while holding it").push(shortened(sql));
        return Ok(());
    }
    Err(failed(sql, error))
}

/// Sets what it must find set, which is little, and runs it.
fn apply(session: &mut Session, statement: &Statement) -> Result<(), PostgresError> {
    let settings: String = statement.state.values().map(|sql| format!("{sql}\n")).collect();
    session.batch(&settings)?;
    session.execute(&statement.sql, &[]).map(|_| ())
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
    Some(Class::Beside(Kind::Index, vec![Need::of(words.name()?, Mode::Build)]))
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
        return only.then_some(Class::Beside(Kind::Index, vec![Need::of(&table, Mode::Alone)]));
    }
    words.words(&["FOREIGN", "KEY"]).then_some(())?;
    let referred = (words.brackets() && words.word("REFERENCES")).then(|| words.name())??.to_owned();
    // Without ONLY it is about all partitions of the table, whatever they are called.
    only.then_some(Class::Beside(
        Kind::Reference,
        vec![Need::of(&table, Mode::Refer), Need::of(&referred, Mode::Refer)],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(sql: &str) -> Option<Vec<String>> {
        match class(sql) {
            Class::Beside(_, needs) => Some(needs.iter().map(|need| need.table().to_owned()).collect()),
            _ => None,
        }
    }

    #[test]
    fn what_builds_runs_beside_others_and_says_what_it_needs() {
        let needed = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(needs("CREATE UNIQUE INDEX i ON ONLY s.t USING btree (a);"), needed(&["s.t"]));
        assert_eq!(needs("ALTER TABLE ONLY s.t\n    ADD CONSTRAINT p PRIMARY KEY (id);"), needed(&["s.t"]));
        let reference = "ALTER TABLE ONLY s.\"a b\"\n    ADD CONSTRAINT f FOREIGN KEY (x, y) REFERENCES s.t(x, y);";
        assert_eq!(needs(reference), needed(&["s.a b", "s.t"]));
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
