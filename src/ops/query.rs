//! SQL over snapshots: nothing is restored, and only what the question touches is fetched.

use std::sync::Arc;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::id::SnapshotId;
use crate::engine::sqlite::ask::{self, Rows, Session};
use crate::format::manifest::Manifest;
use crate::ops::databases::Place;
use crate::ops::error::OpError;
use crate::ops::show::Part;
use crate::vault::random::Desk;
use crate::vault::unlocked::UnlockedVault;

/// Tables and views of every database of the question.
pub const TABLES: &str = "SELECT schema, name, type, ncol AS columns FROM pragma_table_list \
    WHERE schema <> 'temp' AND type <> 'shadow' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY schema <> 'main', schema, name";

/// The statements that made a table and what belongs to it; with NULL, those that made everything.
pub const SCHEMA: &str = "SELECT name, sql FROM sqlite_schema \
    WHERE sql IS NOT NULL AND (?1 IS NULL OR tbl_name = ?1 COLLATE NOCASE OR name = ?1 COLLATE NOCASE) ORDER BY rowid";

pub struct Request<'m> {
    pub manifest: &'m Manifest,
    /// Which database of it; needed where there are several.
    pub part: Option<Part>,
    /// The same database of further snapshots, under these names.
    pub attach: Vec<(String, &'m Manifest)>,
    pub sql: String,
    /// `VALUE` for the next parameter, `NAME=VALUE` for that one.
    pub values: Vec<String>,
    /// The host this is: `live` means its databases, not those of others.
    pub host: String,
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
    pub snapshot: SnapshotId,
    /// The database, as the command line names it.
    pub database: String,
    /// Things the person should know that are no failures.
    pub warnings: Vec<String>,
}

impl Query {
    pub fn open(unlocked: &UnlockedVault, request: Request<'_>) -> Result<Self, OpError> {
        let desk = Desk::new(unlocked.library()?.owned());
        let manifest = request.manifest;
        let place = Place::find(manifest, request.part.as_ref())?;
        let content = place.read(manifest, &desk)?;
        let mut session = Session::open(content, &place.label(), request.control)?;
        let mut warnings: Vec<String> = warning(&place, manifest, &desk)?.into_iter().collect();
        for (name, manifest) in &request.attach {
            let other = beside(&place, manifest)?;
            session.attach(name, other.read(manifest, &desk)?)?;
            warnings.extend(warning(&other, manifest, &desk)?);
        }
        let taken = request.attach.iter().any(|(name, _)| name.eq_ignore_ascii_case(ask::LIVE));
        if !taken && ask::names_live(&request.sql) {
            attach_live(&mut session, &place, manifest, &request.host);
        }
        let (snapshot, database) = (manifest.id, place.label());
        Ok(Self { session, desk, request: (request.sql, request.values), snapshot, database, warnings })
    }

    /// Hands the answer to `rows` as it comes.
    pub fn answer(&self, rows: &mut dyn Rows) -> Result<Report, OpError> {
        let (sql, values) = &self.request;
        let rows = self.session.ask(sql, values, rows)?;
        Ok(Report { rows, fetched: self.desk.library().fetched() })
    }
}

/// The same database in another snapshot; the only one there, if it is not called so.
fn beside<'m>(place: &Place<'_>, manifest: &'m Manifest) -> Result<Place<'m>, OpError> {
    let part = Part { source: Some(place.source.name.to_string()), path: place.path.clone() };
    Place::find(manifest, Some(&part)).or_else(|error| Place::find(manifest, None).map_err(|_| error))
}

fn attach_live(session: &mut Session, place: &Place<'_>, manifest: &Manifest, host: &str) {
    let path = place.live();
    if manifest.host != host {
        return session.without_live(&path, &format!("it is on {}, and this is {host}", manifest.host));
    }
    if !path.is_file() {
        return session.without_live(&path, "it is not there");
    }
    session.attach_live(&path);
}

fn warning(place: &Place<'_>, manifest: &Manifest, desk: &Desk) -> Result<Option<String>, OpError> {
    let log = place.log_beside(desk)?;
    let told = |log| {
        let (label, id) = (place.label(), manifest.id.short());
        format!("{label} of {id} was captured as a plain file: what is in {log} beside it is not seen")
    };
    let damage = place.known.and_then(|known| known.damage.as_ref());
    let damaged = damage.map(|damage| {
        format!("{} of {} was damaged when it was captured: {damage}", place.label(), manifest.id.short())
    });
    Ok(log.map(told).or(damaged))
}
