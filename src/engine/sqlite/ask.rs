//! Asking databases that cannot change: one statement, its rows handed over as they come.
//!
//! Owns what a statement may do. It reads; it never writes, opens no other file and loads no code, whatever the SQL or
//! the schema of the database says. What SQLite keeps meanwhile it keeps in memory.

mod authority;
mod error;
mod values;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement};

use crate::base::control::Control;
use crate::base::error::reason;
use crate::base::random::RandomRead;
use crate::engine::sqlite::apply::{HEADER_LENGTH, Header};
use crate::engine::sqlite::error::words;
use crate::engine::sqlite::facts::quoted;
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::held::PlainFile;
use crate::engine::sqlite::limits;
use crate::engine::sqlite::vfs::{self, Shown};
use crate::engine::sqlite::vtab::{self, Failure, Virtual};

use authority::Authority;
pub use error::{Absent, AskError};
pub use rusqlite::types::ValueRef as Cell;

/// The name that a live database is attached under.
pub const LIVE: &str = "live";

/// Pages of the database that SQLite keeps, in KiB: an index lies scattered over the file, and a page of it is all that
/// is needed of a frame.
const PAGES: u32 = 24 << 10;
/// The same for each database attached to it.
const PAGES_ATTACHED: u32 = 4 << 10;

/// How long a live database that somebody holds exclusively is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Steps of SQLite between two looks at whether to stop: a millisecond or less.
const GLANCE: i32 = 10_000;

