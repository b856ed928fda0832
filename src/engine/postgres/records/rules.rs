//! The beginning of a transaction: who is kept out, which triggers are kept from firing, and who looks after references.
//!
//! Owns the choice between the server's own checks and ours (docs/decisions). The server checks wherever it can.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::base::error::Explained;
use crate::base::record::{Key, Row, Rules, Table, Value};
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::quoted;
use crate::engine::postgres::records::change::key_of;
use crate::engine::postgres::records::error::LiveError;
use crate::engine::postgres::records::live::Live;
use crate::engine::postgres::records::schema::{self, Described};
use crate::engine::postgres::records::value::Kind;
use crate::engine::postgres::records::watch::Watched;

/// A transaction that writes rows.
#[derive(Default)]
pub struct Transaction {
    /// What it is called; nothing before anybody asked.
    pub id: Option<String>,
    /// A reference may be wrong as long as it lasts.
    pub defers: bool,
    /// Everything is done that has to be before it may end.
    pub settled: bool,
    /// The server fires no triggers, and so looks after no references.
    replica: bool,
    switched: Vec<Trigger>,
    /// Rewriting rules that were switched off, too.
    rewriting: Vec<Trigger>,
    /// The tables that are watched, where triggers fire.
    pub watched: Watched,
    /// References of tables that were made in it, as statements that make them.
    pub ties: Vec<String>,
    /// Where we look after references: keys of rows that were written, and what rows held that others may refer to.
    pub rows: BTreeMap<String, Vec<Key>>,
    pub before: BTreeMap<String, Vec<Row>>,
    /// Rows that referred to nothing already, by table.
    pub outlived: BTreeMap<String, Vec<Key>>,
    /// The highest number that was added, by table and column.
    pub numbers: BTreeMap<String, BTreeMap<String, i64>>,
}

/// A trigger that fires, or a rule.
#[derive(Clone, Debug)]
struct Trigger {
    /// As statements take them.
    table: String,
    name: String,
    /// `O` for writers of data, `R` for those that copy it from elsewhere, `A` for both.
    fires: String,
    /// Whoever is connected may switch it off.
    ours: bool,
}

impl Transaction {
    /// Does the server leave references to us?
    pub fn unchecked(&self) -> bool {
        self.replica
    }

    /// Switches the triggers and rules on again that were switched off.
    pub fn triggers_on(&self) -> Vec<String> {
        let on = |what: &str, one: &Trigger| {
            let how = match one.fires.as_str() {
                "A" => "ENABLE ALWAYS",
                "R" => "ENABLE REPLICA",
                _ => "ENABLE",
            };
            format!("ALTER TABLE {} {how} {what} {}", one.table, one.name)
        };
        let triggers = self.switched.iter().map(|trigger| on("TRIGGER", trigger));
        triggers.chain(self.rewriting.iter().map(|rule| on("RULE", rule))).collect()
    }

    pub fn added(&mut self, table: &Table, columns: &[usize], values: &[Value]) {
        for (at, value) in columns.iter().zip(values) {
            let column = &table.columns[*at];
            if let (Kind::Integer, Value::Integer(number)) = (Kind::of(&column.kind), value) {
                let numbers = self.numbers.entry(table.name.clone()).or_default();
                let highest = numbers.entry(column.name.clone()).or_insert(*number);
                *highest = (*highest).max(*number);
            }
        }
        if self.replica {
            let key = key_of(table, None, columns, values);
            self.rows.entry(table.name.clone()).or_default().extend(key);
        }
    }

    pub fn changed(&mut self, table: &Table, key: &[Value], columns: &[usize], values: &[Value]) {
        if self.replica {
            let key = key_of(table, Some(key), columns, values);
            self.rows.entry(table.name.clone()).or_default().extend(key);
        }
    }
}

/// The triggers of some tables and their partitions, a table's before those of its partitions.
const TRIGGERS: &str = "WITH RECURSIVE written (oid, depth) AS ( \
        SELECT to_regclass(name)::oid, 0 FROM unnest($1::text[]) name \
        UNION SELECT i.inhrelid, written.depth + 1 FROM written \
            JOIN pg_inherits i ON i.inhparent = written.oid \
            JOIN pg_class part ON part.oid = i.inhrelid AND part.relispartition) \
    SELECT n.nspname::text, c.relname::text, t.tgname::text, t.tgenabled::text, pg_has_role(c.relowner, 'USAGE') \
    FROM written JOIN pg_class c ON c.oid = written.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' \
    ORDER BY written.depth, 1, 2, 3";

