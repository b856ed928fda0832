//! One snapshot's database beside the live one, open for comparing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::base::record::{Change, Key, Records, Row, Table, exactly, plain};
use crate::engine::postgres::layout::{self, Qualified};
use crate::engine::postgres::records::kept::Kept;
use crate::engine::postgres::records::making;
use crate::engine::postgres::settings::BadSettings;
use crate::engine::sqlite::ask::Session;
use crate::format::manifest::Manifest;
use crate::ops::actions::Touched;
use crate::ops::backup::Planned;
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::find;
use crate::ops::holders::Holders;
use crate::ops::live_database::LiveDatabase;
use crate::ops::places::Places;
use crate::ops::recover::grown::{Grown, Lacking};
use crate::ops::recover::looked::Looked;
use crate::ops::recover::together::{self, Joined, Together};
use crate::ops::recover::{Asked, FileAct, FileStep, Recovery, Request, files};
use crate::ops::restore::NEEDLESS;
use crate::ops::restore::ground::Ground as Lives;
use crate::ops::show::Part;
use crate::ops::side::{self, Side};
use crate::record::closure::{Closure, Seeds};
use crate::record::drift::{self, Fit};
use crate::record::error::RecordError;
use crate::record::graph::Graph;
use crate::record::identity::Judge;
use crate::record::model::{Entity, Model};
use crate::record::plan::{self, OnConflict, Plan, Refusal};
use crate::record::prepare::{self, Ground, Title};
use crate::vault::random::Desk;
use crate::vault::unlocked::UnlockedVault;

/// Both sides, open.
pub struct Case<'m> {
    pub(super) manifest: &'m Manifest,
    pub(super) request: Request,
    pub(super) desk: Arc<Desk>,
    pub(super) side: Side,
    pub(super) graph: Graph,
    pub(super) model: Model,
    pub(super) live: Box<dyn Change>,
    /// Tables that live data gets when rows of them are written.
    lacking: Vec<String>,
    pub(super) database: LiveDatabase,
    /// The databases of other sources that take part, which `side` and `live` have too.
    pub(super) others: Vec<Joined>,
    /// What should be known of those that do not.
    note: Option<String>,
    pub(super) part: Place<'m>,
    /// The databases of the snapshot that rows are read from.
    read: Vec<Part>,
}

impl<'m> Case<'m> {
    pub fn open(unlocked: &UnlockedVault, manifest: &'m Manifest, request: Request) -> Result<Self, OpError> {
        let desk = Desk::new(unlocked.library()?.owned());
        let part = meant(manifest, &request, &desk)?;
        let database = match &request.into {
            Some(into) => into.clone().known(&request.configured),
            None => live_place(manifest, &part, &request.configured, &request.places)?,
        };
        let together = Together::find(manifest, &part, &request)?;
        let others = together.joined(manifest, &request)?;
        let side = together.side(&part, manifest, &desk, &request.control)?;
        let model = together.model(&request);
        let graph = Graph::read(side.records(), &model)?;
        let model = model.settled(&graph.tables, &side.records().label()).map_err(OpError::from)?;
        let (wait, control) = (request.wait, &request.control);
        let (mut live, mut lacking) = (None, Vec::new());
        if request.options.make_tables {
            let open = || database.open_or_make(wait, control).map_err(RecordError::store);
            let found = match (&side, &database) {
                (Side::Sqlite(session), LiveDatabase::Sqlite(_)) => Some(grown(session, open()?)?),
                (Side::Postgres(kept), LiveDatabase::Postgres(_)) if others.is_empty() => {
                    Some(grown_server(kept, open()?, &part, &desk)?)
                }
                (Side::Postgres(_), LiveDatabase::Sqlite(path)) if database.is_missing() => {
                    return Err(Problem::NotMade { path: path.clone() }.into());
                }
                _ => None,
            };
            (live, lacking) = found.map(|(live, lacking)| (Some(live), lacking)).unwrap_or_default();
        }
        let live = live.map_or_else(|| together::open(&database, &others, wait, control), Ok)?;
        let note = together.note();
        let read = std::iter::once(part.part()).chain(together.parts()).collect();
        Ok(Self { manifest, request, desk, side, graph, model, live, lacking, database, others, note, part, read })
    }

