//! A live database of a server: its rows as records, read while apps have it open.
//!
//! Values come as text, written as a capture has them, so that both compare. What is added waits until something else is
//! asked, so that many rows are one statement.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::SimpleQueryRow;

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::record::{Each, Key, PART, Records, Row, Table, Value};
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::database;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::quoted;
use crate::engine::postgres::moment;
use crate::engine::postgres::records::change::Pending;
use crate::engine::postgres::records::compared::{self, Condition};
use crate::engine::postgres::records::error::LiveError;
use crate::engine::postgres::records::place::Bounds;
use crate::engine::postgres::records::rules::Transaction;
use crate::engine::postgres::records::sameness;
use crate::engine::postgres::records::schema::{self, Described};
use crate::engine::postgres::records::value::{Kind, literal, text_of};
use crate::engine::postgres::settings::Settings;

/// Keys that one statement asks for: of one column, and of several, which are compared one by one.
const KEYS: [usize; 2] = [4_000, 400];
/// A statement longer than this is not made any longer.
const LONG: usize = 1 << 20;

/// What stands around a statement that runs with the names that apps have here.
struct AsApps {
    before: String,
    after: String,
}

/// Is everything that the owner of the database has made as good as what whoever is connected has made himself?
const TRUSTED: &str = "(SELECT pg_has_role(d.datdba, 'USAGE') AND (o.rolsuper OR NOT me.rolsuper) FROM pg_database d \
    JOIN pg_roles o ON o.oid = d.datdba JOIN pg_roles me ON me.rolname = current_user WHERE d.datname = current_database())";

/// A live database.
pub struct Live {
    pub(super) session: Session,
    pub(super) wait: Duration,
    /// What is known of the tables, by their names in records.
    pub(super) tables: RefCell<Rc<BTreeMap<String, Described>>>,
    /// How the partitions of tables are told from each other, by the names of the tables in records.
    pub(super) bounds: RefCell<BTreeMap<String, Option<Rc<Bounds>>>>,
    pub(super) pending: RefCell<Option<Pending>>,
    pub(super) transaction: Option<Transaction>,
    as_apps: OnceCell<AsApps>,
    savepoints: Cell<u32>,
}

impl Live {
    /// Opens a database that is there.
    pub fn open(settings: &Settings, wait: Duration, control: &Arc<Control>) -> Result<Self, LiveError> {
        let session = settings.connect(control)?;
        let version = session.server_version();
        if version / 10_000 < moment::OLDEST {
            let (server, version) = (settings.server(), moment::shown(version));
            return Err(PostgresError::ServerTooOld { server, version, oldest: moment::OLDEST }.into());
        }
        moment::pin(&session)?;
        let milliseconds = wait.as_millis().clamp(1, i32::MAX as u128);
        session.batch(&format!("SET lock_timeout = {milliseconds}"))?;
        let (tables, bounds, pending) = (RefCell::default(), RefCell::default(), RefCell::default());
        let (as_apps, savepoints) = (OnceCell::new(), Cell::default());
        Ok(Self { session, wait, tables, bounds, pending, transaction: None, as_apps, savepoints })
    }

    pub(super) fn database(&self) -> String {
        self.session.settings().shown()
    }

    /// What an error means, of a statement that was about rows of a table or about none.
    pub(super) fn failed(&self, table: Option<&str>, error: PostgresError) -> LiveError {
        let database = self.database();
        match (error, table) {
            (PostgresError::Locked { reason } | PostgresError::Deadlock { reason }, _) => {
                LiveError::Busy { database, waited: self.wait, reason }
            }
            (PostgresError::Constraint { reason, reference: true, .. }, _) => LiveError::Reference { database, reason },
            (
                PostgresError::Constraint { reason, .. }
                | PostgresError::Server { reason, .. }
                | PostgresError::NoObject { reason, .. }
                | PostgresError::InUse { reason, .. },
                Some(table),
            ) => LiveError::Refused { database, table: table.to_owned(), reason },
            (error, _) => LiveError::Server(error),
        }
    }

    pub(super) fn explained(&self, table: Option<&str>) -> impl Fn(PostgresError) -> Explained {
        move |error| Box::new(self.failed(table, error))
    }

    /// Reads the tables there are, and remembers them.
    pub(super) fn read(&self) -> Result<Rc<BTreeMap<String, Described>>, PostgresError> {
        let tables = schema::read(&self.session)?;
        let known = Rc::new(tables.into_iter().map(|table| (schema::name(&table.name), table)).collect());
        *self.tables.borrow_mut() = Rc::clone(&known);
        self.bounds.borrow_mut().clear();
        Ok(known)
    }

