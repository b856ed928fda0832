//! A captured database of a server: into a new database, or beside the live one, whose place it takes in one step.
//!
//! Owns what is made before anything live is touched, and that it is gone when it is not used. Never changes a live
//! database itself: one takes the other's place, and the other is kept.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::error::{Class, Explain, Explained};
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::base::random::RandomRead;
use crate::base::text::shell_word;
use crate::engine::postgres::restore::dump::{Dump, Piece, Pieces};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::server::{Keeper, Server};
use crate::engine::postgres::restore::{self as engine, Loaded, Options, ReadBack, What, server};
use crate::engine::postgres::settings::Settings;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::actions::Actions;
use crate::ops::backup::Planned;
use crate::ops::diff::Change;
use crate::ops::error::{OpError, Problem};
use crate::ops::places::Places;
use crate::ops::restore::Issue;
use crate::ops::restore::foreseen::{self, Foreseen};
use crate::ops::restore::job::skipped;
use crate::ops::restore::live::find;
use crate::ops::show::Part;
use crate::source;
use crate::vault::extents;
use crate::vault::random::Desk;
use crate::vault::unlocked::UnlockedVault;

/// The kind of source this is about.
pub const KIND: &str = "postgres";
/// Those who use a database that is renamed are sent away for at least so long.
const WAIT: Duration = Duration::from_secs(10);

/// A source of a snapshot, as what fills a server sees it.
pub struct Captured<'m> {
    record: &'m SourceRecord,
    desk: Arc<Desk>,
}

impl<'m> Captured<'m> {
    pub fn of(unlocked: &UnlockedVault, record: &'m SourceRecord) -> Result<Self, OpError> {
        Ok(Self { record, desk: Desk::new(unlocked.library()?.owned()) })
    }

    fn entry(&self, path: &str) -> Result<Option<crate::base::entry::Entry>, Explained> {
        let Ok(path) = EntryPath::from_bytes(path.as_bytes()) else { return Ok(None) };
        find(self.record, &path, self.desk.library()).map_err(OpError::into_explained)
    }
}

impl Dump for Captured<'_> {
    fn open(&self, path: &str) -> Result<Option<Box<dyn RandomRead>>, Explained> {
        let Some(entry) = self.entry(path)? else { return Ok(None) };
        match self.desk.read(&entry) {
            Ok(reader) => Ok(Some(Box::new(reader))),
            Err(error) => Err(Box::new(error)),
        }
    }

    fn pieces(&self, path: &str) -> Result<Pieces<'_>, Explained> {
        let Some(entry) = self.entry(path)? else { return Ok(Box::new(std::iter::empty())) };
        let library = self.desk.library();
        let piece = move |extent: crate::base::entry::Extent| {
            let digest = extent.chunk;
            let place = digest.map(|digest| library.find(&digest)).transpose()?;
            let is_whole = place.is_some_and(|place| u64::from(place.place.length) == extent.length);
            Ok(Piece { length: extent.length, digest: digest.filter(|_| is_whole) })
        };
        let extents: Vec<_> = extents::of_file(&entry, library).collect();
        Ok(Box::new(extents.into_iter().map(move |extent| {
            extent.and_then(piece).map_err(|error: crate::vault::error::VaultError| Box::new(error) as Explained)
        })))
    }

    fn fact(&self, name: &str) -> Option<&str> {
        self.record.databases.first()?.facts.get(name).map(String::as_str)
    }
}

pub struct Request {
    /// Which source; needed only where a snapshot has several of them.
    pub part: Option<Part>,
    pub to: Settings,
    pub what: What,
    /// Replace what is in the database.
    pub clean: bool,
    pub workers: Option<usize>,
    pub read_back: ReadBack,
    /// The databases that are known to be live, by their sources: none of them is changed without a way back. `None` where a
    /// person wants none.
    pub homes: Option<Vec<(Name, Settings)>>,
    pub control: Arc<Control>,
}

/// The databases that sources of this host live in.
pub fn homes(places: &Places, configured: &[Planned]) -> Vec<(Name, Settings)> {
    let own = configured.iter().filter_map(|own| Some((own.name.clone(), own.source.server()?.clone())));
    let reached = |(source, root): (String, String)| Some((Name::lossy(&source), source::postgres::reach(&root).ok()?));
    own.chain(places.all(&[]).filter(|(_, root)| root.contains("://")).filter_map(reached)).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub source: String,
    /// Where to, without a password.
    pub database: String,
    /// What was there was dropped.
    pub replaced: bool,
    /// What earlier restores had left half made on this server, and was dropped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub swept: Vec<String>,
    #[serde(flatten)]
    pub loaded: Loaded,
    /// What was not captured as it should have been.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issues: Vec<Issue>,
}