/// Takes what a statement answers.
pub trait Rows {
    /// The names of the columns: once, before the first row.
    fn columns(&mut self, names: &[String]) -> io::Result<()>;
    fn row(&mut self, cells: &[ValueRef<'_>]) -> io::Result<()>;
}

/// A table whose rows lie elsewhere, and where it stands in a session.
pub struct Placed {
    pub schema: String,
    pub name: String,
    pub table: Arc<dyn Virtual>,
    /// What would make it, for people.
    pub sql: String,
}

/// Where a session over such tables keeps what would make them.
pub const STATEMENTS: &str = "strongroom_tables";

/// A database, and others beside it, open for asking.
pub struct Session {
    // Dropped before what it reads from.
    pub(super) connection: Connection,
    label: String,
    shown: Vec<Shown>,
    /// Why rows that lie elsewhere could not be had.
    rows: Failure,
    authority: Authority,
    /// The live database, or why there is none.
    live: Option<(String, Option<Absent>)>,
    /// How the database writes its texts, once it has any.
    encoding: Option<&'static str>,
    /// The live database's file, which stays open for as long as the connection is.
    file: Option<DatabaseFile>,
}

impl Session {
    /// Opens content as a database. `label` is what people call it.
    pub fn open(content: Arc<dyn RandomRead>, label: &str, control: Arc<Control>) -> Result<Self, AskError> {
        let (encoding, length) = (encoding(&beginning(&*content)?), content.length());
        let shown = Shown::new(content).map_err(|error| AskError::Sqlite(error.to_string()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let opened = Connection::open_with_flags_and_vfs(shown.path(), flags, vfs::NAME);
        let mut connection = match (opened, shown.failure()) {
            (_, Some(failure)) => return Err(AskError::Content(failure)),
            (opened, None) => opened.map_err(|error| unopened(label, &error))?,
        };
        let restricted = limits::bound(&connection, length).and_then(|()| restrict(&mut connection, control));
        let authority = restricted.map_err(|error| unopened(label, &error))?;
        Ok(Self {
            connection,
            label: label.to_owned(),
            shown: vec![shown],
            rows: Failure::default(),
            authority,
            live: None,
            encoding,
            file: None,
        })
    }

    /// Opens tables whose rows lie elsewhere. Names without a schema are looked up in the order of the tables.
    pub fn over(tables: Vec<Placed>, label: &str, control: Arc<Control>) -> Result<Self, AskError> {
        let rows = Failure::default();
        let open = || {
            let mut connection = Connection::open_in_memory()?;
            place(&connection, tables, rows.clone())?;
            let authority = restrict(&mut connection, control)?;
            Ok((connection, authority))
        };
        let (connection, authority) = open().map_err(|error| unopened(label, &error))?;
        Ok(Self {
            connection,
            label: label.to_owned(),
            shown: Vec::new(),
            rows,
            authority,
            live: None,
            encoding: None,
            file: None,
        })
    }

    /// For those who ask in their own way.
    pub(in crate::engine) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Makes more content a database of the session, under this name.
    pub fn attach(&mut self, name: &str, content: Arc<dyn RandomRead>) -> Result<(), AskError> {
        let first = beginning(&*content)?;
        if let Some((one, other)) = self.other_encoding(&first) {
            return Err(AskError::Encodings { name: name.to_owned(), one, other });
        }
        limits::widen(&self.connection, content.length()).map_err(|error| self.explain(error))?;
        let shown = Shown::new(content).map_err(|error| AskError::Sqlite(error.to_string()))?;
        let uri = shown.uri();
        self.shown.push(shown);
        self.attach_file(name, &uri).map_err(|error| self.explain(error))
    }

    /// Makes the live database at a path without links part of the session, read-only. Where that cannot be, whoever names it is told why.
    pub fn attach_live(&mut self, path: &Path) {
        let failed = self.attach_at(path).err();
        self.live = Some((path.display().to_string(), failed));
    }

    fn attach_at(&mut self, path: &Path) -> Result<(), Absent> {
        let unread = |error: std::io::Error| Absent::because(&reason(&error));
        let file = DatabaseFile::direct(path).map_err(unread)?.in_use();
        if let Some(doubt) = file.doubt() {
            return Err(Absent::because(&format!("it {doubt}")));
        }
        let mut first = [0; HEADER_LENGTH];
        let beginning = file.open().map(PlainFile::from).map_err(unread)?;
        // What is shorter says nothing of itself: SQLite tells what is wrong with it.
        let _ = rustix::io::pread(&beginning, &mut first, 0);
        if let Some((one, other)) = self.other_encoding(&first) {
            return Err(Absent::because(&format!("its text encoding is {other}, and the snapshot's is {one}")));
        }
        limits::widen(&self.connection, limits::length(&file)).map_err(|error| Absent::because(&words(&error)))?;
        let attached = file.uri().and_then(|uri| self.attach_file(LIVE, &uri));
        self.file = Some(file);
        attached.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Absent::busy(&words(&error)),
            _ => Absent::because(&words(&error)),
        })
    }

    /// The text encodings of the session and of a database that begins so, where they differ: SQLite knows one at a time.
    fn other_encoding(&self, first: &[u8; HEADER_LENGTH]) -> Option<(&'static str, &'static str)> {
        let (own, other) = (self.encoding?, encoding(first)?);
        (own != other).then_some((own, other))
    }

    /// Refuses where the live database could not be attached.
    pub fn must_have_live(&self) -> Result<(), AskError> {
        self.no_live().map_or(Ok(()), Err)
    }

    fn no_live(&self) -> Option<AskError> {
        let (place, absent) = self.live.as_ref()?;
        Some(AskError::NoLive { place: place.clone(), why: absent.clone()? })
    }

    /// Says why there is no live database.
    pub fn without_live(&mut self, place: &str, why: Absent) {
        self.live = Some((place.to_owned(), Some(why)));
    }

    fn attach_file(&self, name: &str, uri: &str) -> rusqlite::Result<()> {
        let name = quoted(name);
        self.authority.while_attaching(|| {
            self.connection.execute(&format!("ATTACH ? AS {name}"), [uri])?;
            self.connection.execute_batch(&format!("PRAGMA {name}.cache_size = -{PAGES_ATTACHED}"))
        })
    }

    /// Answers a statement. `values` stand for its parameters, see [`values`].
    pub fn ask(&self, sql: &str, values: &[String], rows: &mut dyn Rows) -> Result<u64, AskError> {
        let mut statement = self.connection.prepare(sql).map_err(|error| self.explain(error))?;
        if !statement.readonly() {
            return Err(AskError::Writes);
        }
        if statement.column_count() == 0 {
            return Err(AskError::Nothing);
        }
        values::bind(&mut statement, values)?;
        self.answer(&mut statement, rows)
    }

    fn answer(&self, statement: &mut Statement<'_>, out: &mut dyn Rows) -> Result<u64, AskError> {
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        let mut count = 0;
        loop {
            // What goes wrong before the first row goes wrong before anything is written.
            let row = rows.next().map_err(|error| self.explain(error))?;
            if count == 0 {
                out.columns(&names).map_err(AskError::Output)?;
            }
            let Some(row) = row else { return Ok(count) };
            let cells = (0..names.len()).map(|at| row.get_ref(at)).collect::<Result<Vec<_>, _>>();
            out.row(&cells.map_err(|error| self.explain(error))?).map_err(AskError::Output)?;
            count += 1;
        }
    }

    /// Why content could not be read, which SQLite hides behind an error of its own.
    pub(super) fn failure(&self) -> Option<AskError> {
        self.shown.iter().find_map(Shown::failure).or_else(|| self.rows.take()).map(AskError::Content)
    }

    /// The reason behind SQLite's error, in words for people.
    pub(in crate::engine) fn explain(&self, error: rusqlite::Error) -> AskError {
        if let Some(failure) = self.failure() {
            return failure;
        }
        let (code, message) = (error.sqlite_error_code(), error::message(&error));
        let refused = self.authority.refused();
        match code {
            _ if matches!(error, rusqlite::Error::MultipleStatement) => AskError::Several,
            Some(ErrorCode::OperationInterrupted) => AskError::Interrupted,
            Some(ErrorCode::AuthorizationForStatementDenied) => AskError::Refused { what: refused.unwrap_or(message) },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => AskError::Busy { reason: message },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                let label = if self.shown.len() == 1 && self.live.is_none() { &*self.label } else { "a database" };
                AskError::Unsound { label: label.to_owned(), reason: message }
            }
            _ if message.ends_with("may not be modified") => AskError::Writes,
            Some(ErrorCode::DiskFull | ErrorCode::OutOfMemory) => AskError::Full { limit: vfs::MOST_SCRATCH as u64 },
            _ if message.contains("no such table: live.") || message.contains("unknown database live") => {
                self.no_live().unwrap_or_else(|| AskError::Sql { hint: self.hint(&message), message })
            }
            _ => AskError::Sql { hint: self.hint(&message), message },
        }
    }

    /// The error of whoever asks for a table that is not there.
    pub fn no_table(&self, name: &str) -> AskError {
        let message = format!("no such table: {name}");
        AskError::Sql { hint: self.hint(&message), message }
    }

    fn hint(&self, message: &str) -> String {
        let tables = "list what there is with .tables, and its columns with .schema".to_owned();
        let Some(missing) = message.strip_prefix("no such table: ") else { return tables };
        let names = self
            .connection
            .prepare("SELECT name FROM pragma_table_list")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>());
        let names = names.unwrap_or_default();
        let is_numbered = |name: &&String| {
            let plain = name.rsplit_once('_').filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
            plain.is_some_and(|(plain, _)| plain.eq_ignore_ascii_case(missing))
        };
        let numbered: Vec<&str> = names.iter().filter(is_numbered).map(String::as_str).collect();
        if numbered.len() > 1 {
            let all = numbered.join(", ");
            return format!("tables that only capital letters tell apart have numbers in a question: {all}");
        }
        match crate::base::text::nearest(missing, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => tables,
        }
    }
}