    /// Checks, defaults, triggers and conditions are an app's own, and need the path that it has.
    fn as_apps(&self) -> Result<&AsApps, PostgresError> {
        if let Some(known) = self.as_apps.get() {
            return Ok(known);
        }
        let path = database::list(&self.session.usual_path()?);
        let restricts = self.value("current_setting('restrict_nonsystem_relation_kind', true) IS NOT NULL")?;
        let views = |what: &str| match restricts.as_deref() {
            Some("t") => format!("; SET LOCAL restrict_nonsystem_relation_kind = '{what}'"),
            _ => String::new(),
        };
        let before = format!("SET LOCAL search_path TO {path}{}", views(""));
        Ok(self
            .as_apps
            .get_or_init(|| AsApps { before, after: format!("SET LOCAL search_path = ''{}", views("view")) }))
    }

    /// Everything that [`Live::as_app`] needs to know is known from here on.
    pub(super) fn know_apps(&self) -> Result<(), PostgresError> {
        self.as_apps().map(|_| ())
    }

    /// Runs a statement of a transaction as an app would; says how many rows it was about. It is read under the app's path:
    /// names, types and operators in it have to be written in full.
    pub(super) fn as_app(&self, sql: &str) -> Result<u64, PostgresError> {
        let AsApps { before, after } = self.as_apps()?;
        self.session.run(&format!("{before}; {sql}; {after}"))
    }

    pub(super) fn known(&self) -> Result<Rc<BTreeMap<String, Described>>, PostgresError> {
        let known = Rc::clone(&self.tables.borrow());
        if known.is_empty() { self.read() } else { Ok(known) }
    }

    /// A table as statements name it: of one that is inherited from, only its own rows.
    pub(super) fn from(&self, table: &str) -> Result<String, LiveError> {
        let gone = || LiveError::Gone { database: self.database(), table: table.to_owned() };
        let known = self.known()?;
        let described = known.get(table).ok_or_else(gone)?;
        let only = if described.partitioned { "" } else { "ONLY " };
        Ok(format!("{only}{}", described.name.quoted()))
    }

    fn select(&self, table: &Table, wanted: &[usize]) -> Result<String, LiveError> {
        // A row of no columns is one all the same.
        let name = |&at: &usize| if at == PART { "tableoid".to_owned() } else { quoted(&table.columns[at].name) };
        let columns = wanted.iter().map(name).collect::<Vec<_>>().join(", ");
        let columns = if wanted.is_empty() { "1" } else { &columns };
        Ok(format!("SELECT {columns} FROM {}", self.from(&table.name)?))
    }

    fn each(&self, sql: &str, table: &Table, wanted: &[usize], each: &mut Each<'_>) -> Result<(), Explained> {
        let kind = |&at: &usize| if at == PART { Kind::Integer } else { Kind::of(&table.columns[at].kind) };
        let kinds: Vec<Kind> = wanted.iter().map(kind).collect();
        let known = self.known().map_err(self.explained(None))?;
        let named = |mut row: Row| {
            for (value, _) in row.iter_mut().zip(wanted).filter(|(_, at)| **at == PART) {
                *value = known.get(&table.name).map_or(Value::Null, |described| described.part(value));
            }
            row
        };
        let unreadable = |error: tokio_postgres::Error| {
            let error = self.session.failed(&error);
            Box::new(self.failed(None, error)) as Explained
        };
        let take = |row: &SimpleQueryRow| each(named(row_of(row, &kinds).map_err(unreadable)?));
        self.session.rows(sql, take).map_err(self.explained(None))?
    }

    /// One value that the server makes of an expression; nothing where it is empty.
    pub(super) fn value(&self, expression: &str) -> Result<Option<String>, PostgresError> {
        let mut found = None;
        let take = |row: &SimpleQueryRow| {
            found = row.try_get(0)?.map(str::to_owned);
            Ok::<(), tokio_postgres::Error>(())
        };
        let done = self.session.rows(&format!("SELECT {expression}"), take)?;
        done.map_err(|error| self.session.failed(&error))?;
        Ok(found)
    }

    /// The same where an error may be: one in a transaction takes nothing of it along.
    pub(super) fn tried(&self, expression: &str) -> Result<Option<String>, PostgresError> {
        if self.transaction.is_none() {
            return self.value(expression);
        }
        let name = format!("strongroom_{}", self.savepoints.get());
        self.savepoints.set(self.savepoints.get() + 1);
        self.session.batch(&format!("SAVEPOINT {name}"))?;
        let done = self.value(expression);
        if done.is_err() {
            self.session.batch(&format!("ROLLBACK TO SAVEPOINT {name}"))?;
        }
        self.session.batch(&format!("RELEASE SAVEPOINT {name}"))?;
        done
    }
}