/// Restores into a database of a server, which is there under its name only once it is complete.
pub fn restore(unlocked: &UnlockedVault, manifest: &Manifest, request: &Request) -> Result<Report, OpError> {
    let record = source_of(manifest, request.part.as_ref())?;
    let dump = Captured::of(unlocked, record)?;
    let mut server = Server::of(&request.to, &request.control)?;
    let name = &request.to.dbname;
    let options = options(request.what.clone(), request.workers, request.read_back, &request.control);
    let room = Room::of(&mut server, (manifest, record), request)?;
    let report = |replaced, swept, loaded| {
        let (source, database) = (record.name.to_string(), request.to.shown());
        let issues = skipped(&(record, EntryPath::root()));
        Report { source, database, replaced, swept, loaded, issues }
    };
    if !request.what.definitions {
        return Ok(report(false, Vec::new(), engine::rows_only(&dump, &request.to, &options)?));
    }
    if room.is_there && !server.may_create()? {
        return Ok(report(!room.is_empty, Vec::new(), engine::replace(&dump, &request.to, &options)?));
    }
    let like = room.is_there.then_some(name.as_str());
    let made = Made::new(&dump, &request.to, &options, like, server)?;
    let (loaded, swept) = (made.loaded.clone(), made.swept.clone());
    let old = room.is_there.then(|| server::named(name, &format!("_strongroom_{}", Actions::fresh_id())));
    made.take_place(old.as_deref())?;
    if let Some(old) = &old {
        Server::of(&request.to, &request.control)?.drop(old)?;
    }
    Ok(report(room.is_there && !room.is_empty, swept, loaded))
}

/// What that would do, without doing it: as much as is known beforehand.
pub fn foresee(unlocked: &UnlockedVault, manifest: &Manifest, request: &Request) -> Result<Foreseen, OpError> {
    let record = source_of(manifest, request.part.as_ref())?;
    let dump = Captured::of(unlocked, record)?;
    let mut server = Server::of(&request.to, &request.control)?;
    let room = Room::of(&mut server, (manifest, record), request)?;
    if request.what.definitions {
        if room.is_there && !server.may_create()? {
            engine::vet(&dump)?;
        } else {
            Made::allowed(&dump, &request.to, &mut server)?;
        }
    }
    let change = if room.is_there { Change::Content } else { Change::Added };
    let (source, database, tables) = (record.name.to_string(), request.to.shown(), Vec::new());
    let server = foreseen::Server { source, database, change, tables, kept: None };
    Ok(Foreseen { servers: vec![server], ..Foreseen::default() })
}

/// Whether there is a database where one is to be restored.
struct Room {
    is_there: bool,
    is_empty: bool,
}

impl Room {
    /// What is in it is replaced only if that is asked for.
    fn of(
        server: &mut Server,
        (manifest, record): (&Manifest, &SourceRecord),
        request: &Request,
    ) -> Result<Self, OpError> {
        let name = &request.to.dbname;
        let is_there = server.has(name)?;
        let is_empty = is_there && Server::is_empty(&request.to, &request.control)?;
        // Where nothing is, nothing can be lost.
        if is_there
            && !is_empty
            && let Some(source) = whose(server, manifest, request)?
        {
            let hint = match source == record.name {
                true => format!(
                    "name another database, or add --no-safety where there need be no way back; with one: \
                     strongroom restore {} {} --in-place",
                    manifest.id.short(),
                    shell_word(source.as_str())
                ),
                false => "name another database".to_owned(),
            };
            let (database, source_name) = (request.to.shown(), source.to_string());
            return Err(Problem::LiveServer { database, source_name, hint }.into());
        }
        if !request.what.definitions {
            return Ok(Self { is_there, is_empty: false });
        }
        if is_there && !is_empty && !request.clean {
            return Err(LoadError::Occupied { name: name.clone() }.into());
        }
        Ok(Self { is_there, is_empty })
    }
}

/// The source that lives in the database that is restored into, if one does. A server is known by what it says of itself, and
/// where it cannot be asked, by its name.
fn whose(server: &mut Server, manifest: &Manifest, request: &Request) -> Result<Option<Name>, OpError> {
    let Some(homes) = &request.homes else { return Ok(None) };
    let asked = server.identity()?;
    for (source, home) in homes.iter().filter(|(_, home)| home.dbname == request.to.dbname) {
        let is_it = match Server::of(home, &request.control).and_then(|mut server| server.identity()) {
            Ok(identity) => identity == asked,
            Err(error) if error.class() == Class::Interrupted => return Err(error.into()),
            Err(_) => home.names_same(&request.to),
        };
        if is_it {
            return Ok(Some(source.clone()));
        }
    }
    // What only the snapshot says is nobody to be asked.
    let databases = manifest.sources.iter().filter(|source| source.kind == KIND);
    let mut named = databases.filter_map(|source| Some((&source.name, source::postgres::reach(&source.root).ok()?)));
    Ok(named.find(|(_, named)| named.names_same(&request.to)).map(|(source, _)| source.clone()))
}