/// The rules of some tables by which the server makes something else of what is written.
const RULES: &str = "SELECT n.nspname::text, c.relname::text, r.rulename::text, r.ev_enabled::text, \
        pg_has_role(c.relowner, 'USAGE') \
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.oid IN (SELECT to_regclass(name)::oid FROM unnest($1::text[]) name) \
      AND r.ev_type IN ('2', '3', '4') AND r.ev_enabled <> 'D' ORDER BY 1, 2, 3";

/// Can every reference between some tables, or their partitions, be checked at the end? One that restricts deletes never, where rows go.
const DEFERS: &str = "WITH RECURSIVE written (oid) AS ( \
        SELECT to_regclass(name)::oid FROM unnest($1::text[]) name \
        UNION SELECT part.oid FROM written JOIN pg_inherits i ON i.inhparent = written.oid \
            JOIN pg_class part ON part.oid = i.inhrelid AND part.relispartition) \
    SELECT coalesce(bool_and(f.condeferrable AND (f.confdeltype <> 'r' OR NOT $2::boolean)), true) \
    FROM pg_constraint f WHERE f.contype = 'f' AND f.conparentid = 0 \
      AND f.conrelid IN (SELECT oid FROM written) AND f.confrelid IN (SELECT oid FROM written)";

/// Whatever a role is set to, references are checked and triggers fire unless they are told not to.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
    SELECT set_config('session_replication_role', 'origin', true) WHERE current_setting('session_replication_role') <> 'origin'";

pub type Known = Rc<BTreeMap<String, Described>>;

impl Live {
    pub(super) fn start(&mut self, rules: Rules<'_>) -> Result<(), LiveError> {
        let known = self.known()?;
        self.know_apps().map_err(|error| self.failed(None, error))?;
        // Every statement sees what is there once the tables are locked.
        self.session.batch(BEGIN).map_err(|error| self.failed(None, error))?;
        self.transaction = Some(Transaction::default());
        match self.prepare(rules, &known) {
            Ok(transaction) => {
                self.transaction = Some(transaction);
                Ok(())
            }
            Err(error) => {
                // A server that is lost takes it back by itself.
                let _ = self.session.batch("ROLLBACK");
                self.transaction = None;
                Err(error)
            }
        }
    }

    fn prepare(&self, rules: Rules<'_>, known: &Known) -> Result<Transaction, LiveError> {
        let failed = |error| self.failed(None, error);
        let written: BTreeSet<&str> = rules.tables.iter().map(String::as_str).collect();
        self.lock(&written)?;
        let names: Vec<String> = written.iter().filter_map(|name| Some(known.get(*name)?.name.quoted())).collect();
        let defers: bool = self.session.query(DEFERS, &[&names, &!rules.references]).map_err(failed)?[0].get(0);
        let mut transaction = Transaction { defers, ..Transaction::default() };
        for (table, key) in rules.outlived {
            transaction.outlived.entry(table.clone()).or_default().push(key.clone());
        }
        self.as_written(&mut transaction, rules, &names)?;
        if !rules.triggers {
            self.still(&mut transaction, rules, &names)?;
        }
        if rules.triggers && !self.listed(TRIGGERS, &names).map_err(failed)?.is_empty() {
            transaction.watched = self.watch(known).map_err(|error| match error {
                LiveError::Server(error) => failed(error),
                other => other,
            })?;
        }
        if transaction.replica || !rules.references {
            self.lock(&neighbours(known, &written))?;
        }
        self.session.batch("SET CONSTRAINTS ALL DEFERRED").map_err(failed)?;
        Ok(transaction)
    }

    /// Keeps other writers out until the end, in the order of names, so that two of us do not wait for each other.
    fn lock(&self, tables: &BTreeSet<&str>) -> Result<(), LiveError> {
        let names = tables.iter().map(|name| self.from(name)).collect::<Result<Vec<_>, _>>()?;
        if names.is_empty() {
            return Ok(());
        }
        let sql = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", names.join(", "));
        self.session.batch(&sql).map_err(|error| self.failed(None, error))
    }

    /// Keeps rules from making something else of what is written. Where triggers are to fire, so would they: then nothing is
    /// written at all, for nobody could say what was.
    fn as_written(&self, transaction: &mut Transaction, rules: Rules<'_>, names: &[String]) -> Result<(), LiveError> {
        for rule in self.listed(RULES, names).map_err(|error| self.failed(None, error))? {
            if rules.triggers || !rule.ours {
                return Err(LiveError::Rule { table: rule.table, rule: rule.name, ours: rule.ours });
            }
            let sql = format!("ALTER TABLE {} DISABLE RULE {}", rule.table, rule.name);
            self.session.batch(&sql).map_err(|error| self.failed(None, error))?;
            transaction.rewriting.push(rule);
        }
        Ok(())
    }