/// Makes tables in schemas of their own, which are attached first, and notes what would make them.
fn place(connection: &Connection, tables: Vec<Placed>, rows: Failure) -> rusqlite::Result<()> {
    let mut schemas = vec!["main".to_owned()];
    connection.execute_batch(&format!("CREATE TABLE {STATEMENTS} (schema TEXT, name TEXT, sql TEXT)"))?;
    connection.execute_batch("BEGIN")?;
    let mut note = connection.prepare(&format!("INSERT INTO {STATEMENTS} VALUES (?, ?, ?)"))?;
    for table in &tables {
        note.execute([&table.schema, &table.name, &table.sql])?;
    }
    drop(note);
    connection.execute_batch("COMMIT")?;
    for table in &tables {
        if !schemas.contains(&table.schema) {
            connection.execute_batch(&format!("ATTACH ':memory:' AS {}", quoted(&table.schema)))?;
            schemas.push(table.schema.clone());
        }
    }
    let tables = tables.into_iter().map(|table| (table.schema, table.name, table.table)).collect();
    vtab::create(connection, tables, rows)
}

/// Why there is no session: content that is no database, mostly.
fn unopened(label: &str, error: &rusqlite::Error) -> AskError {
    let reason = words(error);
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            AskError::Unsound { label: label.to_owned(), reason }
        }
        _ => AskError::Sqlite(reason),
    }
}

/// Leaves a connection nothing but reading.
fn restrict(connection: &mut Connection, control: Arc<Control>) -> rusqlite::Result<Authority> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // Views and indexes of a database that somebody forged call nothing that has effects.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.busy_timeout(PATIENCE)?;
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA cell_size_check = ON; PRAGMA ignore_check_constraints = ON")?;
    connection.execute_batch(&format!("PRAGMA cache_size = -{PAGES}"))?;
    connection.progress_handler(GLANCE, Some(move || control.stopped()))?;
    let authority = Authority::default();
    connection.authorizer(Some(authority.hook()))?;
    Ok(authority)
}

/// The bytes that a database begins with; zeros where there are fewer.
fn beginning(content: &dyn RandomRead) -> Result<[u8; HEADER_LENGTH], AskError> {
    let mut first = [0; HEADER_LENGTH];
    if content.length() >= first.len() as u64 {
        content.read_at(0, &mut first).map_err(AskError::Content)?;
    }
    Ok(first)
}

/// How a database writes its texts, as SQLite calls it; nothing where it never had a table.
fn encoding(first: &[u8; HEADER_LENGTH]) -> Option<&'static str> {
    match Header::of(first)?.encoding() {
        1 => Some("UTF-8"),
        2 => Some("UTF-16le"),
        3 => Some("UTF-16be"),
        _ => None,
    }
}

/// Does a statement name the live database? A word in a text may look as if it did: then it is attached for nothing.
pub fn names_live(sql: &str) -> bool {
    mentions_of_live(sql) > 0
}

/// So many times.
pub fn mentions_of_live(sql: &str) -> usize {
    let lower = sql.to_ascii_lowercase();
    let is_name = |at: usize| {
        let before = lower[..at].chars().next_back();
        let after = lower[at + LIVE.len()..].trim_start_matches(['"', ']', '`']).trim_start();
        before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_' && letter != '.')
            && after.starts_with('.')
    };
    lower.match_indices(LIVE).filter(|(at, _)| is_name(*at)).count()
}

#[cfg(test)]
mod tests;