/// The source that is meant: it is given back whole.
fn source_of<'m>(manifest: &'m Manifest, part: Option<&Part>) -> Result<&'m SourceRecord, OpError> {
    let mut databases = manifest.sources.iter().filter(|source| source.kind == KIND);
    let record = match (part, databases.next(), databases.next()) {
        (None, Some(only), None) => only,
        (None, ..) => Part::whole().source_of(manifest)?,
        (Some(part), ..) if !part.path.is_root() => {
            return Err(Problem::PartOfDatabase { part: part.path.to_string() }.into());
        }
        (Some(part), ..) => part.source_of(manifest)?,
    };
    if record.kind != KIND {
        let (source_name, kind) = (record.name.to_string(), record.kind.clone());
        return Err(Problem::Kind { source_name, kind, verb: "restore into a server" }.into());
    }
    Ok(record)
}

pub(in crate::ops) fn options(
    what: What,
    workers: Option<usize>,
    read_back: ReadBack,
    control: &Arc<Control>,
) -> Options {
    let workers = workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4)));
    Options { what, workers, read_back, control: control.clone() }
}

/// A database that is complete and checked under a name of its own. Dropping this drops it, if it is still there.
pub(in crate::ops) struct Made {
    settings: Settings,
    pub scratch: String,
    pub loaded: Loaded,
    /// What earlier restores had left half made on this server, and was dropped.
    pub swept: Vec<String>,
    server: Server,
    /// Keeps the next restore from taking the database for a leftover.
    keeper: Option<Keeper>,
    taken: bool,
}

impl Made {
    /// Is it known of anything that it could not be made?
    pub fn allowed(dump: &dyn Dump, settings: &Settings, server: &mut Server) -> Result<(), OpError> {
        engine::vet(dump)?;
        Ok(server.may_make(&settings.dbname)?)
    }

    pub fn new(
        dump: &dyn Dump,
        settings: &Settings,
        options: &Options,
        like: Option<&str>,
        mut server: Server,
    ) -> Result<Self, OpError> {
        Self::allowed(dump, settings, &mut server)?;
        // By now it is known that this restore is allowed: others' leftovers make room for it.
        let swept = server.sweep()?;
        let scratch = server.scratch(&settings.dbname, &Actions::fresh_id(), dump, like)?;
        let (settings, loaded) = (settings.clone(), Loaded::default());
        let mut made = Self { settings, scratch, loaded, swept, server, keeper: None, taken: false };
        made.keeper = Some(made.server.keep(&made.scratch)?);
        made.loaded = engine::load(dump, &made.settings.with_database(&made.scratch), options)?;
        Ok(made)
    }

    /// Takes the name it was made for; what is there is called `old` then.
    pub fn take_place(mut self, old: Option<&str>) -> Result<(), OpError> {
        self.let_go();
        let live = self.settings.dbname.clone();
        let mut names = Vec::new();
        names.extend(old.map(|old| (live.as_str(), old)));
        names.push((self.scratch.as_str(), live.as_str()));
        self.server.rename(&names, WAIT)?;
        self.taken = true;
        Ok(())
    }

    /// Nobody may be in a database that is renamed or dropped.
    fn let_go(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.let_go();
        }
    }

    /// It has taken another's place.
    pub fn taken(mut self) {
        self.taken = true;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.let_go();
        if self.taken {
            return;
        }
        // Whoever asked to stop did not ask to leave it there. What cannot be dropped is for the next run to sweep.
        if let Ok(mut server) = Server::of(&self.settings, &Arc::default()) {
            let _ = server.drop(&self.scratch);
        }
    }
}

/// The server of a source: as the configuration says, or as the snapshot does.
pub(in crate::ops) fn settings_of(
    name: &str,
    root: &str,
    configured: Option<&dyn source::Source>,
) -> Result<Settings, OpError> {
    if let Some(settings) = configured.and_then(source::Source::server) {
        return Ok(settings.clone());
    }
    source::postgres::reach(root)
        .map_err(|error| Problem::Unreached { source_name: name.to_owned(), reason: error.to_string() }.into())
}

/// The tables of a snapshot that the live database does not give byte for byte, and those that are in one of them only.
pub(in crate::ops) fn changed(
    dump: &dyn Dump,
    live: &Settings,
    control: &Arc<Control>,
) -> Result<Vec<String>, OpError> {
    Ok(engine::changed(dump, live, &options(What::default(), None, ReadBack::Told, control))?)
}