    /// What of the snapshot is read for this: databases, and files that come back.
    pub fn read(&self, recovery: &Recovery) -> Vec<Part> {
        let files = recovery.files.iter().filter(|file| file.act.writes());
        let part = |file: &FileStep| Part {
            source: Some(file.source.to_string()),
            path: file.from.as_ref().unwrap_or(&file.path).clone(),
        };
        self.read.iter().cloned().chain(files.map(part)).collect()
    }

    /// Bytes of packs that were fetched so far.
    pub fn fetched(&self) -> u64 {
        self.desk.library().fetched()
    }

    /// Makes the plan.
    pub fn plan(&self) -> Result<Recovery, OpError> {
        let kept = self.side.records();
        let fits = self.fits()?;
        let kit = self.kit(kept);
        let ground = Ground {
            graph: &self.graph,
            snapshot: kept,
            live: &*self.live,
            fits: &fits,
            model: &self.model,
            options: &self.request.options,
        };
        let judge = Judge::new(ground.sides());
        let mut looked = Looked::default();
        let (table, seeds) = kit.seeds(&mut |kept, table| {
            looked = Looked::at((kept, &self.graph), &judge, table, self.request.budget)?;
            Ok(std::mem::take(&mut looked.missing))
        })?;
        let closure = ground.closure(self.request.budget, table, &seeds)?;
        kit.all_there(table, &seeds, &closure)?;
        let title = Title { snapshot: self.manifest.id, database: self.part.label(), asked: kit.words(table) };
        let mut plan = prepare::plan(&ground, &closure, title)?;
        plan.notes.extend(self.note.clone());
        plan.notes.extend(kit.taken_for(table));
        plan.doubts.extend(looked.doubts(&self.graph.tables[table].name));
        self.tell_of_tables(&mut plan);
        let files = files::plan(&kit, &closure, &plan, self.desk.library())?;
        if self.request.options.on_conflict == OnConflict::Abort {
            plan.refusals.extend(files.iter().filter_map(refusal));
        }
        Ok(Recovery { plan, live: self.database.clone(), others: self.others.clone(), files })
    }

    /// What is made where live data lacks it, and what cannot be.
    fn tell_of_tables(&self, plan: &mut Plan) {
        let written: HashSet<usize> =
            plan.steps.iter().filter(|step| step.act.writes()).map(|step| step.table).collect();
        for (at, table) in plan.tables.iter().enumerate() {
            if written.contains(&at) && self.lacking.contains(&table.name) {
                plan.notes.push(format!("table {} is made; an undo leaves it there, empty", table.name));
            }
        }
        if self.request.options.make_tables && self.part.is_postgres() {
            let (snapshot, source) = (self.manifest.id.short(), &self.part.source.name);
            for refusal in plan.refusals.iter_mut().filter(|refusal| refusal.no_table) {
                let make = "make the tables in a new database: strongroom restore";
                refusal.hint = format!("{make} {snapshot} {source} --schema-only --to URL");
            }
        }
    }

    fn kit<'k>(&'k self, kept: &'k dyn Records) -> Kit<'k> {
        let Self { manifest, request, graph, model, part: place, .. } = self;
        Kit { manifest, request, graph, model, kept, place }
    }

    pub(super) fn fits(&self) -> Result<Vec<Fit>, OpError> {
        Ok(drift::fit(&self.graph, &*self.live, &self.model, &self.request.options.set)?)
    }
}

/// A live database with the tables that it lacks, as the snapshot's own statements make them; and their names.
fn grown(kept: &Session, live: Box<dyn Change>) -> Result<(Box<dyn Change>, Vec<String>), RecordError> {
    let there = live.tables()?;
    let has = |name: &str| exactly(&there, name).is_some();
    let mut lacking = Vec::new();
    for table in Records::tables(kept)?.into_iter().filter(|table| !has(&table.name)) {
        let statements = kept.making(&table.name)?;
        lacking.push(Lacking { table: Table { triggers: Vec::new(), ..table }, statements });
    }
    Ok(with(live, lacking))
}

