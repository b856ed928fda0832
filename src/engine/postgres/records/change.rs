//! Rows of a live database changed in one transaction, while apps have it open.
//!
//! Owns how rows are written, that sequences are moved on, and what is found out when the server is lost while it commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::record::{Change, EachTouched, Ended, Key, Row, Rules, Table, Value};
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout;
use crate::engine::postgres::layout::quoted;
use crate::engine::postgres::records::compared::is_key;
use crate::engine::postgres::records::error::LiveError;
use crate::engine::postgres::records::live::{Live, list};
use crate::engine::postgres::records::rules::Transaction;
use crate::engine::postgres::records::value::{Kind, literal};

/// Rows that one statement adds, and how long it grows with them.
const ROWS: usize = 500;
const LONG: usize = 256 << 10;
/// How often a server that was lost is asked what became of a transaction.
const PAUSE: Duration = Duration::from_millis(200);

/// Rows that wait to be added.
pub struct Pending {
    table: String,
    columns: Vec<usize>,
    sql: String,
    rows: usize,
}

impl Live {
    /// Adds what waits to be added.
    pub(super) fn flush(&self) -> Result<(), Explained> {
        let Some(pending) = self.pending.borrow_mut().take() else { return Ok(()) };
        self.as_app(&pending.sql).map_err(self.explained(Some(&pending.table))).map(|_| ())
    }

    fn written(&mut self) -> &mut Transaction {
        self.transaction.as_mut().expect("BUG: rows are written in a transaction")
    }

    /// Is there a row of this key?
    fn is_there(&self, table: &Table, key: &[Value]) -> Result<bool, Explained> {
        let sql = format!("EXISTS (SELECT FROM {} WHERE {})", self.from(&table.name)?, is_key(table, key));
        Ok(self.value(&sql).map_err(self.explained(Some(&table.name)))?.as_deref() == Some("t"))
    }

    /// Runs a statement about the row of a key, and says whether there was one. Of a table without a key there may be several.
    fn one(&self, table: &Table, key: &[Value], sql: &str) -> Result<bool, Explained> {
        match self.as_app(sql).map_err(self.explained(Some(&table.name)))? {
            0 => Ok(false),
            1 => Ok(true),
            _ => {
                let key = key.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
                Err(LiveError::Twins { table: table.name.clone(), key }.into())
            }
        }
    }

    /// Everything that has to be right before the transaction may end.
    fn settle(&mut self) -> Result<(), Explained> {
        self.flush()?;
        let known = self.known().map_err(self.explained(None))?;
        let transaction = self.transaction.as_ref().expect("BUG: it is committed once");
        if transaction.unchecked() {
            self.check(&known, transaction)?;
        }
        let explain = self.explained(None);
        // What is put off is looked at now: a table with checks still to come cannot have its triggers back.
        self.all_fired().map_err(&explain)?;
        transaction.ties.iter().try_for_each(|sql| self.run_definition(sql))?;
        for sql in transaction.unwatch().into_iter().chain(transaction.triggers_on()) {
            self.session.batch(&sql).map_err(&explain)?;
        }
        for (table, numbers) in &transaction.numbers {
            let Some(described) = known.get(table) else { continue };
            self.move_on(&described.name.quoted(), numbers).map_err(self.explained(Some(table)))?;
        }
        Ok(())
    }

    /// Sequences that are behind what was added get past it. A sequence keeps to no transaction: it may be moved for
    /// nothing, which leaves a gap.
    fn move_on(&self, table: &str, numbers: &BTreeMap<String, i64>) -> Result<(), PostgresError> {
        let one = |(column, number): (&String, &i64)| {
            let (table, column) = (layout::literal(table), layout::literal(column));
            format!("SELECT pg_get_serial_sequence({table}, {column})::regclass AS sequence, ({number})::bigint AS top")
        };
        let all: Vec<String> = numbers.iter().map(one).collect();
        self.session.batch(&format!(
            "SELECT setval(q.sequence, q.top) FROM ({}) q JOIN pg_sequence s ON s.seqrelid = q.sequence \
             WHERE s.seqincrement > 0 AND q.top BETWEEN s.seqstart AND s.seqmax \
               AND coalesce(q.top > pg_sequence_last_value(q.sequence), true)",
            all.join(" UNION ALL ")
        ))
    }