impl Records for Live {
    fn label(&self) -> String {
        self.database()
    }

    fn tables(&self) -> Result<Vec<Table>, Explained> {
        self.flush()?;
        Ok(self.read().map_err(self.explained(None))?.values().map(Described::table).collect())
    }

    fn find(
        &self,
        table: &Table,
        by: &[usize],
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        self.flush()?;
        let select = self.select(table, wanted)?;
        let most = KEYS[usize::from(by.len() > 1)];
        let mut keys = keys.iter().peekable();
        while keys.peek().is_some() {
            let (mut condition, mut count) = (Condition::new(table, by, ""), 0);
            while count < most && condition.length() < LONG {
                let Some(key) = keys.next() else { break };
                condition.add(key);
                count += 1;
            }
            if let Some(condition) = condition.sql() {
                self.each(&format!("{select} WHERE {condition}"), table, wanted, each)?;
            }
        }
        Ok(())
    }

    fn matching(
        &self,
        table: &Table,
        condition: Option<&str>,
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        self.flush()?;
        // On a line of its own: a condition may end with a comment.
        let only = condition.map(|condition| format!(" WHERE ({condition}\n)")).unwrap_or_default();
        let order: Vec<String> = table.key.iter().map(|&at| compared::name(&table.columns[at])).collect();
        let sql = format!("{}{only} ORDER BY {}", self.select(table, wanted)?, order.join(", "));
        if condition.is_none() || self.transaction.is_some() {
            return self.each(&sql, table, wanted, each);
        }
        // A condition of somebody's own: it may name things as he does, but it only reads, and is not followed by more. Where
        // the owner of the database is less than he, what he names is not the owner's.
        let explain = self.explained(None);
        let trusted = self.value(TRUSTED).map_err(&explain)?.as_deref() == Some("t");
        let path = if trusted { self.as_apps().map_err(&explain)?.before.as_str() } else { "" };
        self.session.batch(&format!("BEGIN READ ONLY; {path}")).map_err(&explain)?;
        let done = self.session.check(&sql).map_err(&explain).and_then(|()| self.each(&sql, table, wanted, each));
        let ended = self.session.batch("ROLLBACK").map_err(&explain);
        done.and(ended)
    }

    /// The server compares, but for types of somebody's own: those are compared by what they write.
    fn is_loose(&self, child: (&Table, &[usize]), parent: (&Table, &[usize])) -> bool {
        let is_own = |(table, columns): (&Table, &[usize])| {
            columns.iter().any(|at| compared::is_own(&table.columns[*at]) && table.columns[*at].is_loose)
        };
        (is_own(child) || is_own(parent)) && sameness::between(child, parent)
    }

    fn typed(&self, table: &Table, column: usize, text: &str) -> Result<Value, Explained> {
        let kind = &table.columns[column].kind;
        // A cast cuts off what is too long for a column; the column itself refuses it.
        let has_length = kind.starts_with("character") || kind.starts_with("bit");
        let kind = if has_length { kind.split('(').next().unwrap_or(kind) } else { kind };
        let kind = match kind {
            "character" => "text",
            "bit" => "bit varying",
            other => other,
        };
        let given = Value::text(text);
        let expression = text_of(kind, &format!("{}::{kind}", literal(Kind::Text, &given)));
        let made = self.tried(&expression).map_err(|error| {
            let (text, kind) = (text.to_owned(), kind.to_owned());
            match error {
                PostgresError::Server { reason, .. } => LiveError::Typed { text, kind, reason },
                other => self.failed(None, other),
            }
        })?;
        // What the server writes for a truth value differs from what a field of one holds.
        let made = match (made, Kind::of(kind)) {
            (Some(word), Kind::Boolean) => Some(word[..1].to_owned()),
            (made, _) => made,
        };
        Ok(made.map_or(Value::Null, |made| Kind::of(kind).value(made.as_bytes())))
    }
}

pub(super) fn row_of(row: &SimpleQueryRow, kinds: &[Kind]) -> Result<Row, tokio_postgres::Error> {
    let value =
        |(at, kind): (usize, &Kind)| Ok(row.try_get(at)?.map_or(Value::Null, |text| kind.value(text.as_bytes())));
    kinds.iter().enumerate().map(value).collect()
}

/// Columns as SQL names them.
pub(super) fn list(table: &Table, columns: &[usize]) -> String {
    columns.iter().map(|&at| quoted(&table.columns[at].name)).collect::<Vec<_>>().join(", ")
}