/// The same of a server. What cannot be made by itself is lacking still.
fn grown_server(
    kept: &Kept,
    live: Box<dyn Change>,
    part: &Place<'_>,
    desk: &Arc<Desk>,
) -> Result<(Box<dyn Change>, Vec<String>), OpError> {
    let there: HashSet<String> =
        live.tables().map_err(RecordError::store)?.into_iter().map(|table| table.name).collect();
    let absent = kept.database.tables.iter().filter(|table| !there.contains(&table.record.name));
    let absent: BTreeMap<Qualified, &Table> = absent.map(|table| (table.name.clone(), &table.record)).collect();
    if absent.is_empty() {
        return Ok((live, Vec::new()));
    }
    let definitions = [layout::PRE_DATA, layout::POST_DATA].map(|path| side::definitions(part, path, desk));
    let [before, after] = definitions;
    let wanted = absent.keys().cloned().collect();
    let made = making(&[&before?, &after?], &wanted).map_err(Problem::Content)?;
    let lacking = made.into_iter().map(|(name, statements)| {
        let table = Table { triggers: Vec::new(), ..absent[&name].clone() };
        Lacking { table, statements }
    });
    Ok(with(live, lacking.collect()))
}

fn with(live: Box<dyn Change>, lacking: Vec<Lacking>) -> (Box<dyn Change>, Vec<String>) {
    let names = lacking.iter().map(|one| one.table.name.clone()).collect();
    (if lacking.is_empty() { live } else { Box::new(Grown::new(live, lacking)) }, names)
}

/// What a snapshot holds, and what is asked of it.
pub(super) struct Kit<'k> {
    pub manifest: &'k Manifest,
    pub request: &'k Request,
    pub graph: &'k Graph,
    pub model: &'k Model,
    pub kept: &'k dyn Records,
    pub place: &'k Place<'k>,
}

/// Finds what live data lacks of a table.
type Missing<'m> = dyn FnMut(&dyn Records, usize) -> Result<Vec<Key>, OpError> + 'm;

impl Kit<'_> {
    fn entity(&self, name: &str) -> Option<&Entity> {
        self.model.entities.get(name)
    }

    fn table(&self, name: &str) -> Result<usize, RecordError> {
        let table = self.entity(name).map_or(name, |entity| &entity.table);
        let place = format!("{} of {}", self.place.label(), self.manifest.id.short());
        let entities = self.model.entities.keys().map(String::as_str);
        self.graph.named(table, &place).map_err(|error| match error {
            RecordError::NoTable { name, place, nearest: None } => {
                let nearest = crate::base::text::nearest(&name, entities).map(str::to_owned);
                RecordError::NoTable { name, place, nearest }
            }
            other => other,
        })
    }

    pub fn seeds(&self, missing: &mut Missing<'_>) -> Result<(usize, Seeds), OpError> {
        match &self.request.asked {
            Asked::Keys { name, keys } => {
                let table = self.table(name)?;
                let columns = self.key_columns(name, table)?;
                let shape = &self.graph.tables[table];
                let typed = |key: &String| find::typed(self.kept, shape, &columns, key);
                let keys = keys.iter().map(typed).collect::<Result<_, _>>()?;
                Ok((table, Seeds::Keys { columns, keys }))
            }
            Asked::Where { table, condition } => Ok((self.table(table)?, Seeds::Where(condition.clone()))),
            Asked::Missing { name } => {
                let table = self.table(name)?;
                Ok((table, Seeds::Rows(missing(self.kept, table)?)))
            }
        }
    }

    fn key_columns(&self, name: &str, table: usize) -> Result<Vec<usize>, RecordError> {
        match self.entity(name).filter(|entity| !entity.key.is_empty()) {
            Some(entity) => entity.key.iter().map(|column| self.graph.column(table, column)).collect(),
            None => Ok(self.graph.tables[table].key.clone()),
        }
    }

    /// Was everything found that was asked for?
    pub fn all_there(&self, table: usize, seeds: &Seeds, closure: &Closure) -> Result<(), RecordError> {
        let (graph, name) = (self.graph, &self.graph.tables[table].name);
        match seeds {
            Seeds::Keys { columns, keys } => {
                let ties: std::collections::BTreeSet<usize> = graph.ties[table].iter().copied().collect();
                if !columns.iter().all(|column| ties.contains(column)) {
                    return match closure.rows() {
                        0 => Err(RecordError::NoRecord { table: name.clone(), key: plan::shown(&keys[0]) }),
                        _ => Ok(()),
                    };
                }
                let members = closure.members[table].values();
                let found: HashSet<Row> =
                    members.map(|member| plain(&graph.tied(table, &member.ties, columns))).collect();
                let lost = keys.iter().find(|key| !found.contains(&plain(key)));
                match lost {
                    Some(key) if closure.members[table].len() < keys.len() => {
                        Err(RecordError::NoRecord { table: name.clone(), key: plan::shown(key) })
                    }
                    _ => Ok(()),
                }
            }
            Seeds::Where(condition) if closure.rows() == 0 => {
                Err(RecordError::NoRows { table: name.clone(), condition: condition.clone() })
            }
            _ => Ok(()),
        }
    }

    /// What should be known where the name that was given is not the table's own.
    fn taken_for(&self, table: usize) -> Option<String> {
        let (Asked::Keys { name, .. } | Asked::Missing { name } | Asked::Where { table: name, .. }) =
            &self.request.asked;
        let found = &self.graph.tables[table];
        let is_other = found.tells_case && self.entity(name).is_none() && *name != found.name;
        is_other.then(|| format!("{name} is taken for {}", found.name))
    }

    /// What was asked for, in words.
    pub fn words(&self, table: usize) -> String {
        match &self.request.asked {
            Asked::Keys { name, keys } => format!("{name} {}", keys.join(" ")),
            Asked::Where { condition, .. } => format!("{} where {condition}", self.graph.tables[table].name),
            Asked::Missing { name } => format!("what is gone of {name}"),
        }
    }
}