    /// What became of the transaction, of a server that was lost while it committed.
    fn ask_again(&self, lost: PostgresError) -> Result<Ended, Explained> {
        let transaction = self.transaction.as_ref().and_then(|transaction| transaction.id.clone());
        let deadline = Instant::now() + self.wait;
        while let Some(id) = &transaction {
            let control = Arc::<Control>::default();
            let status = self.session.settings().connect(&control).and_then(|session| status(&session, id));
            match status.ok().flatten().as_deref() {
                Some("committed") => return Ok(Ended::ForGood),
                Some("aborted") => return Err(self.explained(None)(lost)),
                _ if Instant::now() > deadline => break,
                _ => thread::sleep(PAUSE),
            }
        }
        Ok(Ended::Unknown(Box::new(LiveError::Server(lost))))
    }
}

/// What the server says of a transaction; nothing where it does not know any more.
fn status(session: &crate::engine::postgres::connect::Session, id: &str) -> Result<Option<String>, PostgresError> {
    let id: i64 = id.parse().unwrap_or_default();
    let rows = session.query("SELECT txid_status($1)", &[&id])?;
    Ok(rows[0].get(0))
}

impl Change for Live {
    fn begin(&mut self, rules: Rules<'_>) -> Result<(), Explained> {
        Ok(self.start(rules)?)
    }

    fn make(&mut self, statements: &[String]) -> Result<(), Explained> {
        Ok(self.make_tables(statements)?)
    }