    /// Keeps triggers from firing.
    fn still(&self, transaction: &mut Transaction, rules: Rules<'_>, names: &[String]) -> Result<(), LiveError> {
        let failed = |error| self.failed(None, error);
        let triggers = self.listed(TRIGGERS, names).map_err(failed)?;
        let firing = |replica: bool| {
            let other = if replica { "O" } else { "R" };
            triggers.iter().filter(move |trigger| trigger.fires != other)
        };
        let wanted = !rules.references || (rules.circles && !transaction.defers);
        let helps = firing(false).any(|trigger| !trigger.ours);
        if (wanted || helps) && self.may_replicate().map_err(failed)? {
            self.session.batch("SET LOCAL session_replication_role = replica").map_err(failed)?;
            (transaction.replica, transaction.defers) = (true, true);
        }
        for trigger in firing(transaction.replica) {
            if !trigger.ours {
                let reason = format!("{} is not ours to switch off", trigger.name);
                return Err(LiveError::Triggers { table: trigger.table.clone(), reason });
            }
            let sql = format!("ALTER TABLE {} DISABLE TRIGGER {}", trigger.table, trigger.name);
            self.session.batch(&sql).map_err(failed)?;
            transaction.switched.push(trigger.clone());
        }
        Ok(())
    }

    /// The triggers, or the rules, of some tables.
    fn listed(&self, sql: &str, names: &[String]) -> Result<Vec<Trigger>, PostgresError> {
        let trigger = |row: &tokio_postgres::Row| Trigger {
            table: format!("{}.{}", quoted(row.get(0)), quoted(row.get(1))),
            name: quoted(row.get(2)),
            fires: row.get(3),
            ours: row.get(4),
        };
        Ok(self.session.query(sql, &[&names])?.iter().map(trigger).collect())
    }

    /// May whoever is connected do as if rows were copied from elsewhere?
    fn may_replicate(&self) -> Result<bool, PostgresError> {
        let granted = match self.session.server_version() {
            150_000.. => " OR has_parameter_privilege('session_replication_role', 'SET')",
            _ => "",
        };
        let may = self.value(&format!("current_setting('is_superuser') = 'on'{granted}"))?;
        Ok(may.as_deref() == Some("t"))
    }

    /// Notes what a row holds that others may refer to, before it is changed or removed, where we look after references.
    pub(super) fn note_before(&mut self, table: &Table, key: &[Value]) -> Result<(), Explained> {
        use crate::base::record::Records;
        if !self.transaction.as_ref().is_some_and(Transaction::unchecked) {
            return Ok(());
        }
        let ties: Vec<usize> = ties(table, &*self.known().map_err(self.explained(None))?);
        let mut rows = Vec::new();
        let mut take = |row: Row| {
            rows.push(row);
            Ok::<(), Explained>(())
        };
        self.find(table, &table.key, &[key.to_vec()], &ties, &mut take)?;
        let transaction = self.transaction.as_mut().expect("BUG: it was just there");
        transaction.before.entry(table.name.clone()).or_default().append(&mut rows);
        Ok(())
    }
}

/// The columns that others can refer to.
pub fn ties(table: &Table, known: &BTreeMap<String, Described>) -> Vec<usize> {
    let mut ties: BTreeSet<usize> =
        table.key.iter().chain(table.unique.iter().flat_map(|one| &one.columns)).copied().collect();
    // What is unique in one partition only may be referred to there.
    let to_it = known.values().flat_map(|described| &described.shape.references);
    let to_it = to_it.filter(|reference| schema::name(&reference.to) == table.name);
    ties.extend(to_it.flat_map(|reference| &reference.to_columns).filter_map(|name| table.column(name)));
    ties.into_iter().collect()
}

/// The tables that refer to some, or that they refer to.
fn neighbours<'k>(known: &'k Known, tables: &BTreeSet<&str>) -> BTreeSet<&'k str> {
    let mut found = BTreeSet::new();
    for (name, described) in known.iter() {
        for reference in &described.shape.references {
            let to = schema::name(&reference.to);
            if tables.contains(to.as_str()) {
                found.insert(name.as_str());
            }
            if tables.contains(name.as_str()) {
                found.extend(known.get_key_value(&to).map(|(to, _)| to.as_str()));
            }
        }
    }
    found.retain(|name| !tables.contains(name));
    found
}
