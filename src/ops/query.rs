//! SQL over snapshots: nothing is restored, and only what the question touches is fetched.

use std::sync::Arc;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::error::Explain;
use crate::base::id::SnapshotId;
use crate::engine::postgres::records::kept::present_tables;
use crate::engine::sqlite::ask::{self, Absent, Placed, Rows, Session};
use crate::format::manifest::Manifest;
use crate::ops::backup::Planned;
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::holders;
use crate::ops::live_database::LiveDatabase;
use crate::ops::places::Places;
use crate::ops::recover;
use crate::ops::show::Part;
use crate::ops::side;
use crate::vault::random::Desk;
use crate::vault::unlocked::UnlockedVault;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Sql(String),
    /// Which tables there are, of every database of the question.
    Tables,
    /// What made a table and what belongs to it; without one, everything.
    Schema(Option<String>),
}

/// Tables and views of every database of the question.
const TABLES: &str = "SELECT schema, name, type, ncol AS columns FROM pragma_table_list \
    WHERE schema <> 'temp' AND type <> 'shadow' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY schema <> 'main', schema, name";

/// The statements that made a table and what belongs to it; with NULL, those that made everything.
const SCHEMA: &str = "SELECT name, sql FROM sqlite_schema \
    WHERE sql IS NOT NULL AND (?1 IS NULL OR tbl_name = ?1 COLLATE NOCASE OR name = ?1 COLLATE NOCASE) ORDER BY rowid";

/// The same of a captured PostgreSQL database: all of its tables lie elsewhere.
const KEPT_TABLES: &str = "SELECT schema, name, 'table' AS type, ncol AS columns FROM pragma_table_list \
    WHERE type = 'virtual' ORDER BY schema <> 'public', schema, name";

pub struct Request<'m> {
    pub manifest: &'m Manifest,
    /// Which database of it; needed where there are several.
    pub part: Option<Part>,
    /// The same database of further snapshots, under these names.
    pub attach: Vec<(String, &'m Manifest)>,
    pub statement: Statement,
    /// `VALUE` for the next parameter, `NAME=VALUE` for that one.
    pub values: Vec<String>,
    /// What the configuration knows of how to get to live databases.
    pub configured: Vec<Planned>,
    /// What else is known of where they are.
    pub places: Places,
    pub control: Arc<Control>,
}

/// What was asked, and how much of the vault it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub rows: u64,
    /// Bytes of packs that were fetched.
    pub fetched: u64,
}

/// A question, ready to be answered.
pub struct Query {
    session: Session,
    desk: Arc<Desk>,
    request: (String, Vec<String>),
    /// The table whose statements are asked for.
    table: Option<String>,
    pub snapshot: SnapshotId,
    /// The database, as the command line names it.
    pub database: String,
    /// The same as a part of its snapshot; and behind it those of the further snapshots.
    pub parts: Vec<Part>,
    /// Things the person should know that are no failures.
    pub warnings: Vec<String>,
}

impl Query {
    pub fn open(unlocked: &UnlockedVault, request: Request<'_>) -> Result<Self, OpError> {
        let desk = Desk::new(unlocked.library()?.owned());
        let place = meant(&request)?;
        let mut warnings = Vec::new();
        let session = match place.is_postgres() {
            true => over_tables(&place, &request, &desk)?,
            false => over_pages(&place, &request, &desk, &mut warnings)?,
        };
        let (snapshot, database) = (request.manifest.id, place.label());
        let attached = request.attach.iter().map(|(_, manifest)| Ok(beside(&place, manifest)?.part()));
        let parts = std::iter::once(Ok(place.part())).chain(attached).collect::<Result<_, OpError>>()?;
        let table = match &request.statement {
            Statement::Schema(table) => table.clone(),
            _ => None,
        };
        let asked = asked(request.statement, request.values, place.is_postgres());
        Ok(Self { session, desk, request: asked, table, snapshot, database, parts, warnings })
    }

    /// Hands the answer to `rows` as it comes.
    pub fn answer(&self, rows: &mut dyn Rows) -> Result<Report, OpError> {
        let (sql, values) = &self.request;
        // No statement made a table that is not there: that is no answer.
        if let Some(table) = &self.table
            && self.session.ask(sql, values, &mut Unheard)? == 0
        {
            return Err(self.session.no_table(table).into());
        }
        let rows = self.session.ask(sql, values, rows)?;
        Ok(Report { rows, fetched: self.desk.library().fetched() })
    }
}

/// Takes an answer that nobody wants to see.
struct Unheard;

impl Rows for Unheard {
    fn columns(&mut self, _: &[String]) -> std::io::Result<()> {
        Ok(())
    }

    fn row(&mut self, _: &[ask::Cell<'_>]) -> std::io::Result<()> {
        Ok(())
    }
}

/// The database that is asked: the one named, the only one, or the only one with a table that the statement names.
fn meant<'m>(request: &Request<'m>) -> Result<Place<'m>, OpError> {
    let found = Place::find(request.manifest, request.part.as_ref());
    let (Err(OpError::Problem(Problem::WhichDatabase { .. })), None) = (&found, &request.part) else { return found };
    let mut named = holders::named_in(request.statement.names(), Place::all(request.manifest));
    if named.len() == 1 { Ok(named.swap_remove(0)) } else { found }
}