/// Why nothing at all is done, where live data has another file and that is not to be.
fn refusal(file: &FileStep) -> Option<Refusal> {
    let FileAct::Leave { why } = &file.act else { return None };
    let what = format!("{}:{}: {why}", file.source, file.path);
    let hint = "decide with --on-conflict skip or overwrite".to_owned();
    (why != NEEDLESS).then_some(Refusal { what, hint, no_table: false })
}

/// The database that is meant: the one named, the one whose entity is asked for, the only one, or the only one with such
/// a table.
pub(super) fn meant<'m>(manifest: &'m Manifest, request: &Request, desk: &Arc<Desk>) -> Result<Place<'m>, OpError> {
    let name = match &request.asked {
        Asked::Keys { name, .. } | Asked::Missing { name } => name,
        Asked::Where { table, .. } => table,
    };
    let entity = request.model.entities.get(name);
    let of = |entity: &Entity| Part { source: Some(entity.source.to_string()), ..Part::whole() };
    let mut holders = Holders::new(desk.clone(), request.control.clone());
    let table = entity.map_or(name, |entity| &entity.table);
    holders.place(manifest, request.part.clone().or(entity.map(of)).as_ref(), table)
}

/// Where the database lives on this host.
pub(in crate::ops) fn live_place(
    manifest: &Manifest,
    part: &Place<'_>,
    configured: &[Planned],
    places: &Places,
) -> Result<LiveDatabase, OpError> {
    let named = places.names(&part.source.name);
    let configured = configured.iter().find(|planned| planned.name == part.source.name && !named);
    if let Some(server) = configured.and_then(|planned| planned.source.server()) {
        return Ok(LiveDatabase::Postgres(Box::new(server.clone())));
    }
    let root = match configured {
        Some(planned) => planned.source.root(),
        None => places.root(manifest, part.source, &[])?,
    };
    if configured.is_none() && part.is_postgres() {
        let wrong = |error: BadSettings| Problem::Server { url: root.clone(), why: error.to_string() };
        return Ok(LiveDatabase::of(&root).map_err(wrong)?);
    }
    let source = part.source;
    let touched =
        Touched { source: source.name.clone(), kind: source.kind.clone(), root, path: part.path.clone(), swap: None };
    let lives = Lives::of(&touched, source, part.path.is_root())?;
    let path = lives.path(&part.path);
    match lives.database(&part.path).is_some_and(|file| file.is_there()) {
        true => Ok(LiveDatabase::Sqlite(path)),
        false => Err(Problem::NoLive { path }.into()),
    }
}