    fn defers(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.defers)
    }

    fn cascades(&self) -> bool {
        !self.transaction.as_ref().is_some_and(Transaction::unchecked)
    }

    fn insert(&mut self, table: &Table, columns: &[usize], values: &[Value]) -> Result<(), Explained> {
        let fits = |pending: &Pending| {
            pending.table == table.name && pending.columns == columns && pending.rows < ROWS && pending.sql.len() < LONG
        };
        if !self.pending.borrow().as_ref().is_some_and(fits) {
            self.flush()?;
        }
        let literals: Vec<String> = literals(table, columns, values).collect();
        let row = format!("({})", literals.join(", "));
        let mut pending = self.pending.take();
        match &mut pending {
            Some(pending) => {
                pending.sql.push_str(", ");
                pending.sql.push_str(&row);
                pending.rows += 1;
            }
            None => {
                let (into, list) = (self.from(&table.name)?, list(table, columns));
                let into = into.trim_start_matches("ONLY ");
                let sql = format!("INSERT INTO {into} ({list}) OVERRIDING SYSTEM VALUE VALUES {row}");
                pending = Some(Pending { table: table.name.clone(), columns: columns.to_vec(), sql, rows: 1 });
            }
        }
        self.pending.replace(pending);
        self.written().added(table, columns, values);
        Ok(())
    }

    fn update(&mut self, table: &Table, key: &[Value], columns: &[usize], values: &[Value]) -> Result<bool, Explained> {
        self.flush()?;
        self.note_before(table, key)?;
        // A number that the server always gives itself cannot even be set to what it is.
        let same =
            |at: &usize, value: &Value| table.key.iter().zip(key).any(|(column, own)| column == at && own == value);
        let (columns, values): (Vec<usize>, Row) = columns
            .iter()
            .zip(values)
            .filter(|(at, value)| !same(at, value))
            .map(|(at, value)| (*at, value.clone()))
            .unzip();
        if columns.is_empty() {
            return self.is_there(table, key);
        }
        let set = columns.iter().zip(literals(table, &columns, &values));
        let set: Vec<String> =
            set.map(|(at, literal)| format!("{} = {literal}", quoted(&table.columns[*at].name))).collect();
        let (from, is_it) = (self.from(&table.name)?, is_key(table, key));
        let sql = format!("UPDATE {from} SET {} WHERE {is_it}", set.join(", "));
        let done = self.one(table, key, &sql)?;
        if done {
            self.written().changed(table, key, &columns, &values);
        }
        Ok(done)
    }

    fn delete(&mut self, table: &Table, key: &[Value]) -> Result<bool, Explained> {
        self.flush()?;
        self.note_before(table, key)?;
        let sql = format!("DELETE FROM {} WHERE {}", self.from(&table.name)?, is_key(table, key));
        self.one(table, key, &sql)
    }

    fn converted(&self, table: &Table, column: usize, value: &Value) -> Result<Value, String> {
        self.flush().map_err(|error| error.to_string())?;
        self.convert(table, column, value)
    }

    fn place(&self, table: &Table, columns: &[usize], values: &[Value]) -> Result<Option<Value>, Explained> {
        self.flush()?;
        Ok(self.would_lie(table, columns, values)?)
    }

    fn next_number(&self, table: &Table, column: usize) -> Result<i64, Explained> {
        self.flush()?;
        let explain = self.explained(Some(&table.name));
        let (from, column) = (self.from(&table.name)?, &table.columns[column].name);
        let sequence = format!(
            "pg_get_serial_sequence({}, {})::regclass",
            layout::literal(from.trim_start_matches("ONLY ")),
            layout::literal(column)
        );
        // Nothing is taken from the sequence yet: this may be no more than a plan.
        let expression = format!(
            "greatest((SELECT max({}) FROM {from}), pg_sequence_last_value({sequence}), 0) + 1",
            quoted(column)
        );
        let next = self.value(&expression).map_err(explain)?;
        Ok(next.and_then(|next| next.parse().ok()).unwrap_or(i64::MAX))
    }

    fn touched(&self, table: &Table, each: &mut EachTouched<'_>) -> Result<(), Explained> {
        self.flush()?;
        self.each_touched(table, each)
    }

    /// Tables of others, those that lie elsewhere, and rows that nothing tells from others.
    fn unwatched(&self) -> Result<Vec<String>, Explained> {
        Ok(self.strangers()?)
    }

    fn mark(&mut self) -> Result<Option<String>, Explained> {
        self.flush()?;
        let id = self.value("txid_current()").map_err(self.explained(None))?;
        self.written().id.clone_from(&id);
        Ok(id)
    }

    fn lasted(&self, mark: &str) -> Result<Option<bool>, Explained> {
        let status = status(&self.session, mark).map_err(self.explained(None))?;
        match status.as_deref() {
            Some("committed") => Ok(Some(true)),
            Some("aborted") => Ok(Some(false)),
            Some(_) => {
                let going = LiveError::Going { database: self.database(), transaction: mark.to_owned() };
                Err(Box::new(going))
            }
            None => Ok(None),
        }
    }

    fn ready(&mut self) -> Result<(), Explained> {
        if !self.written().settled {
            self.settle()?;
            self.written().settled = true;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<Ended, Explained> {
        self.ready()?;
        // Whoever asks to stop now has to wait: what is half said cannot be taken back.
        self.session.heed(Arc::default());
        let ended = match self.session.batch("COMMIT") {
            Ok(()) => Ok(Ended::ForGood),
            Err(lost @ PostgresError::Lost { .. }) => self.ask_again(lost),
            Err(error) => Err(self.explained(None)(error)),
        };
        if ended.is_ok() {
            self.transaction = None;
        }
        ended
    }

    fn roll_back(&mut self) {
        self.pending.take();
        // A server that is lost, or told to stop, takes it back by itself.
        let _ = self.session.batch("ROLLBACK");
        // Tables that were made in it are none.
        self.tables.take();
        self.transaction = None;
    }
}

fn literals<'t>(table: &'t Table, columns: &'t [usize], values: &'t [Value]) -> impl Iterator<Item = String> + 't {
    let kind = |at: &usize| Kind::of(&table.columns[*at].kind);
    columns.iter().zip(values).map(move |(at, value)| literal(kind(at), value))
}

/// The key of a row that is written, as far as its columns tell.
pub(super) fn key_of(table: &Table, was: Option<&[Value]>, columns: &[usize], values: &[Value]) -> Option<Key> {
    let part = |(place, at): (usize, &usize)| match columns.iter().position(|column| column == at) {
        Some(given) => Some(values[given].clone()),
        None => was.map(|was| was[place].clone()),
    };
    table.key.iter().enumerate().map(part).collect()
}