impl Statement {
    /// Where the names of tables stand in it.
    pub fn names(&self) -> &str {
        match self {
            Self::Sql(text) | Self::Schema(Some(text)) => text,
            Self::Tables | Self::Schema(None) => "",
        }
    }
}

impl Request<'_> {
    /// The statement, if it is one that names the live database.
    pub fn names_live(&self) -> Option<&str> {
        let taken = self.attach.iter().any(|(name, _)| name.eq_ignore_ascii_case(ask::LIVE));
        match &self.statement {
            Statement::Sql(sql) if !taken && ask::names_live(sql) => Some(sql),
            _ => None,
        }
    }
}

/// The statement as SQL.
fn asked(statement: Statement, values: Vec<String>, is_postgres: bool) -> (String, Vec<String>) {
    let kept = format!(
        "SELECT name, sql FROM {} WHERE sql <> '' AND (?1 IS NULL OR name = ?1 COLLATE NOCASE \
         OR schema || '.' || name = ?1 COLLATE NOCASE) ORDER BY rowid",
        ask::STATEMENTS
    );
    let schema = || if is_postgres { kept } else { SCHEMA.to_owned() };
    match statement {
        Statement::Sql(sql) => (sql, values),
        Statement::Tables => ((if is_postgres { KEPT_TABLES } else { TABLES }).to_owned(), Vec::new()),
        Statement::Schema(None) => (schema().replace("?1", "NULL"), Vec::new()),
        Statement::Schema(Some(table)) => (schema(), vec![table]),
    }
}

/// A session over SQLite databases, which are files of pages.
fn over_pages(
    place: &Place<'_>,
    request: &Request<'_>,
    desk: &Arc<Desk>,
    warnings: &mut Vec<String>,
) -> Result<Session, OpError> {
    let content = place.read(request.manifest, desk)?;
    let mut session = Session::open(content, &place.label(), request.control.clone())?;
    warnings.extend(warning(place, request.manifest, desk)?);
    for (name, manifest) in &request.attach {
        let other = beside(place, manifest)?;
        session.attach(name, other.read(manifest, desk)?)?;
        warnings.extend(warning(&other, manifest, desk)?);
    }
    if request.names_live().is_some() {
        attach_live(&mut session, place, request);
    }
    Ok(session)
}

/// A session over tables that were captured from a server.
fn over_tables(place: &Place<'_>, request: &Request<'_>, desk: &Arc<Desk>) -> Result<Session, OpError> {
    let sql = request.names_live();
    let beside_it = request.attach.len() + usize::from(sql.is_some());
    let mut tables = side::tables(place, request.manifest, desk)?.placed(beside_it);
    for (name, manifest) in &request.attach {
        let other = beside(place, manifest)?;
        tables.extend(side::tables(&other, manifest, desk)?.placed_under(name));
    }
    let mut absent = None;
    match sql.map(|sql| live_tables(place, request, sql)) {
        Some(Ok(live)) => tables.extend(live),
        Some(Err(why)) => absent = Some(why),
        None => {}
    }
    let mut session = Session::over(tables, &place.label(), request.control.clone())?;
    if let Some((server, why)) = absent {
        session.without_live(&server, why);
    }
    Ok(session)
}

/// The tables of the server as they are now; or which one, and why it cannot be asked.
fn live_tables(place: &Place<'_>, request: &Request<'_>, sql: &str) -> Result<Vec<Placed>, (String, Absent)> {
    let because = |server: String, error: &dyn Explain| (server, Absent::of(error));
    let live = recover::live_place(request.manifest, place, &request.configured, &request.places);
    let live = live.map_err(|error| because(place.label(), &error))?;
    let LiveDatabase::Postgres(settings) = live else {
        return Err((live.to_string(), Absent::because("it is a file, and what was captured is of a server")));
    };
    present_tables(&settings, sql, &request.control).map_err(|error| because(settings.shown(), &error))
}

/// The same database in another snapshot; the only one there, if it is not called so.
fn beside<'m>(place: &Place<'_>, manifest: &'m Manifest) -> Result<Place<'m>, OpError> {
    let part = Part { source: Some(place.source.name.to_string()), path: place.path.clone() };
    let other = Place::find(manifest, Some(&part)).or_else(|error| Place::find(manifest, None).map_err(|_| error))?;
    if other.is_postgres() != place.is_postgres() {
        return Err(Problem::OtherEngine { one: place.label(), other: other.label() }.into());
    }
    Ok(other)
}

fn attach_live(session: &mut Session, place: &Place<'_>, request: &Request<'_>) {
    match recover::live_place(request.manifest, place, &request.configured, &request.places) {
        Ok(LiveDatabase::Sqlite(path)) => session.attach_live(&path),
        Ok(server) => session
            .without_live(&server.to_string(), Absent::because("it is a server, and what was captured is a file")),
        Err(error) => session.without_live(&place.label(), Absent::of(&error)),
    }
}

fn warning(place: &Place<'_>, manifest: &Manifest, desk: &Desk) -> Result<Option<String>, OpError> {
    let told = |log| {
        let (label, id) = (place.label(), manifest.id.short());
        format!("{label} of {id} was captured as a plain file: what is in {log} beside it is not seen")
    };
    Ok(place.log_beside(desk)?.map(told))
}
