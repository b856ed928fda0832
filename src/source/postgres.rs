//! The `postgres` source: one database, with everything pg_dump keeps, as one moment saw it (docs/format.md §6).
//!
//! Owns its configuration and the choice of schemas and tables. What is peculiar to the engine lies in
//! `engine::postgres`. Never writes to the database.

mod capture;
mod definitions;
mod entries;
mod rest;
mod rows;
mod selection;
mod texts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Table;

use crate::base::capture::{Capture, EntrySink};
use crate::base::control::Control;
use crate::engine::postgres::catalog::{self, Relation};
use crate::engine::postgres::settings::{BadSettings, Given, Settings as Connection};
use crate::source::postgres::selection::Selection;
use crate::source::settings::Settings;
use crate::source::{ConfigError, Source, SourceError};

/// More connections than this wait for each other.
const MOST_WORKERS: i64 = 64;
/// For so long tables are waited for, where the configuration says nothing.
const PATIENCE: Duration = Duration::from_secs(300);
/// Nobody waits longer than some weeks, in seconds.
const LONGEST_WAIT: u64 = 2_000_000;

#[derive(Debug)]
pub struct PostgresSource {
    connection: Connection,
    selection: Selection,
    /// Connections that read rows at once.
    workers: usize,
    /// Roles and tablespaces are captured too.
    globals: bool,
    /// How long tables are waited for that somebody has to himself.
    patience: Duration,
    allow_empty: bool,
}

impl PostgresSource {
    /// One database, with everything in it but what belongs to its server.
    pub fn of(connection: Connection) -> Self {
        Self {
            connection,
            selection: Selection::default(),
            workers: default_workers(),
            globals: false,
            patience: PATIENCE,
            allow_empty: false,
        }
    }

    /// The same, with roles and tablespaces: what the shortest configuration captures.
    pub fn all(connection: Connection) -> Self {
        Self { globals: true, ..Self::of(connection) }
    }
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4))
}

/// Makes a `postgres` source of its configuration table.
pub fn configure(table: &Table, _: &Path) -> Result<Box<dyn Source>, ConfigError> {
    const KEYS: [&str; 13] = [
        "url",
        "host",
        "port",
        "user",
        "dbname",
        "schemas",
        "exclude_schemas",
        "tables",
        "exclude_tables",
        "workers",
        "globals",
        "wait_for_locks",
        "allow_empty",
    ];
    let settings = Settings::new(table, &KEYS)?;
    let selection = Selection {
        schemas: selection::globs("schemas", &settings)?,
        exclude_schemas: selection::globs("exclude_schemas", &settings)?,
        tables: selection::globs("tables", &settings)?,
        exclude_tables: selection::globs("exclude_tables", &settings)?,
    };
    let workers = match settings.number("workers")? {
        None => default_workers(),
        Some(workers @ 1..=MOST_WORKERS) => workers as usize,
        Some(other) => {
            let problem = format!("{other} is not between 1 and {MOST_WORKERS}");
            return Err(ConfigError::Value { key: "workers", problem });
        }
    };
    let globals = settings.optional_flag("globals")?.unwrap_or(true);
    let patience = match settings.number("wait_for_locks")?.map(u64::try_from) {
        None => PATIENCE,
        Some(Ok(seconds)) => Duration::from_secs(seconds.min(LONGEST_WAIT)),
        Some(Err(_)) => {
            let problem = "is a number of seconds, 0 or more".to_owned();
            return Err(ConfigError::Value { key: "wait_for_locks", problem });
        }
    };
    let allow_empty = settings.flag("allow_empty")?;
    let connection = connection(&settings)?;
    Ok(Box::new(PostgresSource { connection, selection, workers, globals, patience, allow_empty }))
}

fn connection(settings: &Settings<'_>) -> Result<Connection, ConfigError> {
    let variable = |name: &str| std::env::var(name).ok();
    let wrong = |key| move |error: BadSettings| ConfigError::Value { key, problem: error.to_string() };
    let single = ["host", "port", "user", "dbname"];
    let Some(url) = settings.optional("url")? else {
        let port = match settings.number("port")?.map(u16::try_from).transpose() {
            Ok(port) => port,
            Err(_) => return Err(ConfigError::Value { key: "port", problem: "is no number of a port".to_owned() }),
        };
        let text = |key| Ok::<_, ConfigError>(settings.optional(key)?.map(str::to_owned));
        let given = Given { host: text("host")?, port, user: text("user")?, dbname: text("dbname")? };
        return Connection::of(given, &variable).map_err(wrong("dbname"));
    };
    if let Some(key) = single.into_iter().find(|key| settings.has(key)) {
        return Err(ConfigError::Value { key, problem: "stands in the url already".to_owned() });
    }
    Connection::of_url(url, &variable).map_err(wrong("url"))
}

/// How to get to a database that is named by a URL, with what the environment and the password file add.
pub fn reach(url: &str) -> Result<Connection, BadSettings> {
    Connection::of_url(url, &|name| std::env::var(name).ok())
}

impl Source for PostgresSource {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn root(&self) -> String {
        self.connection.shown()
    }

    fn server(&self) -> Option<&Connection> {
        Some(&self.connection)
    }

    fn leaves_out(&self, control: &Arc<Control>) -> Result<Vec<String>, SourceError> {
        if self.selection.has_everything() {
            return Ok(Vec::new());
        }
        let mut session = self.connection.connect(control)?;
        let mut schemas = catalog::schemas(&mut session)?;
        // One of that name is in every database, with nothing in it.
        schemas.retain(|schema| !self.selection.has_schema(schema) && schema != "public");
        let is_lost = |relation: &Relation| {
            let Relation { name, bytes, .. } = relation;
            let is_defined = self.selection.has_schema(&name.schema);
            !self.selection.has_rows(name) && (*bytes > 0 || !is_defined) && !schemas.contains(&name.schema)
        };
        let tables = catalog::relations(&mut session, None)?;
        let tables = tables.iter().filter(|relation| is_lost(relation)).map(|relation| relation.name.shown());
        let tables: Vec<String> = tables.collect();
        Ok(schemas.into_iter().chain(tables).collect())
    }

    fn may_be_empty(&self) -> bool {
        self.allow_empty
    }

    fn capture(&self, capture: Capture, sink: &mut dyn EntrySink) -> Result<(), SourceError> {
        capture::run(self, capture, sink)
    }

    fn estimate(&self, control: &Control) {
        if control.stopped() {
            return;
        }
        let Ok(mut session) = self.connection.connect(&Arc::default()) else { return };
        // Nobody waits for a table only to know how large it is.
        if session.batch("SET lock_timeout = '1s'").is_err() {
            return;
        }
        let Ok(relations) = catalog::relations(&mut session, None) else { return };
        for relation in relations.iter().filter(|relation| self.selection.has_rows(&relation.name)) {
            control.bytes_expected.add(relation.bytes);
            control.items_expected.add(1);
        }
    }
}
